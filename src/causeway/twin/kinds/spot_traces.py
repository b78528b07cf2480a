"""Spot traces, read and cut into the jobs that the kind `spot` replays over them.

A *market* is where one job may be: one zone, or with `together` all zones of a region, any of which
will do though going to another costs a changeover. Samples are merged into ticks, and a tick has
spot only if every sample of it has. Traces that are too short for the longest deadline, have holes,
or differ in their tick within one run are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput
from causeway.schedule.shift import availability
from causeway.schedule.shift.spot import Terms

Floats = NDArray[np.float64]


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The rectangle that is replayed."""

    campaigns: tuple[str, ...]
    """Of the trace file: which of its collections are used; zones of one are simultaneous."""
    traces: str = "spot/spot_traces.parquet"
    tick_s: int = 180
    """Samples are merged to the whole number of them that is nearest; spot has to last for all."""
    work_h: float = 48.0
    slack_shares: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 1.0)
    changeover_h: tuple[float, ...] = (0.2,)
    together: bool = False
    """Whether a job may use all zones of its region, one at a time."""
    starts: int = 60
    """Submissions for each market, slack and changeover."""
    relearn_h: float = 96.0
    """How old what is known may be: jobs are planned in epochs of so many hours."""
    slices: int = 8
    """Of the time-sliced policy."""
    on_demand_usd_per_h: float = 3.06
    spot_usd_per_h: float = 0.9731


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Where a job may be: simultaneous traces of one length."""

    name: str
    tick_s: int
    spot: NDArray[np.bool_]
    """(zones, ticks)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The jobs of one changeover: every market, start and slack."""

    terms: Terms
    changeover_h: float
    tick_h: float
    market: NDArray[np.int64]
    start: NDArray[np.int64]
    slack_share: Floats
    spot: NDArray[np.bool_]
    """(jobs, zones, ticks) from each submission to the longest deadline."""
    steadiest: NDArray[np.int8]
    """(jobs, ticks): the zone to start in."""

    def of(self, which: NDArray[np.bool_]) -> Batch:
        """Return some of the jobs."""
        deadlines = np.asarray(self.terms.deadline_ticks)[which]
        return replace(
            self,
            terms=replace(self.terms, deadline_ticks=deadlines),
            market=self.market[which],
            start=self.start[which],
            slack_share=self.slack_share[which],
            spot=self.spot[which],
            steadiest=self.steadiest[which],
        )


def read_markets(path: Path, options: Options) -> list[Market]:
    """Return the traces of the options' campaigns.

    Raises:
        InvalidInput: no such file, campaign or column, or a trace without two states to merge.
    """
    try:
        table = pl.read_parquet(path, columns=["campaign", "zone", "nodes", "gap_seconds", "data"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InvalidInput(
            f"the spot traces {path} cannot be read: {error}",
            hint="CAUSEWAY_DATA names the folder that `traces` is in",
        ) from error
    known = table["campaign"].unique().to_list()
    for campaign in options.campaigns:
        if campaign not in known:
            raise InvalidInput(
                f"there is no campaign {campaign} in {path.name}; it has {', '.join(sorted(known))}"
            )
    zones = [
        _zone(row, options.tick_s)
        for row in table.iter_rows(named=True)
        if row["campaign"] in options.campaigns
    ]
    return _regions(zones) if options.together else zones


def _regions(zones: list[Market]) -> list[Market]:
    """Return one market for each region; a zone is its region and a letter."""
    regions: dict[str, list[Market]] = {}
    for zone in zones:
        regions.setdefault(zone.name.rstrip("abcdefghijklmnopqrstuvwxyz").rstrip("-"), []).append(
            zone
        )
    found = []
    for name, members in regions.items():
        if len({(zone.tick_s, zone.spot.shape) for zone in members}) > 1:
            raise InvalidInput(f"the zones of {name} are not simultaneous samples of one length")
        spot = np.concatenate([zone.spot for zone in members])
        found.append(Market(name=name, tick_s=members[0].tick_s, spot=spot))
    return found


def _zone(row: dict[str, Any], tick_s: int) -> Market:
    name, gap_s = f"{row['campaign']}/{row['zone']}", row["gap_seconds"]
    if not row["data"] or None in row["data"] or not gap_s or gap_s <= 0:
        raise InvalidInput(f"the spot trace {name} has no samples, a hole, or no sampling interval")
    merged = max(1, round(tick_s / gap_s))
    samples = np.asarray(row["data"]) >= row["nodes"]
    whole = samples[: len(samples) // merged * merged].reshape(-1, merged)
    return Market(name=name, tick_s=gap_s * merged, spot=whole.all(axis=1)[None, :])


def batches(markets: Sequence[Market], options: Options, seed: int) -> Iterator[Batch]:
    """Yield the jobs of each changeover; an equal seed submits them at equal instants."""
    tick_h = markets[0].tick_s / 3600
    work = round(options.work_h / tick_h)
    deadlines = [round(options.work_h * (1 + share) / tick_h) for share in options.slack_shares]
    longest, slacks = max(deadlines), len(deadlines)
    _fits(markets, longest)
    draw = np.random.default_rng(seed)
    begins = [draw.integers(0, m.spot.shape[1] - longest + 1, options.starts) for m in markets]
    spot, steadiest = _windows(markets, begins, longest)
    for changeover_h in options.changeover_h:
        terms = Terms(
            work_ticks=work,
            deadline_ticks=np.tile(np.array(deadlines, np.int32), len(spot)),
            changeover_ticks=int(np.ceil(changeover_h / tick_h - 1e-9)),
            price_ratio=options.on_demand_usd_per_h / options.spot_usd_per_h,
        )
        if not terms.feasible:
            raise InvalidInput(
                f"a changeover of {changeover_h} h does not fit in the tightest deadline",
                where="$.options.slack_shares",
            )
        yield Batch(
            terms=terms,
            changeover_h=changeover_h,
            tick_h=tick_h,
            market=np.repeat(np.arange(len(markets)), options.starts * slacks),
            start=np.repeat(np.concatenate(begins), slacks),
            slack_share=np.tile(np.array(options.slack_shares), len(spot)),
            spot=np.repeat(spot, slacks, axis=0),
            steadiest=np.repeat(steadiest, slacks, axis=0),
        )


def _fits(markets: Sequence[Market], longest: int) -> None:
    if len({market.tick_s for market in markets}) > 1:
        raise InvalidInput("the campaigns of one run need one length of tick; take them apart")
    for market in markets:
        ticks, tick_h = market.spot.shape[1], market.tick_s / 3600
        if ticks < longest:
            raise InvalidInput(
                f"{market.name} lasts {ticks * tick_h:.1f} h; "
                f"the longest deadline is {longest * tick_h:.1f} h",
                where="$.options.work_h",
            )


def _windows(
    markets: Sequence[Market], begins: Sequence[NDArray[np.int64]], ticks: int
) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
    """Return what each submission has ahead; markets with fewer zones get empty ones."""
    most = max(len(market.spot) for market in markets)
    spot, steadiest = [], []
    for market, starts in zip(markets, begins, strict=True):
        padded = np.zeros((most, market.spot.shape[1]), np.bool_)
        padded[: len(market.spot)] = market.spot
        best = availability.steadiest(market.spot)
        spot += [padded[:, start : start + ticks] for start in starts]
        steadiest += [best[start : start + ticks] for start in starts]
    return np.stack(spot), np.stack(steadiest)
