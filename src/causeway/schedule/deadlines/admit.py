"""May this deadline be promised? The answer, what binds it, and what could be promised instead.

A promise holds if, with every job at the least share that meets its deadline, in order of
deadlines, nobody who has a promise is late. Each of those plans is padded by the pauses that the
fleet may still inflict, so that a promise survives later decisions and not only this one.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from causeway.schedule.deadlines.decision import Fleet
from causeway.schedule.deadlines.horizon import Horizon, Plan, least_share
from causeway.schedule.deadlines.training import Curve, Training, feasible_alone

PAUSES_PADDED = 2
"""How many resizes a promise has room for where only who is resized pauses: a plan of two levels
has two, its start and its turn."""
EARLIEST_TRIES = 40
"""Halvings of the search for the earliest deadline; each is one whole plan."""


class Binding(enum.Enum):
    """What a promise fails on."""

    NOTHING = "nothing"
    CURVE = "curve"
    """Even an empty fleet is too slow: the job's own scaling curve binds."""
    PROMISES = "promises"
    """The GPUs are promised to others until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The answer to one job that asks for a deadline."""

    promised: bool
    binding: Binding
    ends_s: float
    """When it would end at the least share that keeps the promise; infinite without a promise."""
    earliest_s: float
    """The earliest deadline, to a slot, that could be promised now; infinite when there is none."""
    hindered_by: tuple[int, ...] = ()
    """Keys of promised jobs that would be late, or that have the GPUs that this one lacks."""

    def sentence(self, now_s: float) -> str:
        """Return the answer for a person."""
        if self.promised:
            return f"the deadline is promised; it would end {self.ends_s - now_s:.0f} s from now"
        others = len(self.hindered_by)
        who = "a promised job needs" if others == 1 else f"{others} promised jobs need"
        why = {
            Binding.CURVE: "the whole fleet would be too slow for it",
            Binding.PROMISES: f"{who} the GPUs until then",
        }[self.binding]
        if self.earliest_s == math.inf:
            return f"the deadline is not promised: {why}; no later one could be either"
        return (
            f"the deadline is not promised: {why}; "
            f"{self.earliest_s - now_s:.0f} s from now could be"
        )


@dataclass(frozen=True, slots=True)
class Padded:
    """A job whose work counts the pauses that may still come; all else is its own."""

    job: Training
    left: float
    deadline_s: float

    @property
    def curve(self) -> Curve:
        return self.job.curve

    @property
    def key(self) -> int:
        return self.job.key


def padded(job: Training, fleet: Fleet, *, by_s: float | None = None) -> Padded:
    """Return a job with the worst that pauses may do to it.

    Where every decision pauses everybody, a slot is worth `slot - pause` seconds of work. Where
    only the resized pause, a fixed number of resizes comes off the deadline.
    """
    by_s = job.deadline_s if by_s is None else by_s
    if fleet.pauses_all:
        work_share = max(0.01, 1.0 - fleet.pause_s / fleet.slot_s)
        return Padded(job, job.left / work_share, by_s)
    return Padded(job, job.left, by_s - PAUSES_PADDED * fleet.pause_s)


def padded_share(horizon: Horizon, job: Training, fleet: Fleet) -> Plan | None:
    """Return the least share that meets a deadline whatever pauses come; None: there is none."""
    work = padded(job, fleet)
    return least_share(horizon, work, by_s=work.deadline_s)


def admit(now_s: float, job: Training, promised: Sequence[Training], fleet: Fleet) -> Admission:
    """Return whether a job's deadline may be promised beside those that already are."""
    plan, late = _beside(now_s, padded(job, fleet), promised, fleet)
    if plan is not None and not late:
        return Admission(
            promised=True,
            binding=Binding.NOTHING,
            ends_s=plan.ends_s,
            earliest_s=_earliest(now_s, job, promised, fleet),
        )
    alone = feasible_alone(padded(job, fleet), now_s)
    return Admission(
        promised=False,
        binding=Binding.PROMISES if alone else Binding.CURVE,
        ends_s=math.inf,
        earliest_s=_earliest(now_s, job, promised, fleet),
        hindered_by=late or tuple(other.key for other in promised if alone),
    )


def _beside(
    now_s: float, work: Padded, promised: Sequence[Training], fleet: Fleet
) -> tuple[Plan | None, tuple[int, ...]]:
    """Return the plan of a job among promised ones, and who of them would be late because of it."""
    line = [*(padded(other, fleet) for other in promised), work]
    line.sort(key=lambda padded: (padded.deadline_s, padded.key))
    horizon = Horizon(now_s, fleet.gpus, slot_s=fleet.slot_s)
    own: Plan | None = None
    late: list[int] = []
    for one in line:
        plan = least_share(horizon, one, by_s=one.deadline_s)
        if plan is None:
            if one.key != work.key:
                late.append(one.key)
            continue
        horizon.take(plan)
        if one.key == work.key:
            own = plan
    return own, tuple(late)


def _earliest(now_s: float, job: Training, promised: Sequence[Training], fleet: Fleet) -> float:
    """Return the earliest deadline that could be promised, by halving between now and far away."""
    base = _late_anyway(now_s, promised, fleet)

    def fits(by_s: float) -> bool:
        plan, late = _beside(now_s, padded(job, fleet, by_s=by_s), promised, fleet)
        return plan is not None and set(late) <= base

    dated = [other.deadline_s for other in promised if other.deadline_s < math.inf]
    last_s = max(dated, default=now_s)
    pad_s = padded(job, fleet, by_s=0.0)
    far_s = (
        max(last_s, now_s) + 2 * fleet.slot_s - pad_s.deadline_s + pad_s.left / job.curve.rates[0]
    )
    if not fits(far_s):
        return math.inf
    near_s = now_s
    for _ in range(EARLIEST_TRIES):
        if far_s - near_s <= fleet.slot_s:
            break
        middle_s = (near_s + far_s) / 2
        if fits(middle_s):
            far_s = middle_s
        else:
            near_s = middle_s
    return far_s


def _late_anyway(now_s: float, promised: Sequence[Training], fleet: Fleet) -> frozenset[int]:
    """Return who of the promised has no padded plan left even without anybody new."""
    horizon = Horizon(now_s, fleet.gpus, slot_s=fleet.slot_s)
    late: set[int] = set()
    for other in sorted(promised, key=lambda job: (job.deadline_s, job.key)):
        plan = padded_share(horizon, other, fleet)
        if plan is None:
            late.add(other.key)
        else:
            horizon.take(plan)
    return frozenset(late)
