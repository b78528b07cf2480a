"""Jobs that may wait for cleaner hours: policies against the clairvoyant bound, zone by zone.

In every zone a job comes in each hour of the series, for each length; the arrivals, the windows and
the means are those of Sukprasert et al. (EuroSys 2024), so that the bound can be held against their
published results. A policy sees hours only once they are over (`forecast`), and what it learns
from other zones it learns from an earlier year and from zones of another fold: leave-zones-out and
a year ahead at once.

Saved is against running at arrival. `bound_share` is what a policy saves over what the clairvoyant
saves. Jobs draw `power_kw` while they run; no capacity is assumed short.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput
from causeway.schedule.shift import deferral, forecast
from causeway.schedule.shift.deferral import Arrivals, Ran
from causeway.schedule.shift.windows import Cheapest, least_in_one_piece, least_in_pieces
from causeway.twin.kinds import Kind, Progress
from causeway.twin.outcome import Accounting, Columns, Outcome

Floats = NDArray[np.float64]
Series = dict[str, Floats]

TIMES = frozenset({"timestamp", "hour_of_2022"})
"""The columns of the series that are not zones."""

POLICIES = ("run_at_arrival", "threshold", "lowest_window", "causeway", "clairvoyant")
"""`lowest_window` is committed at arrival to what yesterday looked like."""


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What jobs, where and when."""

    series: str = "carbon/decarbonization_zones_2022.parquet"
    """Hours x zones, gCO2/kWh."""
    learn_from: str = "carbon/electricitymaps_hourly_2021.parquet"
    """Of an earlier year: what forecasts learn from, in zones of other folds."""
    zones: tuple[str, ...] = ()
    """Only these; none for all."""
    lengths_h: tuple[int, ...] = (1, 6, 12, 24, 48, 96, 168)
    slack_h: int = 24
    interruptible: bool = False
    power_kw: float = 1.0
    folds: int = 4
    learn_zones: int = 30
    """At most so many zones are learnt from."""


def read_series(path: Path, zones: tuple[str, ...] = ()) -> Series:
    """Return zone -> its hours.

    Raises:
        InvalidInput: no such file or zone, or an hour without a value.
    """
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(
            f"the carbon series {path} cannot be read: {error}",
            hint="CAUSEWAY_DATA names the folder that `series` is in",
        ) from error
    known = [name for name in table.columns if name not in TIMES]
    for zone in zones:
        if zone not in known:
            raise InvalidInput(f"{path.name} has no zone {zone}", where="$.options.zones")
    series: Series = {}
    for name in zones or known:
        hours = table[name].cast(pl.Float64).to_numpy().astype(np.float64)
        if not np.isfinite(hours).all():
            hour = int(np.flatnonzero(~np.isfinite(hours))[0])
            raise InvalidInput(f"{path.name} has no value for {name} in row {hour + 1}")
        series[name] = hours
    return series


