"""Spot or on-demand, with a deadline: what a choice does to a job, and which choices are safe.

A job has work left and time left, both in ticks. In each tick it is idle, runs on spot (where there
is spot), or runs on demand. Whenever it starts on a machine that it was not on, it owes a
*changeover*: ticks that are paid for and in which nothing gets done (the model of "Can't Be Late",
Wu et al., NSDI 2024, section 3). Spot costs 1 a tick and on-demand `price_ratio`.

Everything works on many jobs at once, an array entry each: a decision of one job is an array of
one. What lives here is the step and the safety net; what to wish for is decided in `published`
(other people's policies) and in `thrift` (ours), what could have been known in `clairvoyant`.

The safety net. A job that is not on demand can still finish if time left >= work left + changeover:
it starts on demand now and stays. A choice is *safe* if this still holds a tick later although spot
went away. On demand is always safe. So a job that is feasible when it comes, and whose unsafe
wishes are overruled, is never late, whatever spot does. That is the whole argument; the tests
replay it against an adversary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Choices = NDArray[np.int8]
Flags = NDArray[np.bool_]


class Choice(IntEnum):
    """What a job does in a tick; also what it was doing before."""

    IDLE = 0
    SPOT = 1
    ON_DEMAND = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked and what it costs, for jobs that are decided together."""

    work_ticks: int
    deadline_ticks: int | Ints
    """From submission; may be another one for each job."""
    changeover_ticks: int
    """Owed at each start on another machine; rounded up to whole ticks."""
    price_ratio: float
    """On-demand price in units of the spot price."""

    @property
    def feasible(self) -> bool:
        """Whether on-demand from the first tick would meet each deadline."""
        needed = self.work_ticks + self.changeover_ticks
        return bool(np.all(np.asarray(self.deadline_ticks) >= needed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Where jobs stand at the start of a tick; arrays with an entry for each job."""

    left: Ints
    """Work that is left."""
    time_left: Ints
    """Ticks until the deadline."""
    on: Choices
    """Where each is; one whose spot has gone away is IDLE."""
    owed: Ints
    """What is left of the changeover of the machine that it is on."""
    spot: Flags
    """Whether there is spot in this tick."""


def begin(terms: Terms, spot: Flags) -> Jobs:
    """Return jobs that were just submitted, one for each entry of `spot`."""
    many = len(spot)
    return Jobs(
        left=np.full(many, terms.work_ticks, np.int32),
        time_left=np.full(many, terms.deadline_ticks, np.int32),  # Broadcasts an array as well.
        on=np.zeros(many, np.int8),
        owed=np.zeros(many, np.int32),
        spot=spot,
    )


def look(jobs: Jobs, spot: Flags, gone: Flags | None = None) -> Jobs:
    """Return the jobs as they see the next tick: where their spot went away, they are idle.

    Args:
        jobs: as they were left.
        spot: whether there is spot for each, wherever it is.
        gone: whether the spot that each is on went away; where there is no spot, unless told.
    """
    gone = ~spot if gone is None else gone
    on = np.where((jobs.on == Choice.SPOT) & gone, np.int8(Choice.IDLE), jobs.on)
    return replace(jobs, spot=spot, on=on)


def owed_on_spot(terms: Terms, jobs: Jobs) -> Ints:
    """Return the changeover that a tick on spot would start with."""
    return np.where(jobs.on == Choice.SPOT, jobs.owed, np.int32(terms.changeover_ticks))


def owed_on_demand(terms: Terms, jobs: Jobs) -> Ints:
    """Return the changeover that a tick on demand would start with."""
    return np.where(jobs.on == Choice.ON_DEMAND, jobs.owed, np.int32(terms.changeover_ticks))


def idle_is_safe(terms: Terms, jobs: Jobs) -> Flags:
    """Return whether each may lose this tick and still finish on demand."""
    return (jobs.time_left - 1 >= jobs.left + terms.changeover_ticks) | (jobs.left <= 0)


def spot_is_safe(terms: Terms, jobs: Jobs) -> Flags:
    """Return whether each may spend this tick on spot, lose spot, and still finish on demand."""
    left = jobs.left - (owed_on_spot(terms, jobs) == 0)
    enough = (jobs.time_left - 1 >= left + terms.changeover_ticks) | (left <= 0)
    safe: Flags = jobs.spot & enough
    return safe


def overrule(terms: Terms, jobs: Jobs, wished: Choices) -> Choices:
    """Return what is done: the wish where it is safe, on demand where not, idle once finished."""
    refused = (wished == Choice.SPOT) & ~spot_is_safe(terms, jobs)
    refused |= (wished == Choice.IDLE) & ~idle_is_safe(terms, jobs)
    done = np.where(refused, np.int8(Choice.ON_DEMAND), wished)
    return np.where(jobs.left <= 0, np.int8(Choice.IDLE), done)


def step(terms: Terms, jobs: Jobs, chosen: Choices) -> Jobs:
    """Return the jobs a tick later; `look` has to tell them whether there is spot then."""
    runs = chosen != Choice.IDLE
    owed = np.where(chosen == Choice.SPOT, owed_on_spot(terms, jobs), owed_on_demand(terms, jobs))
    works = runs & (owed == 0)
    return replace(
        jobs,
        left=jobs.left - works,
        time_left=jobs.time_left - 1,
        on=chosen,
        owed=np.where(runs, np.maximum(owed - 1, 0), np.int32(0)),
    )


def price_per_tick(terms: Terms) -> NDArray[Any]:
    """Return what a tick costs, by choice, in spot-ticks."""
    return np.array([0.0, 1.0, terms.price_ratio])
