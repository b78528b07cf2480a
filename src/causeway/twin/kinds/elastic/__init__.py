"""Elastic training on one fleet: the workloads of Pollux and Sia, by published policies and ours.

A seed is the number of a workload: `workload-<seed>` of the set that the options name. Nothing is
drawn by chance. The defaults are those of the Pollux study (16 nodes of 4 T4, a round a minute,
30 s for a change of shape).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from causeway.model.errors import InvalidInput
from causeway.schedule.elastic.asking import Fleet
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.elastic.deciding import (
    by_causeway,
    by_optimus,
    by_pollux,
    by_tiresias,
)
from causeway.twin.kinds.elastic.driving import Decide, Series, drive
from causeway.twin.kinds.elastic.profiles import (
    FOLDER,
    Application,
    read_applications,
    table,
)
from causeway.twin.kinds.elastic.training import Job, Learnt
from causeway.twin.outcome import Accounting, Columns, Outcome

FIXED = frozenset({"tiresias", "optimus"})
"""Policies whose jobs keep the batch that their author chose."""

OURS = ("causeway", "causeway-untold", "causeway-alone")
"""Told how long jobs are; not told; told, but each job learns its curve by itself."""
ROW = ("set", "workload", "name", "time", "application", "num_replicas", "batch_size")
SHARED = frozenset({"causeway", "causeway-untold"})
"""Policies under which jobs of one application learn their curve together, as a ledger allows."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario of this kind may say."""

    workloads: str = "pollux_workloads.parquet"
    """A table in the folder `pollux_sia`."""
    set: str = "workloads"
    """Of that table: `workloads` (the study's own load), `workloads-0.5`, ..."""
    device: str = "aws"
    """Whose measurements: a `gpu_type` of the profiles; `aws` are the T4 of Pollux."""
    nodes: int = 16
    devices_per_node: int = 4
    round_s: float = 60.0
    restart_s: float = 30.0
    samples_most: dict[str, int] = msgspec.field(default_factory=lambda: {"yolov3": 8})
    """Application -> samples per device that fit, where it is less than was measured."""
    batch_fixed: dict[str, int] = msgspec.field(default_factory=lambda: {"ncf": 32768})
    """Applications whose batch nobody may change, and which stay on one device."""

    def __post_init__(self) -> None:
        for name in ("nodes", "devices_per_node", "round_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` has to be more than 0")
        if self.restart_s < 0:
            raise ValueError("`restart_s` has to be 0 or more")


def run(options: Options, policy: str, seed: int, data_folder: Path, progress: Progress) -> Outcome:
    """Replay one workload under one policy."""
    fleet = Fleet(
        nodes=options.nodes, per_node=options.devices_per_node, restart_s=options.restart_s
    )
    jobs = _jobs(options, policy, seed, data_folder)
    if policy == "tiresias":
        _check_asked(jobs, fleet)
    series = drive(
        jobs,
        fleet,
        decide=_decide(policy, frozenset(options.batch_fixed)),
        round_s=options.round_s,
        progress=progress,
    )
    return _outcome(jobs, fleet, series)


def _decide(policy: str, solo: frozenset[str]) -> Decide:
    if policy == "tiresias":
        return by_tiresias()
    if policy == "optimus":
        return by_optimus(solo)
    if policy in OURS:
        return by_causeway(solo, told=policy != "causeway-untold")
    return by_pollux(solo)


def _jobs(options: Options, policy: str, seed: int, folder: Path) -> list[Job]:
    rows = table(folder, options.workloads, ROW).filter(
        (pl.col("set") == options.set) & (pl.col("workload") == f"workload-{seed}")
    )
    if rows.is_empty():
        raise InvalidInput(
            f"{FOLDER}/{options.workloads} has no workload-{seed} in the set `{options.set}`"
        )
    twice = rows.filter(pl.col("name").is_duplicated())
    if not twice.is_empty():
        raise InvalidInput(f"workload-{seed} has more than one job `{twice['name'][0]}`")
    applications = read_applications(
        folder, device=options.device, samples_most=options.samples_most
    )
    jobs = [
        _job(row, applications, options=options, policy=policy)
        for row in rows.iter_rows(named=True)
    ]
    for application in {job.application.name: job.application for job in jobs}.values():
        _check_limits(options, application)
    if policy in SHARED:
        learnt = {name: Learnt() for name in applications}
        for job in jobs:
            job.learnt = learnt[job.application.name]
    return jobs


