"""The numbers that govern a control plane, each with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Defaults suit islands on real networks; tests and benchmarks print what they changed."""

    issuer: str = "causeway.local"
    """Issuer of the identifiers that this control plane mints."""
    lease_ms: int = 4_000
    """How long an island may stay silent before its `move` jobs stop themselves."""
    hold_ms: int = 1_500
    """How long an idle sync is held open; at most half a lease, so that one may be lost."""
    skew_ms: int = 500
    """Added to a lease before its work is placed again: clock-rate difference and the time that
    a SIGKILL takes."""
    tick_ms: int = 250
    """How often time-driven decisions are looked at when nothing else happens."""
    settle_every_ms: int = 900_000
    """How often a long-running attempt's usage is posted to the journal."""
    round_jobs_max: int = 2_000
    """Waiting jobs that one scheduling round looks at one by one."""
    queue_jobs_max: int = 1_000_000
    """Unfinished jobs that the control plane holds; more are refused, not dropped."""
    finished_jobs_kept: int = 2_000
    """Ended jobs kept in memory for quick reads; the store has them all."""
    progress_points_max: int = 5_000
    """Progress points kept for one attempt; the island thins what it sends."""
