"""Jobs with a deadline on spot that comes and goes: policies against the clairvoyant optimum.

Each zone's trace says, sample by sample, how many machines there were on spot; a job needs as many
as the trace was taken for (`nodes`), all or none. A job of `work_h` hours is submitted at random
instants of it, once for every slack (deadline / work - 1) and changeover; all of them are replayed
side by side, an array entry each. With `together` a job may use all zones of a region, one at a
time; it starts in the one whose spot has been there longest. One rectangle of options is one run,
so that a policy cannot shine at the deadline that suits it: besides means there is the *worst
cell*, a cell being one slack with one changeover over all markets and starts.

`gap_share` is (cost - least possible cost) / cost on demand; `gap_to_greedy_share` divides by
greedy's gap on the same jobs instead, so that 0 is clairvoyant and 1 no better than greedy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from causeway.twin.kinds.spot_traces import Batch, Market, Options, batches, read_markets
from causeway.twin.outcome import Accounting, Columns, Outcome

Floats = NDArray[np.float64]
Phases = NDArray[np.int8]

OURS = ("causeway", "causeway_alone", "causeway_taught")
"""With the past of all markets; of its own alone; and with all that was ever seen in the others."""
EPOCHS_AT_ONCE = 12
"""Plans of so many epochs are held in memory together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the jobs of a batch came to, in ticks."""

    cost: Floats
    """In spot-ticks."""
    ran: Floats
    finished: Floats
    """After how many ticks; infinite if late."""


Chooser = Callable[[Terms, Jobs, int], Choices]


def replay(batch: Batch, choose: Chooser) -> Replay:
    """Return what becomes of the jobs when `choose` decides every tick, over the safety net."""
    terms, many = batch.terms, len(batch.market)
    price = price_per_tick(terms)
    cost, ran, finished = np.zeros(many), np.zeros(many), np.full(many, np.inf)
    jobs, rows = begin(terms, batch.steadiest[:, 0] >= 0), np.arange(many)
    zone = np.zeros(many, np.int64)
    for tick in range(batch.spot.shape[2]):
        there = batch.steadiest[:, tick]
        jobs = look(jobs, there >= 0, gone=~batch.spot[rows, zone, tick])
        chosen = overrule(terms, jobs, choose(terms, jobs, tick))
        zone = np.where((chosen == Choice.SPOT) & (jobs.on != Choice.SPOT), there, zone)
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


def _thrifty(batch: Batch, markets: Sequence[Market], relearn_h: float, policy: str) -> Replay:
    """Replay our policy: each market planned under what was known when its epoch began.

    That is its own past up to then and, unless alone, that of the other markets. Only
    `causeway_taught` is told of the others what came later as well, as one would be who brought a
    history of elsewhere; of its own market nobody ever is.
    """
    seen = [availability.phases(market.spot) for market in markets]
    epoch_ticks = max(1, round(relearn_h / batch.tick_h))
    cost, ran, finished = (np.zeros(len(batch.market)) for _ in range(3))
    epoch_of = batch.start // epoch_ticks
    for market, own in enumerate(seen):
        others = [other for number, other in enumerate(seen) if number != market]
        epochs = np.unique(epoch_of[batch.market == market])
        for first in range(0, len(epochs), EPOCHS_AT_ONCE):
            some = epochs[first : first + EPOCHS_AT_ONCE]
            chains = [
                _known(policy, own, others, (int(epoch) * epoch_ticks, _step(batch)))
                for epoch in some
            ]
            which = (batch.market == market) & np.isin(epoch_of, some)
            part = batch.of(which)
            window = np.stack([own[s : s + part.spot.shape[2]] for s in part.start])
            planned = thrift.plan(part.terms, chains, _step(batch))
            index = np.searchsorted(some, epoch_of[which])
            got = replay(part, _planned(planned, index, window))
            cost[which], ran[which], finished[which] = got.cost, got.ran, got.finished
    return Replay(cost=cost, ran=ran, finished=finished)


def _step(batch: Batch) -> int:
    return thrift.step_of(batch.terms.work_ticks)


def _known(
    policy: str, own: Phases, others: Sequence[Phases], at: tuple[int, int]
) -> availability.Chain:
    """Return the chain that a policy believes in at a tick, with steps of so many ticks."""
    tick, step_ticks = at
    told: list[Phases] = []
    if policy == "causeway":
        told = [other[:tick] for other in others] if tick else []
    elif policy == "causeway_taught":
        told = list(others)
    return availability.learn(own[:tick], told, step_ticks)


def _planned(plan: thrift.Plan, chain: NDArray[np.int64], window: Phases) -> Chooser:
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
    markets = read_markets(data_folder / options.traces, options)
    cells: list[Columns] = []
    for number, batch in enumerate(batches(markets, options, seed)):
        optimum = _optimum(batch)
        greedy = replay(batch, _of(published.greedy))
        if policy == "clairvoyant":
            got = optimum
        elif policy == "greedy":
            got = greedy
        elif policy in OURS:
            got = _thrifty(batch, markets, options.relearn_h, policy)
        else:
            got = replay(batch, _chooser(options, policy))
        cells.append(_columns(batch, got, optimum, greedy))
        progress((number + 1) / len(options.changeover_h))
    jobs = {name: np.concatenate([cell[name] for cell in cells]) for name in cells[0]}
    jobs["market"] = np.array([market.name for market in markets])[jobs["market"]]
    return _outcome(jobs, options, clock=policy != "clairvoyant")


def _columns(batch: Batch, got: Replay, optimum: Replay, greedy: Replay) -> Columns:
    """Return a row for each job, costs as shares of what on demand alone would have cost."""
    terms = batch.terms
    on_demand = terms.price_ratio * (terms.work_ticks + terms.changeover_ticks)
    return {
        "market": batch.market,
        "start_tick": batch.start,
        "slack_share": batch.slack_share,
        "changeover_h": np.full(len(batch.market), batch.changeover_h),
        "cost_share": got.cost / on_demand,
        "least_cost_share": optimum.cost / on_demand,
        "greedy_cost_share": greedy.cost / on_demand,
        "on_demand_h": np.full(len(batch.market), on_demand / terms.price_ratio * batch.tick_h),
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
        "gap_to_greedy_share": float(gap.mean() / max(greedy_gap.mean(), 1e-12)),
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