def _job(
    row: Mapping[str, object],
    applications: Mapping[str, Application],
    *,
    options: Options,
    policy: str,
) -> Job:
    application = applications.get(str(row["application"]))
    if application is None:
        raise InvalidInput(
            f"{row['name']}: `{row['application']}` was not measured on `{options.device}`"
        )
    asked, devices = int(str(row["batch_size"])), int(str(row["num_replicas"]))
    limits = application.limits
    if devices < 1 or not devices * limits.samples_least <= asked <= limits.batch_most:
        raise InvalidInput(
            f"{row['name']}: a batch of {asked} on {devices} devices is outside what was measured "
            f"({limits.samples_least} a device to {limits.batch_most} in all)"
        )
    return Job(
        str(row["name"]),
        application,
        submitted_s=float(str(row["time"])),
        devices_asked=devices,
        batch=asked if policy in FIXED else options.batch_fixed.get(application.name),
    )


def _check_limits(options: Options, application: Application) -> None:
    """Refuse a fleet or a batch beyond what was measured: nothing is made up out there."""
    nodes = max(application.spread)
    per_node = max(application.spread.get(1, {0: None}))
    if options.nodes > nodes or options.devices_per_node > per_node:
        raise InvalidInput(
            f"{application.name} was measured on up to {nodes} nodes of {per_node}, the "
            f"scenario has {options.nodes} of {options.devices_per_node}"
        )
    limits = application.limits
    fixed = options.batch_fixed.get(application.name, limits.batch_first)
    if not limits.samples_least <= fixed <= limits.batch_most:
        raise InvalidInput(
            f"`batch_fixed` of {application.name} is {fixed}; measured were "
            f"{limits.samples_least} to {limits.batch_most}"
        )


def _check_asked(jobs: Sequence[Job], fleet: Fleet) -> None:
    for job in jobs:
        if job.devices_asked > fleet.devices:
            raise InvalidInput(
                f"{job.name} asks for {job.devices_asked} devices, the fleet has {fleet.devices}"
            )


def _outcome(jobs: Sequence[Job], fleet: Fleet, series: Series) -> Outcome:
    ended = [job for job in jobs if job.ended_s is not None]
    span_s = series.time_s[-1]
    held = sum(job.service_device_s for job in jobs)
    offered = span_s * fleet.devices
    jct = np.array([job.ended_s - job.submitted_s for job in ended if job.ended_s is not None])
    last_s = max((job.ended_s for job in ended if job.ended_s is not None), default=np.nan)
    queued = [job.started_s - job.submitted_s for job in jobs if job.started_s is not None]
    metrics = {
        "jct_s_mean": float(jct.mean()),
        "jct_s_p50": float(np.percentile(jct, 50)),
        "jct_s_p90": float(np.percentile(jct, 90)),
        "jct_s_p99": float(np.percentile(jct, 99)),
        "queue_s_mean": float(np.mean(queued)),
        "makespan_s": float(last_s - min(job.submitted_s for job in jobs)),
        "allocation_share": held / offered,
        "restarts_mean": float(np.mean([max(job.restarts, 0) for job in jobs])),
    }
    return Outcome(
        metrics=metrics,
        accounting=Accounting(
            submitted=len(jobs),
            finished=len(ended),
            waiting=len(jobs) - len(ended),
            device_s_offered=offered,
            device_s_allocated=held,
            device_s_idle=offered - held,
        ),
        tables={"jobs": _table(jobs), "series": _series(series)},
    )


def _table(jobs: Sequence[Job]) -> Columns:
    return {
        "job": np.array([job.name for job in jobs]),
        "application": np.array([job.application.name for job in jobs]),
        "submitted_s": np.array([job.submitted_s for job in jobs]),
        "started_s": np.array([_or_nan(job.started_s) for job in jobs]),
        "ended_s": np.array([_or_nan(job.ended_s) for job in jobs]),
        "jct_s": np.array([_or_nan(job.ended_s) - job.submitted_s for job in jobs]),
        "restarts": np.array([max(job.restarts, 0) for job in jobs]),
        "device_s": np.array([job.service_device_s for job in jobs]),
    }


def _series(series: Series) -> Columns:
    return {
        "time_s": np.array(series.time_s),
        "running": np.array(series.running),
        "waiting": np.array(series.waiting),
        "devices_held": np.array(series.devices_held),
    }


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


KIND = Kind(options=Options, policies=("tiresias", "optimus", "pollux", *OURS), run=run)
