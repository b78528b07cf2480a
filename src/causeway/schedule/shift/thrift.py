"""Our policy for spot with a deadline: the least expected cost under what has been learnt.

A job's time is worth something: a tick that it loses now is a tick on demand later, or none, as
spot will have it. `plan` works that out for a learnt chain (`availability`) by the recurrences of
`clairvoyant` with the expectation over the next phase in place of the known trace:

    idle(T, s, z)    =       E idle(T - 1, s - 1, z')
    spot(T, s, z)    = 1   + E spot(T - 1, s, z')      starting there: of s - changeover
    demand(T, s, z)  = k   + E demand(T - 1, s, z')    starting there: of s - changeover

with T the steps to the deadline, s the spare ones (T less the work left), z the phase. A start on
spot that is taken away before its changeover is over has lost only the steps it had, so each of
those is a place of its own. Spot that is younger a step later is not the one that one was on, and
to have been on it is to be idle. Elsewhere the cheapest of the three is taken, and one rule needs
no arithmetic: who is on spot stays (section 3.3 of "Can't Be Late": no progress is cheaper). One
plan answers every job in a zone, whatever its length and deadline, until the chain is learnt anew;
a choice is then three look-ups.

What is approximate: steps are several ticks long, and between them `s` is interpolated. What is
not: the deadline. Choices go through `spot.overrule`, which knows neither chain nor plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causeway.schedule.shift.availability import (
    PHASES,
    Chain,
    Phases,
    with_spot,
    younger,
)
from causeway.schedule.shift.spot import (
    Choice,
    Choices,
    Jobs,
    Terms,
    owed_on_demand,
    owed_on_spot,
)

Table = NDArray[np.float32]

STEPS_OF_WORK = 220
"""A job's work is planned in about so many steps: finer changes the result by under a percent."""
NEVER = np.float32(1e6)
"""The cost of what cannot meet the deadline."""
TIE = 1e-4
"""Where idling is as good as running, run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The expected cost of each choice for every job, by each of some chains."""

    step_ticks: int
    price_ratio: float
    expected: Table
    """(chain, T, s, place, phase): of T steps and s spare ones a step later, in spot-steps.

    Places are those of `Choice`, then the steps of a changeover to spot but for the last.
    """
    late: float
    """The changeover, in steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is known of the spot of each job in this tick."""

    chain: NDArray[np.int64]
    """Which of the plan's chains the job is under."""
    phase: Phases


def step_of(work_ticks: int) -> int:
    """Return the step to plan a job of that work with."""
    return max(1, round(work_ticks / STEPS_OF_WORK))


