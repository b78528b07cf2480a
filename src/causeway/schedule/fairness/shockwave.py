"""Shockwave's plan of the next rounds, by greedy steps where the original solves a program.

Zheng et al. (NSDI 2023) choose, for a window of 20 rounds, who runs in which, so as to maximise

    sum over jobs of  priority * log(progress after the window) / (jobs * rounds)
        - k * (longest time left after the window)

with k = 0.001 per second and the logarithm piecewise linear between fifths. The priority of a job
that would end later than on a fair part from now on is that ratio to the power 12 (100 in its last
round), else 1; if every job can be given its fair end within the window, that is done first and
priorities are 1. Here a round is given at a time, to one job or to all jobs within a round of the
longest time left, whichever adds most per GPU. Jobs that were given every round that is left of
the window run, then those of the highest priority, and what is left free goes to the longest jobs.
It is planned anew when a job came or ended and every 8 rounds. The original takes the time left
from a posterior over observed batch sizes; here it is that of the job's own plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from causeway.schedule.fairness.member import Member, Pool, fill

WINDOW = 20
REPLAN_ROUNDS = 8
MAKESPAN_PER_S = 1e-3
POWER = 12.0
LAST_ROUND_POWER = 100.0
LOG_PRIORITY_MAX = 27.0
"""The logarithm of the highest priority; a power of 100 has no end of its own."""
BASES = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
LOGS = np.log(np.maximum(BASES, 1e-6))


class Shockwave:
    """One run's state: the rounds planned for each job, and when its fair end was thought to be."""

    def __init__(self) -> None:
        self.planned: dict[int, int] = {}
        self.priority: Mapping[int, float] = {}
        self.fair: dict[int, list[tuple[float, float]]] = {}
        self.here: frozenset[int] = frozenset()
        self.rounds_left = 0

    def __call__(self, now_s: float, members: Sequence[Member], pool: Pool) -> list[int]:
        """Return who runs next."""
        here = frozenset(member.key for member in members)
        changed = here != self.here
        if changed:
            part = min(1.0, pool.gpus / len(members))
            for one in members:
                ends_s = one.submitted_s + (one.ran_s + one.left_s) / part
                self.fair.setdefault(one.key, []).append((now_s, ends_s))
        if changed or self.rounds_left <= WINDOW - REPLAN_ROUNDS:
            self.here, self.rounds_left = here, WINDOW
            self._plan(now_s, members, pool)

        def place(one: Member) -> tuple[bool, bool, float, float, int]:
            planned = self.planned[one.key]
            priority = self.priority[one.key] if planned else 0.0
            return (planned == 0, planned < self.rounds_left, -priority, -one.left_s, one.key)

        chosen = fill(sorted(members, key=place), pool)
        self.rounds_left -= 1
        for key in chosen:
            self.planned[key] = max(0, self.planned[key] - 1)
        return chosen

    def _plan(self, now_s: float, members: Sequence[Member], pool: Pool) -> None:
        part = min(1.0, pool.gpus / len(members))
        fair_s = [_mean_fair_end(self.fair[one.key], now_s) for one in members]
        spare_s = [(end_s - now_s - WINDOW * pool.round_s) * part for end_s in fair_s]
        need = np.array(
            [
                max(0, math.ceil((one.left_s - slack_s) / pool.round_s))
                for one, slack_s in zip(members, spare_s, strict=True)
            ]
        )
        gpus = np.array([one.gpus for one in members])
        priority = np.ones(len(members))
        if need.max() > WINDOW or (need * gpus).sum() > pool.gpus * WINDOW:
            need = np.zeros(len(members), dtype=int)
            for index, one in enumerate(members):
                ratio = (now_s + one.left_s / part) / fair_s[index]
                power = LAST_ROUND_POWER if one.left_s < pool.round_s else POWER
                if ratio > 1.0:
                    priority[index] = math.exp(min(power * math.log(ratio), LOG_PRIORITY_MAX))
        rounds = _give(members, pool, priority, need)
        keys = [one.key for one in members]
        self.planned = dict(zip(keys, rounds.tolist(), strict=True))
        self.priority = dict(zip(keys, priority.tolist(), strict=True))


def _mean_fair_end(series: Sequence[tuple[float, float]], now_s: float) -> float:
    """Return the mean of a job's fair ends by how long each held, and a tenth of the last."""
    until = [at for at, _ in series[1:]] + [now_s]
    spans = [end - at for (at, _), end in zip(series, until, strict=True)]
    last = series[-1][1]
    if sum(spans) <= 0:
        return last
    mean = sum(span * end for span, (_, end) in zip(spans, series, strict=True)) / sum(spans)
    return 0.9 * mean + 0.1 * last


def _give(
    members: Sequence[Member], pool: Pool, priority: np.ndarray, rounds: np.ndarray
) -> np.ndarray:
    """Return how many rounds of the window each gets, from those that it needs at the least."""
    gpus = np.array([one.gpus for one in members])
    alone_s = np.array([one.alone_s for one in members])
    left_s = np.array([one.left_s for one in members]) - rounds * pool.round_s
    left_s = np.maximum(left_s, 0.0)
    free = pool.gpus * WINDOW - int((rounds * gpus).sum())
    scale = len(members) * WINDOW

    def gain_of(which: np.ndarray) -> np.ndarray:
        before, after = left_s[which], np.maximum(left_s[which] - pool.round_s, 0.0)
        log_after, log_before = (
            np.interp(np.clip(1.0 - left / alone_s[which], 0.0, 1.0), BASES, LOGS)
            for left in (after, before)
        )
        gain = priority[which] * (log_after - log_before) / scale
        return np.where((before > 0) & (rounds[which] < WINDOW), gain, 0.0)

    gains = gain_of(np.arange(len(members)))
    while free > 0:
        single = np.where(gpus <= free, gains / gpus, 0.0)
        best = np.array([int(single.argmax())])
        worth, top_s = float(single[best[0]]), float(left_s.max())
        layer = np.flatnonzero(left_s >= top_s - pool.round_s)
        cost = int(gpus[layer].sum())
        if top_s > 0 and cost <= free and bool((rounds[layer] < WINDOW).all()):
            saved = MAKESPAN_PER_S * min(pool.round_s, top_s)
            together = (saved + float(gains[layer].sum())) / cost
            if together > worth:
                best, worth = layer, together
        if worth <= 0:
            break
        rounds[best] += 1
        free -= int(gpus[best].sum())
        left_s[best] = np.maximum(left_s[best] - pool.round_s, 0.0)
        gains[best] = gain_of(best)
    return rounds
