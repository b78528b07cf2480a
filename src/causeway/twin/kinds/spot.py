"""Jobs with a deadline on spot that comes and goes: policies against the clairvoyant optimum.

Each zone's trace says, sample by sample, how many machines there were on spot; a job needs as many
as the trace was taken for (`nodes`), all or none. A job of `work_h` hours is
submitted at random instants of it, once for every slack (deadline / work - 1) and changeover; all
of them are replayed side by side, an array entry each. One rectangle of options is one run, so that
a policy cannot shine at the deadline that suits it: besides means there is the *worst cell*, a cell
being one slack with one changeover over all zones and starts.

`gap_share` is (cost - least possible cost) / cost on demand; `gap_to_greedy_share` divides by
greedy's gap on the same jobs instead, so that 0 is clairvoyant and 1 no better than greedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput
from causeway.schedule.shift import availability, published, thrift
from causeway.schedule.shift.clairvoyant import least_cost
from causeway.schedule.shift.spot import (
    Choice,
    Choices,
    Jobs,
    Terms,
    begin,
    look,
    overrule,
    price_per_tick,
    step,
)
from causeway.twin.kinds import Kind, Progress
from causeway.twin.outcome import Accounting, Columns, Outcome

Floats = NDArray[np.float64]

OURS = ("causeway", "causeway_alone")
"""With what was learnt in other zones, and with the zone's own past alone."""


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
    starts: int = 60
    """Submissions for each zone, slack and changeover."""
    relearn_h: float = 240.0
    """How old what is known of a zone's own past may be; its jobs are planned in such epochs."""
    slices: int = 8
    """Of the time-sliced policy."""
    on_demand_usd_per_h: float = 3.06
    spot_usd_per_h: float = 0.9731


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """One trace."""

    name: str
    tick_s: int
    spot: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The jobs of one changeover: every zone, start and slack."""

    terms: Terms
    changeover_h: float
    tick_h: float
    zone: NDArray[np.int64]
    start: NDArray[np.int64]
    slack_share: Floats
    spot: NDArray[np.bool_]
    """(jobs, ticks) from each submission to the longest deadline."""

    def of(self, which: NDArray[np.bool_]) -> Batch:
        """Return some of the jobs."""
        deadlines = np.asarray(self.terms.deadline_ticks)[which]
        return replace(
            self,
            terms=replace(self.terms, deadline_ticks=deadlines),
            zone=self.zone[which],
            start=self.start[which],
            slack_share=self.slack_share[which],
            spot=self.spot[which],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the jobs of a batch came to, in ticks."""

    cost: Floats
    """In spot-ticks."""
    ran: Floats
    finished: Floats
    """After how many ticks; infinite if late."""


Chooser = Callable[[Terms, Jobs, int], Choices]


def read_zones(path: Path, options: Options) -> list[Zone]:
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
    return [
        _zone(row, options.tick_s)
        for row in table.iter_rows(named=True)
        if row["campaign"] in options.campaigns
    ]


