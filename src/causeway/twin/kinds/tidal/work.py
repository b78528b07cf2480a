"""The training side of a run: jobs of a real trace from some day on, and the fleet for them.

A job that the trace shows running at the first instant (submitted earlier, and long enough) is
there at the first instant with what it has left: a cluster is never empty when one begins to look.
The load that training offers is what it would hold if nothing ever waited, averaged over the run;
the fleet is as large as makes that, with what serving needs, the load that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput
from causeway.schedule.tidal.queueing import capacity
from causeway.twin.kinds.tidal.load import CA2_GRID, Arrivals, Load, frame, load
from causeway.twin.kinds.tidal.options import Options

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The jobs, in order of arrival; a column each."""

    arrival_s: Floats
    run_s: Floats
    devices: Ints
    least: Ints
    dropped: int
    """Rows that asked for no time, for no device or for more than the fleet has."""


def jobs(options: Options, data: Path, span_s: float) -> tuple[Floats, Floats, Ints, int]:
    """Return arrival, run time and devices of the jobs of the span, and how many were nothing."""
    if options.trace.startswith("philly/"):
        table = frame(data, options.trace, ("timestamp", "duration", "num_gpus"))
        stamps = table["timestamp"].str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
        if stamps.null_count():
            line = int(stamps.is_null().arg_max() or 0) + 1
            raise InvalidInput(f"{options.trace}: row {line} has no time of submission")
        submit_s = stamps.dt.epoch("s").to_numpy().astype(float)
        asked = table["num_gpus"]
    else:
        table = frame(data, options.trace, ("submission_time", "duration", "num_gpu"))
        submit_s, asked = table["submission_time"].cast(pl.Float64).to_numpy(), table["num_gpu"]
    run_s = table["duration"].cast(pl.Float64).fill_null(0.0).to_numpy()
    devices = asked.fill_null(0).cast(pl.Int64).to_numpy()
    arrival_s = submit_s - np.nanmin(submit_s) - options.first_day * DAY_S
    left_s = np.where(arrival_s < 0, run_s + arrival_s, run_s)
    there = (arrival_s < span_s) & (arrival_s + run_s > 0) | (run_s <= 0) & (arrival_s >= 0)
    there &= arrival_s < span_s
    order = np.argsort(arrival_s, kind="stable")
    order = order[there[order]]
    sound = (left_s[order] > 0) & (devices[order] > 0)
    if not sound.any():
        raise InvalidInput(
            f"{options.trace} has no jobs from day {options.first_day:g} on",
            where="$.options.first_day",
        )
    kept = order[sound]
    return np.maximum(arrival_s[kept], 0.0), left_s[kept], devices[kept], int((~sound).sum())


def world(
    options: Options, given: Arrivals, data: Path, chance: np.random.Generator
) -> tuple[Load, Work, int]:
    """Return serving, training and the number of devices.

    The load of serving depends on the fleet and the fleet on it; three rounds settle both to a
    replica.
    """
    span_s = len(given.rate_per_s) * float(options.window_s)
    arrival_s, run_s, devices, dropped = jobs(options, data, span_s)
    offered_s = devices * np.minimum(run_s, span_s - arrival_s)
    training = float(offered_s.sum()) / span_s
    noise = chance.standard_normal(round(span_s / options.step_s))
    # A service that is always at its peak leaves training the least, and needs the largest fleet.
    largest = training / max(options.offered_load - options.peak_share, 0.05)
    table = capacity(given.replica, round(largest / options.replica_devices) + 8, CA2_GRID)
    serving_share = options.peak_share / 2
    for _ in range(3):
        fleet = training / max(options.offered_load - serving_share, 0.05)
        replicas = max(4, round(fleet / options.replica_devices))
        found = load(options, given, replicas, table=table, noise=noise)
        serving_share = float(found.need.mean()) / replicas
    total = replicas * options.replica_devices
    fits = devices <= total
    elastic = (chance.random(len(devices)) < options.elastic_share) & (devices > 1)
    least = np.maximum(1, np.ceil(devices * options.elastic_least_share)).astype(np.int64)
    return (
        found,
        Work(
            arrival_s=arrival_s[fits],
            run_s=run_s[fits],
            devices=devices[fits],
            least=np.where(elastic, least, devices)[fits],
            dropped=dropped + int((~fits).sum()),
        ),
        total,
    )