def plan(terms: Terms, chains: Sequence[Chain], step_ticks: int) -> Plan:
    """Return the plan for jobs up to the terms' longest deadline."""
    steps = int(np.max(terms.deadline_ticks)) // step_ticks + 1
    spare = max(1, steps - terms.work_ticks // step_ticks + 1)
    late = terms.changeover_ticks / step_ticks
    places = len(Choice) + max(0, math.ceil(late) - 1)
    expected = np.empty((len(chains), steps, spare + 1, places, PHASES), np.float32)
    for number, chain in enumerate(chains):
        _fill(expected[number], chain, late, terms.price_ratio)
    return Plan(step_ticks=step_ticks, price_ratio=terms.price_ratio, expected=expected, late=late)


def _fill(expected: Table, chain: Chain, late: float, price_ratio: float) -> None:
    """Write the expected costs under one chain, from the deadline backwards."""
    up, idle = with_spot(), int(Choice.IDLE)
    onward = np.ascontiguousarray(chain.T, np.float32)
    taken = np.ascontiguousarray(np.where(younger(), chain, 0.0).T, np.float32)
    on_spot = [int(Choice.SPOT), *range(len(Choice), expected.shape[2])]
    expected[0] = NEVER
    expected[0, 0] = 0.0
    for left in range(1, len(expected)):
        values = _values(expected[left - 1], late, price_ratio, up)
        values[left:] = 0.0  # As much to spare as there is time: nothing is left to do.
        expected[left] = (values.reshape(-1, PHASES) @ onward).reshape(values.shape)
        for place in on_spot:
            expected[left, :, place] += (values[:, idle] - values[:, place]) @ taken


def _values(after: Table, late: float, price_ratio: float, up: NDArray[np.bool_]) -> Table:
    """Return the least expected cost by place, given what the step after is expected to cost."""
    idle = np.full_like(after[:, 0], NEVER)
    idle[1:] = after[:-1, Choice.IDLE]
    stay, keep = 1 + after[:, Choice.SPOT], np.float32(price_ratio) + after[:, Choice.ON_DEMAND]
    fetch = np.float32(price_ratio) + _lost(after[:, Choice.ON_DEMAND], late)
    starts = [1 + _lost(after[:, place], lost) for place, lost in _starting(late, after.shape[1])]
    fresh = np.where(up, starts[0], NEVER)
    values = np.empty_like(after)
    values[:, Choice.IDLE] = np.minimum(np.minimum(idle, fresh), fetch)
    values[:, Choice.SPOT] = np.where(up & (stay < NEVER), stay, np.minimum(idle, fetch))
    values[:, Choice.ON_DEMAND] = np.minimum(np.minimum(idle, fresh), keep)
    for number, start in enumerate(starts[1:]):
        values[:, len(Choice) + number] = np.where(up, start, values[:, Choice.IDLE])
    return np.minimum(values, NEVER)


def _starting(late: float, places: int) -> list[tuple[int, float]]:
    """Return, for each step of a changeover to spot, the place after it and what it loses."""
    between = list(range(len(Choice), places))
    last = late - len(between)
    return [(place, 1.0) for place in between] + [(int(Choice.SPOT), last)]


def _lost(after: Table, late: float) -> Table:
    """Return the values with `late` spare steps fewer."""
    whole, part = int(late), np.float32(late - int(late))
    fewer = np.full_like(after, NEVER)
    rows = len(after) - whole
    fewer[whole:] = after[:rows]
    if part:
        fewer[whole] = NEVER
        fewer[whole + 1 :] = (1 - part) * after[1:rows] + part * after[: rows - 1]
    return fewer


def choose(plan: Plan, terms: Terms, jobs: Jobs, belief: Belief) -> Choices:
    """Return the cheapest choice of each job, before the safety net."""
    costs = expected_costs(plan, terms, jobs, belief)
    costs[Choice.IDLE] += TIE
    best = costs.argmin(axis=0).astype(np.int8)
    return np.where(jobs.spot & (jobs.on == Choice.SPOT), np.int8(Choice.SPOT), best)


def expected_costs(plan: Plan, terms: Terms, jobs: Jobs, belief: Belief) -> NDArray[np.float64]:
    """Return (choice, job): what each choice is expected to cost from here on, in spot-steps."""
    step = plan.step_ticks
    later = np.rint(jobs.time_left / step - 1).astype(np.int64)
    later = np.clip(later, 0, plan.expected.shape[1] - 1)
    spare = (jobs.time_left - jobs.left).astype(np.float64)
    start, lost = _starting(plan.late, plan.expected.shape[3])[0]
    on_spot = jobs.on == Choice.SPOT
    owed = owed_on_spot(terms, jobs) / step
    by_place = [
        _at(plan, belief, later, (Choice.IDLE, spare / step - 1)),
        np.where(
            on_spot,
            _at(plan, belief, later, (Choice.SPOT, spare / step - owed)),
            _at(plan, belief, later, (start, spare / step - lost)),
        ),
        _at(plan, belief, later, (Choice.ON_DEMAND, (spare - owed_on_demand(terms, jobs)) / step)),
    ]
    now = np.array([[0.0], [1.0], [plan.price_ratio]])
    costs: NDArray[np.float64] = np.stack(by_place) + now
    costs[Choice.SPOT, ~jobs.spot] = np.inf
    return costs


def _at(
    plan: Plan, belief: Belief, later: NDArray[np.int64], at: tuple[int, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return the expected cost in a place with a fractional number of spare steps."""
    place, spare = at
    last = plan.expected.shape[2] - 1
    low = np.clip(np.floor(spare).astype(np.int64), 0, last)
    part = np.clip(spare - low, 0.0, 1.0)
    near = plan.expected[belief.chain, later, low, place, belief.phase]
    far = plan.expected[belief.chain, later, np.minimum(low + 1, last), place, belief.phase]
    return np.where(spare < 0, float(NEVER), (1 - part) * near + part * far)