def _zone(row: dict[str, Any], tick_s: int) -> Zone:
    name, gap_s = f"{row['campaign']}/{row['zone']}", row["gap_seconds"]
    if not row["data"] or None in row["data"] or not gap_s or gap_s <= 0:
        raise InvalidInput(f"the spot trace {name} has no samples, a hole, or no sampling interval")
    merged = max(1, round(tick_s / gap_s))
    samples = np.asarray(row["data"]) >= row["nodes"]
    whole = samples[: len(samples) // merged * merged].reshape(-1, merged)
    return Zone(name=name, tick_s=gap_s * merged, spot=np.asarray(whole.all(axis=1)))


def batches(zones: Sequence[Zone], options: Options, seed: int) -> Iterator[Batch]:
    """Yield the jobs of each changeover; an equal seed submits them at equal instants."""
    tick_s = zones[0].tick_s
    if any(zone.tick_s != tick_s for zone in zones):
        raise InvalidInput("the campaigns of one run need one length of tick; take them apart")
    tick_h = tick_s / 3600
    work = round(options.work_h / tick_h)
    deadlines = [round(options.work_h * (1 + share) / tick_h) for share in options.slack_shares]
    longest = max(deadlines)
    for zone in zones:
        if len(zone.spot) < longest:
            raise InvalidInput(
                f"{zone.name} lasts {len(zone.spot) * tick_h:.1f} h; "
                f"the longest deadline is {longest * tick_h:.1f} h",
                where="$.options.work_h",
            )
    draw = np.random.default_rng(seed)
    begins = [draw.integers(0, len(z.spot) - longest + 1, options.starts) for z in zones]
    windows = np.concatenate(
        [
            np.stack([z.spot[s : s + longest] for s in starts])
            for z, starts in zip(zones, begins, strict=True)
        ]
    )
    slacks = len(deadlines)
    for changeover_h in options.changeover_h:
        terms = Terms(
            work_ticks=work,
            deadline_ticks=np.tile(np.array(deadlines, np.int32), len(windows)),
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
            zone=np.repeat(np.arange(len(zones)), options.starts * slacks),
            start=np.repeat(np.concatenate(begins), slacks),
            slack_share=np.tile(np.array(options.slack_shares), len(windows)),
            spot=np.repeat(windows, slacks, axis=0),
        )


def replay(batch: Batch, choose: Chooser) -> Replay:
    """Return what becomes of the jobs when `choose` decides every tick, over the safety net."""
    terms, many = batch.terms, len(batch.zone)
    price = price_per_tick(terms)
    cost, ran, finished = np.zeros(many), np.zeros(many), np.full(many, np.inf)
    jobs = begin(terms, batch.spot[:, 0])
    for tick in range(batch.spot.shape[1]):
        jobs = look(jobs, batch.spot[:, tick])
        chosen = overrule(terms, jobs, choose(terms, jobs, tick))
        cost += price[chosen]
        ran += chosen != Choice.IDLE
        jobs = step(terms, jobs, chosen)
        over = (jobs.left <= 0) & np.isinf(finished)
        finished[over] = tick + 1
        if not np.isinf(finished).any():
            break
    finished[finished > terms.deadline_ticks] = np.inf
    return Replay(cost=cost, ran=ran, finished=finished)


def _of(policy: published.Policy) -> Chooser:
    def choose(terms: Terms, jobs: Jobs, tick: int) -> Choices:
        del tick
        return policy(terms, jobs)

    return choose


def _optimum(batch: Batch) -> Replay:
    """Return the least cost, and the earliest tick by which it can be had."""
    slacks = len(np.unique(batch.slack_share))
    least = np.repeat(least_cost(batch.terms, batch.spot[::slacks]), slacks, axis=0)
    cost = least[np.arange(len(least)), batch.terms.deadline_ticks]
    finished = np.argmax(least <= cost[:, None] * (1 + 1e-6), axis=1)
    return Replay(cost=cost, ran=np.zeros(len(cost)), finished=finished.astype(np.float64))


def _thrifty(batch: Batch, zones: Sequence[Zone], relearn_h: float, *, alone: bool) -> Replay:
    """Replay our policy: each zone planned under what was known when its epoch began.

    That is the zone's own past up to then and, unless `alone`, what was seen in the other zones:
    the zone's own future is never in what it is planned with.
    """
    seen = [availability.phases(zone.spot) for zone in zones]
    step_ticks = thrift.step_of(batch.terms.work_ticks)
    epoch_ticks = max(1, round(relearn_h / batch.tick_h))
    parts: list[Replay] = []
    for number, zone_seen in enumerate(seen):
        part = batch.of(batch.zone == number)
        others = [] if alone else [s for other, s in enumerate(seen) if other != number]
        epochs, index = np.unique(part.start // epoch_ticks, return_inverse=True)
        chains = [
            availability.learn(zone_seen[: epoch * epoch_ticks], others, step_ticks)
            for epoch in epochs
        ]
        planned = thrift.plan(part.terms, chains, step_ticks)
        window = np.stack([zone_seen[s : s + part.spot.shape[1]] for s in part.start])
        parts.append(replay(part, _planned(planned, index.reshape(-1), window)))
    return Replay(
        cost=np.concatenate([part.cost for part in parts]),
        ran=np.concatenate([part.ran for part in parts]),
        finished=np.concatenate([part.finished for part in parts]),
    )


def _planned(plan: thrift.Plan, chain: NDArray[np.int64], window: NDArray[np.int8]) -> Chooser:
    def choose(terms: Terms, jobs: Jobs, tick: int) -> Choices:
        belief = thrift.Belief(chain=chain, phase=window[:, tick])
        return thrift.choose(plan, terms, jobs, belief)

    return choose


def _chooser(options: Options, policy: str) -> Chooser:
    if policy == "time_sliced":
        return _of(published.time_sliced(options.slices))
    by_name = {
        "on_demand": published.on_demand,
        "greedy": published.greedy,
        "uniform_progress": published.uniform_progress,
    }
    return _of(by_name[policy])


def run(options: Options, policy: str, seed: int, data_folder: Path, progress: Progress) -> Outcome:
    """Replay the rectangle with one policy."""
    zones = read_zones(data_folder / options.traces, options)
    cells: list[Columns] = []
    for number, batch in enumerate(batches(zones, options, seed)):
        optimum = _optimum(batch)
        greedy = replay(batch, _of(published.greedy))
        if policy == "clairvoyant":
            got = optimum
        elif policy == "greedy":
            got = greedy
        elif policy in OURS:
            alone = policy == "causeway_alone"
            got = _thrifty(batch, zones, options.relearn_h, alone=alone)
        else:
            got = replay(batch, _chooser(options, policy))
        cells.append(_columns(batch, got, optimum, greedy))
        progress((number + 1) / len(options.changeover_h))
    jobs = {name: np.concatenate([cell[name] for cell in cells]) for name in cells[0]}
    jobs["zone"] = np.array([zone.name for zone in zones])[jobs["zone"]]
    return _outcome(jobs, options, clock=policy != "clairvoyant")


def _columns(batch: Batch, got: Replay, optimum: Replay, greedy: Replay) -> Columns:
    """Return a row for each job, costs as shares of what on demand alone would have cost."""
    terms = batch.terms
    on_demand = terms.price_ratio * (terms.work_ticks + terms.changeover_ticks)
    return {
        "zone": batch.zone,
        "start_tick": batch.start,
        "slack_share": batch.slack_share,
        "changeover_h": np.full(len(batch.zone), batch.changeover_h),
        "cost_share": got.cost / on_demand,
        "least_cost_share": optimum.cost / on_demand,
        "greedy_cost_share": greedy.cost / on_demand,
        "on_demand_h": np.full(len(batch.zone), on_demand / terms.price_ratio * batch.tick_h),
        "ran_h": got.ran * batch.tick_h,
        "finished_h": got.finished * batch.tick_h,
        "deadline_h": np.asarray(terms.deadline_ticks) * batch.tick_h,
    }


def _outcome(jobs: dict[str, NDArray[Any]], options: Options, *, clock: bool) -> Outcome:
    met = np.isfinite(jobs["finished_h"])
    gap = jobs["cost_share"] - jobs["least_cost_share"]
    greedy_gap = jobs["greedy_cost_share"] - jobs["least_cost_share"]
    cells = _by_cell(jobs, gap, greedy_gap)
    usd = jobs["cost_share"] * jobs["on_demand_h"] * options.on_demand_usd_per_h
    metrics = {
        "cost_usd": float(usd.mean()),
        "saved_share": float(1 - jobs["cost_share"].mean()),
        "gap_share": float(gap.mean()),
        "gap_to_greedy_share": float(gap.mean() / greedy_gap.mean()),
        "gap_to_greedy_share_worst": float(cells["gap_to_greedy_share"].max()),
        "deadline_share": float(met.mean()),
        "jct_s_mean": float(jobs["finished_h"][met].mean() * 3600),
    }
    offered_s = float(jobs["deadline_h"].sum() * 3600) if clock else 0.0
    ran_s = float(jobs["ran_h"].sum() * 3600) if clock else 0.0
    accounting = Accounting(
        submitted=len(met),
        finished=int(met.sum()),
        failed=int((~met).sum()),
        device_s_offered=offered_s,
        device_s_allocated=ran_s,
        device_s_idle=offered_s - ran_s,
    )
    return Outcome(metrics=metrics, accounting=accounting, tables={"jobs": jobs, "cells": cells})


def _by_cell(jobs: Columns, gap: Floats, greedy_gap: Floats) -> dict[str, NDArray[Any]]:
    keys = np.stack([jobs["changeover_h"], jobs["slack_share"]], axis=1)
    cells, index = np.unique(keys, axis=0, return_inverse=True)
    index = index.reshape(-1)
    count = np.bincount(index)
    mean_gap = np.bincount(index, gap) / count
    mean_greedy = np.bincount(index, greedy_gap) / count
    return {
        "changeover_h": cells[:, 0],
        "slack_share": cells[:, 1],
        "saved_share": 1 - np.bincount(index, jobs["cost_share"]) / count,
        "saved_share_clairvoyant": 1 - np.bincount(index, jobs["least_cost_share"]) / count,
        "saved_share_greedy": 1 - np.bincount(index, jobs["greedy_cost_share"]) / count,
        "gap_share": mean_gap,
        "gap_to_greedy_share": mean_gap / np.maximum(mean_greedy, 1e-12),
    }


KIND: Kind[Options] = Kind(
    options=Options,
    policies=("on_demand", "greedy", "time_sliced", "uniform_progress", *OURS, "clairvoyant"),
    run=run,
)
