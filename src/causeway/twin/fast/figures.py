"""What the columns of a replay come to, as the field defines it.

*JCT* is from arrival to the last end. *Queueing delay* is all time without devices: for a queue
that never stops a job that is the time before its start. *Allocation share* is device-seconds held
over device-seconds there were, from the first arrival to the last end; *busy share* counts only
those in which work was done that was kept, so that restarts and lost work are the gap between the
two. *Slowdown* is JCT over length, of lengths of at least ten seconds (Feitelson's bound).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causeway.twin.fast.engine import Played
from causeway.twin.outcome import Accounting, Columns, Outcome
from causeway.twin.traces import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One pool's replay."""

    pool: str
    devices: int
    trace: Trace
    played: Played


def outcome(parts: Sequence[Part], *, rejected: int) -> Outcome:
    """Return what all pools together come to; `rejected` jobs were in no pool."""
    jobs = _jobs(parts)
    done = np.isfinite(jobs["end_s"])
    jct_s = (jobs["end_s"] - jobs["arrival_s"])[done]
    wait_s = jct_s - jobs["held_s"][done]
    ended_s = max((part.played.ended_s for part in parts), default=0.0)
    began_s = min((part.played.began_s for part in parts if len(part.trace)), default=0.0)
    offered = (ended_s - began_s) * sum(part.devices for part in parts)
    allocated = float((jobs["held_s"] * jobs["devices"]).sum())
    busy = float((jobs["duration_s"] * jobs["devices"])[done].sum())
    idle_waiting = sum(part.played.waited_idle_device_s for part in parts)
    count = len(done)
    accounting = Accounting(
        submitted=count + rejected,
        finished=int(done.sum()),
        rejected=rejected,
        waiting=count - int(done.sum()),
        device_s_offered=offered,
        device_s_allocated=allocated,
        device_s_idle=offered - allocated,
    )
    metrics = {
        "jct_s_mean": _mean(jct_s),
        "jct_s_p50": _quantile(jct_s, 0.5),
        "jct_s_p99": _quantile(jct_s, 0.99),
        "queue_s_mean": _mean(wait_s),
        "queue_s_p99": _quantile(wait_s, 0.99),
        "slowdown_p99": _quantile(jct_s / np.maximum(jobs["duration_s"][done], 10.0), 0.99),
        "makespan_s": ended_s - began_s,
        "allocation_share": allocated / offered if offered else 0.0,
        "busy_share": busy / offered if offered else 0.0,
        "idle_while_queued_share": idle_waiting / offered if offered else 0.0,
        "stops_per_job": float(jobs["stops"].mean()) if count else 0.0,
    }
    tables = {"jobs": jobs, "series": _series(parts)}
    return Outcome(metrics=metrics, accounting=accounting, tables=tables)


def _jobs(parts: Sequence[Part]) -> dict[str, NDArray[Any]]:
    """Return a row for each job of each pool."""
    columns: dict[str, list[NDArray[Any]]] = {}
    for part in parts:
        trace, played = part.trace, part.played
        count = len(trace)
        row: dict[str, NDArray[Any]] = {
            "arrival_s": trace.arrival_s,
            "start_s": np.array(played.start_s),
            "end_s": np.array(played.end_s),
            "held_s": np.array(played.held_s),
            "duration_s": trace.duration_s,
            "devices": trace.devices,
            "stops": np.array(played.stops, dtype=np.int64),
            "tenant": trace.tenant,
            "pool": np.full(count, part.pool, dtype=object),
        }
        for name, column in row.items():
            columns.setdefault(name, []).append(column)
    return {name: np.concatenate(some) for name, some in columns.items()}


def _series(parts: Sequence[Part]) -> Columns:
    """Return what waits and what is held over time, all pools together."""
    times = np.unique(np.concatenate([np.array(part.played.t_s) for part in parts]))
    queued = np.zeros(len(times), dtype=np.int64)
    held = np.zeros(len(times), dtype=np.int64)
    for part in parts:
        if part.played.t_s:
            at = np.searchsorted(np.array(part.played.t_s), times, side="right") - 1
            there = at >= 0
            queued[there] += np.array(part.played.queued)[at[there]]
            held[there] += np.array(part.played.held)[at[there]]
    devices = sum(part.devices for part in parts)
    return {"t_s": times, "queued": queued, "allocated_share": held / devices}


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _quantile(values: NDArray[np.float64], share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else float("nan")
