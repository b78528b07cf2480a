"""The free GPUs of a fleet from now on, and the least share of them that meets a deadline.

The least share is the idea of ElasticFlow's admission (Gu et al., ASPLOS 2023, algorithm 1): give a
job as few GPUs as its deadline allows, in every slot at most what jobs of earlier deadlines left
free. Curves are concave, so few GPUs for long cost less GPU time than many for short; a job that
cannot do with one level throughout takes the level below first and the level itself from some step
until its deadline.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from causeway.schedule.deadlines.training import Curve, Training, Work

TOLERANCE_S = 1e-6
"""What sums of floating-point seconds may be off by."""

Step = tuple[float, float, int]
"""From, until, GPUs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """When a job would hold how many GPUs."""

    steps: tuple[Step, ...]
    """In order, without those of no GPUs."""
    ends_s: float
    """When its work would be done."""

    def gpus_at(self, now_s: float) -> int:
        """Return how many GPUs it holds at an instant."""
        for start, end, gpus in self.steps:
            if start <= now_s < end:
                return gpus
        return 0

    def resizes(self, held: int) -> int:
        """Return how often it changes the GPUs of a job that holds so many now."""
        counts = [held, *(gpus for _, _, gpus in self.steps)]
        return sum(one != other for one, other in itertools.pairwise(counts))

    @property
    def gpu_s(self) -> float:
        """GPU-seconds that it takes in all."""
        return sum((end - start) * gpus for start, end, gpus in self.steps)


class Horizon:
    """Free GPUs as steps: `free[i]` from `starts[i]` until the next start, the last for ever.

    Mutable, because a decision lays a hundred plans into one; it never leaves the decision.
    """

    __slots__ = ("free", "slot_s", "starts")

    def __init__(self, now_s: float, gpus: int, *, slot_s: float) -> None:
        self.starts = [now_s]
        self.free = [gpus]
        self.slot_s = slot_s

    def copy(self) -> Horizon:
        """Return another one that may be written on."""
        twin = Horizon.__new__(Horizon)
        twin.starts = self.starts.copy()
        twin.free = self.free.copy()
        twin.slot_s = self.slot_s
        return twin

    def take(self, plan: Plan) -> None:
        """Lay a plan that was made on this horizon."""
        for start, end, gpus in plan.steps:
            first, last = self._cut(start), self._cut(end)
            for index in range(first, last):
                self.free[index] -= gpus

    def _cut(self, at_s: float) -> int:
        index = bisect_left(self.starts, at_s)
        if index == len(self.starts) or self.starts[index] != at_s:
            self.starts.insert(index, at_s)
            self.free.insert(index, self.free[index - 1])
        return index


def least_share(horizon: Horizon, training: Work, *, by_s: float) -> Plan | None:
    """Return the plan of least GPU levels that is done by an instant; None: there is none.

    Levels are tried from the lowest. One suffices when, given to the job in every step from some
    step until `by_s` as far as that is free, the work gets done; before that step it gets the level
    below. A step of the plan ends on the slot grid, because nothing is rescheduled within a slot.
    """
    starts, free = horizon.starts, horizon.free
    window_s = by_s - starts[0]
    left, curve = training.left, training.curve
    counts, rates = curve.counts, curve.rates
    if window_s <= 0 or left > window_s * rates[-1]:
        return None
    periods = bisect_left(starts, by_s)
    for level, count in enumerate(counts):
        rate = rates[level]
        if rate * window_s < left:
            continue
        done, edge = 0.0, by_s
        for index in range(periods - 1, -1, -1):
            here = free[index]
            if here >= count:
                done += (edge - starts[index]) * rate
            elif here >= counts[0]:
                done += (edge - starts[index]) * rates[bisect_right(counts, here) - 1]
            if done >= left:
                return _lay(horizon, training, by_s=by_s, turn=index, level=level)
            edge = starts[index]
    return None


def _lay(horizon: Horizon, training: Work, *, by_s: float, turn: int, level: int) -> Plan:
    """Return the plan that has `level - 1` before the step `turn` and `level` from it on."""
    starts, free = horizon.starts, horizon.free
    curve, left = training.curve, training.left
    steps: list[Step] = []
    last = len(starts) - 1
    for index, start in enumerate(starts):
        until = min(starts[index + 1], by_s) if index < last else by_s
        fit = min(level if index >= turn else level - 1, curve.fits(free[index]))
        if fit < 0:
            continue
        rate, gpus = curve.rates[fit], curve.counts[fit]
        need_s = left / rate
        if need_s <= until - start + TOLERANCE_S or until >= by_s:
            end = start + _whole_slots(need_s, horizon.slot_s)
            if index < last:
                end = min(end, starts[index + 1])
            _add(steps, (start, end, gpus))
            return Plan(tuple(steps), start + need_s)
        left -= rate * (until - start)
        _add(steps, (start, until, gpus))
    raise AssertionError("the step `turn` was said to suffice")


def _whole_slots(span_s: float, slot_s: float) -> float:
    return max(1, math.ceil(span_s / slot_s - TOLERANCE_S)) * slot_s


def _add(steps: list[Step], step: Step) -> None:
    if steps and steps[-1][1] == step[0] and steps[-1][2] == step[2]:
        steps[-1] = (steps[-1][0], step[1], step[2])
    else:
        steps.append(step)


def soonest(horizon: Horizon, training: Work) -> Plan:
    """Return the plan that always takes the highest level that is free: the earliest end."""
    starts, free = horizon.starts, horizon.free
    curve, left = training.curve, training.left
    steps: list[Step] = []
    last = len(starts) - 1
    for index, start in enumerate(starts):
        fit = curve.fits(free[index])
        if fit < 0:
            continue
        rate, gpus = curve.rates[fit], curve.counts[fit]
        need_s = left / rate
        if index == last or need_s <= starts[index + 1] - start + TOLERANCE_S:
            end = start + _whole_slots(need_s, horizon.slot_s)
            if index < last:
                end = min(end, starts[index + 1])
            _add(steps, (start, end, gpus))
            return Plan(tuple(steps), start + need_s)
        left -= rate * (starts[index + 1] - start)
        _add(steps, (start, starts[index + 1], gpus))
    raise AssertionError("a fleet that is never free again has no soonest end")


def steady(horizon: Horizon, training: Training) -> Plan | None:
    """Return the plan that leaves a job what it holds until it is done; None: that is too late.

    Nothing is resized, so nothing pauses.
    """
    level = training.curve.fits(training.held)
    if level < 0 or training.curve.counts[level] != training.held:
        return None
    need_s = training.left / training.curve.rates[level]
    ends_s = horizon.starts[0] + need_s
    end = horizon.starts[0] + _whole_slots(need_s, horizon.slot_s)
    if ends_s > training.deadline_s:
        return None
    if min(horizon.free[: bisect_left(horizon.starts, end)]) < training.held:
        return None
    return Plan(((horizon.starts[0], end, training.held),), ends_s)


def next_level(curve: Curve, gpus: int) -> int:
    """Return the level above so many GPUs, or -1 when there is none."""
    level = bisect_right(curve.counts, gpus)
    return level if level < len(curve.counts) else -1
