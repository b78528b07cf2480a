"""Work that may run elsewhere: what the greenest place within reach saves, and who can know it.

The study by Sukprasert et al. (EuroSys 2024) asks how much carbon a zone's work would save if it
all moved, once, to the zone that was greenest over the year (`clairvoyant_once`), or every hour to
the one that is greenest in it (`clairvoyant_hourly`); averaged over all zones as origins. Neither
knows capacity. With `latency_ms`, only places within that round trip of the origin count, for the
zones that the latency matrix has.

`causeway` moves with what was known: each hour, work that comes goes to the reachable zone whose
last `window_h` hours were greenest, and stays there for its `length_h`. Moving is counted free, as
in the study; what it costs is weighed where jobs are placed (`schedule.scores`).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput
from causeway.schedule.shift.windows import sums
from causeway.twin.kinds import Kind, Progress
from causeway.twin.kinds.carbon import Series, read_series
from causeway.twin.outcome import Accounting, Outcome

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

POLICIES = ("stay", "causeway", "clairvoyant_once", "clairvoyant_hourly")


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which zones, how far, for how long."""

    series: str = "carbon/decarbonization_zones_2022.parquet"
    zones: tuple[str, ...] = ()
    """Only these; none for all."""
    latency: str = ""
    """A matrix of round trips in ms, origins down, with zones as names; empty: no limit."""
    latency_ms: float = 0.0
    length_h: int = 24
    window_h: int = 672
    power_kw: float = 1.0


def reach(path: Path, zones: list[str], limit_ms: float) -> tuple[list[str], Flags]:
    """Return the zones that the matrix has, and (origin, place) whether a place is within reach.

    Raises:
        InvalidInput: the matrix cannot be read or shares no zone with the series.
    """
    try:
        table = pl.read_csv(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(
            f"the latency matrix {path} cannot be read: {error}",
            hint="CAUSEWAY_DATA names the folder that `latency` is in",
        ) from error
    origins = table[table.columns[0]].to_list()
    known = [zone for zone in zones if zone in origins and zone in table.columns]
    if not known:
        raise InvalidInput(f"{path.name} has none of the series' zones", where="$.options.latency")
    rows = [origins.index(zone) for zone in known]
    ms = table.select(known).to_numpy()[rows].astype(np.float64)
    return known, np.asarray(ms <= limit_ms) | np.eye(len(known), dtype=np.bool_)


def _moved(policy: str, hours: Floats, near: Flags, options: Options) -> Floats:
    """Return (origin, hour): the g/kWh of the work that comes to each zone in each hour.

    `hours` is (zone, hour). Work of `length_h` that comes too late to end within the series is not
    asked about; the clairvoyant and `stay` average every hour, as the study does.
    """
    if policy == "stay":
        return hours
    if policy == "clairvoyant_once":
        best = np.where(near, hours.mean(axis=1), np.inf).argmin(axis=1)
        return np.asarray(hours[best])
    if policy == "clairvoyant_hourly":
        return np.asarray(np.stack([hours[places].min(axis=0) for places in near]))
    length = options.length_h
    total = np.concatenate([np.zeros((len(hours), 1)), np.cumsum(hours, axis=1)], axis=1)
    count = hours.shape[1] - length + 1
    first = np.maximum(np.arange(count) - options.window_h, 0)
    seen = np.maximum(np.arange(count) - first, 1)
    known = (total[:, np.arange(count)] - total[:, first]) / seen
    ran = np.stack([sums(zone, length) for zone in hours]) / length
    moved = np.empty((len(near), count))
    for origin, places in enumerate(near):
        choice = np.flatnonzero(places)[known[places].argmin(axis=0)]
        choice[0] = origin  # Nothing has been seen yet.
        moved[origin] = ran[choice, np.arange(count)]
    return moved


def run(options: Options, policy: str, seed: int, data_folder: Path, progress: Progress) -> Outcome:
    """Move every zone's work by one policy. Nothing is drawn: seeds give the same."""
    del seed
    series: Series = read_series(data_folder / options.series, options.zones)
    zones = list(series)
    near = np.ones((len(zones), len(zones)), np.bool_)
    if options.latency:
        zones, near = reach(data_folder / options.latency, zones, options.latency_ms)
    hours = np.stack([series[zone] for zone in zones])
    if not 1 <= options.length_h < hours.shape[1]:
        raise InvalidInput(f"length_h is 1 to {hours.shape[1] - 1}", where="$.options.length_h")
    moved = _moved(policy, hours, near, options)
    bound = float(_moved("clairvoyant_hourly", hours, near, options).mean())
    stayed, got = float(hours.mean()), float(moved.mean())
    progress(1.0)
    metrics = {
        "g_per_kwh": got,
        "saved_g_per_kwh": stayed - got,
        "saved_share": (stayed - got) / stayed,
        "bound_share": (stayed - got) / (stayed - bound) if stayed > bound else 1.0,
        "carbon_kg": got * options.length_h * options.power_kw / 1000,
        "energy_kwh": options.length_h * options.power_kw,
    }
    table = {"zone": np.array(zones), "g_per_kwh": moved.mean(axis=1), "stays": hours.mean(axis=1)}
    submitted = int(moved.size)
    return Outcome(
        metrics=metrics,
        accounting=Accounting(submitted=submitted, finished=submitted),
        tables={"zones": table},
    )


KIND: Kind[Options] = Kind(options=Options, policies=POLICIES, run=run)