def weights_by_zone(
    zones: list[str], past: Series, options: Options, seed: int
) -> dict[str, forecast.Weights]:
    """Return, for each zone, what was learnt in the earlier year from zones of other folds."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(sorted(set(zones) | set(past)))
    fold_of = {str(zone): number % options.folds for number, zone in enumerate(order)}
    horizon = options.slack_h + max(options.lengths_h)
    learnt: dict[int, forecast.Weights] = {}
    for fold in sorted({fold_of[zone] for zone in zones}):
        others = [past[str(z)] for z in order if str(z) in past and fold_of[str(z)] != fold]
        learnt[fold] = forecast.learn(others[: options.learn_zones], horizon)
    return {zone: learnt[fold_of[zone]] for zone in zones}


def _bound(hours: Floats, jobs: Arrivals, cheapest: Cheapest | None, slack_h: int) -> Ran:
    """Return the least that could have been emitted; when it would have run is not looked for."""
    if cheapest is None:
        least = least_in_one_piece(hours, jobs.length, slack_h)
    else:
        least = least_in_pieces(cheapest, len(hours), jobs.length, slack_h)
    many = len(jobs.first)
    unknown = np.full(many, np.nan)
    return Ran(cost=least[:many], waited_h=unknown, took_h=unknown)


def _run_policy(
    policy: str, hours: Floats, jobs: Arrivals, looks: Floats | None, *, interruptible: bool
) -> Ran:
    if policy == "run_at_arrival":
        return deferral.at_arrival(hours, jobs)
    if policy == "threshold":
        return deferral.threshold(hours, jobs, one_piece=not interruptible)
    assert looks is not None
    rule = deferral.in_pieces if interruptible else deferral.one_piece
    return rule(hours, jobs, looks, committed=policy == "lowest_window")


def _looks(policy: str, hours: Floats, weights: forecast.Weights | None, horizon: int) -> Any:
    """Return the forecasts of every hour that a policy is told, if any."""
    at = np.arange(len(hours))
    if policy == "lowest_window":
        return forecast.yesterday(hours, at, horizon)
    if policy == "causeway" and weights is not None:
        return forecast.forecast(hours, at, weights)
    return None


def run(options: Options, policy: str, seed: int, data_folder: Path, progress: Progress) -> Outcome:
    """Replay every zone and length with one policy."""
    series = read_series(data_folder / options.series, options.zones)
    shortest = min(len(hours) for hours in series.values())
    if max(options.lengths_h) >= shortest or min(options.lengths_h) < 1 or options.slack_h < 0:
        raise InvalidInput(f"lengths are 1 to {shortest - 1} h, and slack is not negative")
    weights: dict[str, forecast.Weights] = {}
    if policy == "causeway":
        past = read_series(data_folder / options.learn_from)
        weights = weights_by_zone(list(series), past, options, seed)
    rows: list[dict[str, float | str]] = []
    horizon = options.slack_h + max(options.lengths_h)
    for number, (zone, hours) in enumerate(series.items()):
        looks = _looks(policy, hours, weights.get(zone), horizon)
        cheapest = Cheapest(hours) if options.interruptible else None
        for length in options.lengths_h:
            jobs = deferral.arrivals(len(hours), length, options.slack_h)
            base = deferral.at_arrival(hours, jobs)
            bound = _bound(hours, jobs, cheapest, options.slack_h)
            got = bound
            if policy != "clairvoyant":
                got = _run_policy(policy, hours, jobs, looks, interruptible=options.interruptible)
            rows.append(_row(zone, jobs, (base, bound, got)))
        progress((number + 1) / len(series))
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return _outcome(table, options)


def _row(zone: str, jobs: Arrivals, three: tuple[Ran, Ran, Ran]) -> dict[str, float | str]:
    """Return one zone and length: means over its arrivals, in g per kWh of work and in hours."""
    base, bound, got = three
    late = got.took_h > jobs.end - jobs.first
    return {
        "zone": zone,
        "length_h": float(jobs.length),
        "jobs": float(len(jobs.first)),
        "late": float(late.sum()),
        "g_per_kwh": float(got.cost.mean() / jobs.length),
        "g_per_kwh_at_arrival": float(base.cost.mean() / jobs.length),
        "g_per_kwh_clairvoyant": float(bound.cost.mean() / jobs.length),
        "waited_h": float(got.waited_h.mean()),
        "took_h": float(got.took_h.mean()),
    }


def _outcome(table: dict[str, NDArray[Any]], options: Options) -> Outcome:
    """Return means over lengths of means over zones, as the study averages."""
    saved = table["g_per_kwh_at_arrival"] - table["g_per_kwh"]
    possible = table["g_per_kwh_at_arrival"] - table["g_per_kwh_clairvoyant"]
    lengths = table["length_h"]
    metrics = {
        "carbon_kg": float((table["g_per_kwh"] * lengths).mean() * options.power_kw / 1000),
        "energy_kwh": float(lengths.mean() * options.power_kw),
        "saved_share": float(saved.mean() / table["g_per_kwh_at_arrival"].mean()),
        "saved_g_per_kwh": float(saved.mean()),
        "bound_share": float(saved.mean() / possible.mean()) if possible.any() else 1.0,
        "queue_s_mean": float(table["waited_h"].mean() * 3600),
        "jct_s_mean": float(table["took_h"].mean() * 3600),
    }
    for length in options.lengths_h:
        metrics[f"saved_g_per_kwh_{length}h"] = float(saved[lengths == length].mean())
    metrics = {name: value for name, value in metrics.items() if np.isfinite(value)}
    submitted, late = int(table["jobs"].sum()), int(table["late"].sum())
    metrics["deadline_share"] = 1 - late / submitted
    cells: Columns = {**table, "saved_g_per_kwh": saved, "bound_g_per_kwh": possible}
    accounting = Accounting(submitted=submitted, finished=submitted - late, failed=late)
    return Outcome(metrics=metrics, accounting=accounting, tables={"cells": cells})


KIND: Kind[Options] = Kind(options=Options, policies=POLICIES, run=run)
