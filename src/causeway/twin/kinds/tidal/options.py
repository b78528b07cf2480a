"""What a scenario of one fleet that serves and trains may say."""

from __future__ import annotations

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All times in seconds, all shares 0..1."""

    service: str
    """A trace of ServeGen without its endings, such as `language_m-small`."""
    trace: str
    """Of training jobs: `philly/philly_jobs.parquet` or one of `microsoft_itp/raw`."""
    first_day: float = 30.0
    """Of the training trace, counted from its first job."""
    offered_load: float = 1.1
    """What training would run if none of it had to wait, and what serving needs, over the fleet."""
    peak_share: float = 0.75
    """Of the fleet that serving needs at its peak."""
    most_share: float = 0.9
    """Of the fleet that serving may ask for."""
    step_s: float = 60.0
    window_s: int = 600
    """Of the serving trace."""
    replica_devices: int = 4
    prefill_tokens_per_s: float = 20_000.0
    """Of one replica."""
    slots: int = 128
    """Requests that a replica decodes together within `tpot_s`."""
    tpot_s: float = 0.05
    ttft_s: float = 1.0
    backlog_s: float = 1.0
    """A queue that takes longer than this to drain breaks the class by itself."""
    load_s: float = 60.0
    """Until a replica serves on devices that are free."""
    drain_s: float = 60.0
    """Until a replica that is told to go has answered what it had begun."""
    checkpoint_s: float = 60.0
    """To write one, in which the job stands still."""
    checkpoint_every_s: float = 1800.0
    restart_s: float = 120.0
    """Until a job that was stopped goes on where its checkpoint is."""
    elastic_share: float = 0.2
    """Of the jobs on two devices and more; drawn by the seed, since no trace tells."""
    elastic_least_share: float = 0.5
    """Of its devices that an elastic job can go on with, at that share of its speed."""
    hold_s: float = 600.0
    """Devices are given back once the bound has been lower for so long."""
