"""The net under every choice holds against any spot; the clairvoyant optimum is one."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.shift import availability, published, thrift
from causeway.schedule.shift.clairvoyant import least_cost
from causeway.schedule.shift.spot import (
    Choice,
    Jobs,
    Terms,
    begin,
    look,
    overrule,
    price_per_tick,
    step,
)


def terms(work: int = 10, slack: int = 6, changeover: int = 2, ratio: float = 3.0) -> Terms:
    return Terms(
        work_ticks=work,
        deadline_ticks=work + slack,
        changeover_ticks=changeover,
        price_ratio=ratio,
    )


def run(asked: Terms, spot: list[bool], policy: published.Policy) -> tuple[float, Jobs]:
    """Replay one job; return its cost and where it ended."""
    trace = np.array([spot])
    jobs, cost = begin(asked, trace[:, 0]), 0.0
    for tick in range(trace.shape[1]):
        jobs = look(jobs, trace[:, tick])
        chosen = overrule(asked, jobs, policy(asked, jobs))
        cost += float(price_per_tick(asked)[chosen[0]])
        jobs = step(asked, jobs, chosen)
    return cost, jobs


@st.composite
def adversaries(draw: st.DrawFn) -> tuple[Terms, list[bool], list[int]]:
    changeover = draw(st.integers(0, 4))
    asked = terms(
        draw(st.integers(1, 20)), changeover + draw(st.integers(0, 12)), changeover, ratio=3.0
    )
    ticks = int(asked.deadline_ticks)
    spot = draw(st.lists(st.booleans(), min_size=ticks, max_size=ticks))
    wishes = draw(st.lists(st.sampled_from(list(map(int, Choice))), min_size=ticks, max_size=ticks))
    return asked, spot, wishes


@settings(max_examples=60, deadline=None)
@given(adversaries())
def test_no_wish_and_no_spot_make_a_feasible_job_late(
    drawn: tuple[Terms, list[bool], list[int]],
) -> None:
    asked, spot, wishes = drawn
    left = iter(wishes)
    _, jobs = run(asked, spot, lambda _t, _j: np.array([next(left)], np.int8))
    assert jobs.left[0] <= 0
    assert jobs.time_left[0] == 0


def test_thousands_of_random_wishes_and_spots_make_none_late() -> None:
    draw = np.random.default_rng(5)
    for changeover in range(5):
        asked = terms(work=17, slack=changeover + 6, changeover=changeover)
        spot = draw.random((1_000, int(asked.deadline_ticks))) < draw.random((1_000, 1))
        jobs = begin(asked, spot[:, 0])
        for tick in range(spot.shape[1]):
            jobs = look(jobs, spot[:, tick])
            wished = draw.integers(0, 3, len(spot)).astype(np.int8)
            jobs = step(asked, jobs, overrule(asked, jobs, wished))
        assert (jobs.left <= 0).all()


def test_spot_that_goes_whenever_it_is_used_costs_two_changeovers_and_no_deadline() -> None:
    """The adversary of the paper's theorem 1: spot is there until somebody is on it."""
    asked = terms(work=12, slack=7, changeover=2)
    jobs, ticks, used = begin(asked, np.array([True])), 0, 0
    while jobs.left[0] > 0:
        jobs = look(jobs, np.array([jobs.on[0] != Choice.SPOT]))
        chosen = overrule(asked, jobs, np.where(jobs.spot, np.int8(1), np.int8(0)))
        used += int(chosen[0] == Choice.SPOT)
        jobs, ticks = step(asked, jobs, chosen), ticks + 1
    assert used > 0
    assert ticks <= asked.deadline_ticks


@pytest.mark.parametrize(
    "policy",
    [
        published.on_demand,
        published.greedy,
        published.uniform_progress,
        published.time_sliced(3),
    ],
)
@settings(max_examples=12, deadline=None)
@given(drawn=adversaries())
def test_no_policy_is_late_or_cheaper_than_the_clairvoyant(
    policy: published.Policy, drawn: tuple[Terms, list[bool], list[int]]
) -> None:
    asked, spot, _ = drawn
    cost, jobs = run(asked, spot, policy)
    assert jobs.left[0] <= 0
    assert cost >= least_cost(asked, np.array([[spot]]))[0, -1] - 1e-3


def enumerated(asked: Terms, spot: list[list[bool]]) -> float:
    """The least cost by trying everything; `spot` is by zone, and places after 2 are its zones."""
    deadline = len(spot[0])
    places = [Choice.ON_DEMAND, *(int(Choice.ON_DEMAND) + 1 + zone for zone in range(len(spot)))]

    @cache
    def least(tick: int, left: int, on: int, owed: int) -> float:
        if left == 0:
            return 0.0
        if tick == deadline:
            return float("inf")
        if on > Choice.ON_DEMAND and not spot[on - 3][tick]:
            on, owed = Choice.IDLE, 0
        best = least(tick + 1, left, Choice.IDLE, 0)
        for place in places:
            price = asked.price_ratio if place == Choice.ON_DEMAND else 1.0
            if place > Choice.ON_DEMAND and not spot[place - 3][tick]:
                continue
            due = owed if on == place else asked.changeover_ticks
            best = min(best, price + least(tick + 1, left - (due == 0), place, max(due - 1, 0)))
        return best

    return least(0, asked.work_ticks, Choice.IDLE, 0)


@settings(max_examples=40, deadline=None)
@given(
    changeover=st.integers(0, 3),
    work=st.integers(1, 7),
    spot=st.lists(st.booleans(), min_size=7, max_size=13),
    ratio=st.sampled_from([1.5, 3.0, 10.0]),
)
def test_the_clairvoyant_optimum_is_what_trying_everything_finds(
    changeover: int, work: int, spot: list[bool], ratio: float
) -> None:
    asked = terms(work, len(spot) - work, changeover, ratio)
    for zones in ([spot], [spot, spot[::-1]]):
        swept = least_cost(asked, np.array([zones]))[0, -1]
        assert swept == pytest.approx(enumerated(asked, zones), rel=1e-5)


def test_greedy_waits_and_then_pays_and_uniform_progress_pays_early() -> None:
    asked = terms(work=10, slack=10, changeover=1)
    nothing = [False] * 20
    assert run(asked, nothing, published.greedy)[0] == run(asked, nothing, published.on_demand)[0]
    first: dict[str, int] = {}
    for name, policy in (("greedy", published.greedy), ("uniform", published.uniform_progress)):
        jobs = begin(asked, np.array([False]))
        while policy(asked, jobs)[0] == Choice.IDLE:
            jobs = step(asked, jobs, np.array([0], np.int8))
        first[name] = int(asked.deadline_ticks) - int(jobs.time_left[0])
    assert first["greedy"] == 9  # Its net: time left < work left + two changeovers.
    assert first["uniform"] == 1


def test_what_has_lasted_is_believed_to_last() -> None:
    chain = availability.learn(np.zeros(0, np.int8), [], step_ticks=4)
    assert chain.sum(axis=1) == pytest.approx(np.ones(availability.PHASES))
    stays = chain[:, availability.with_spot()].sum(axis=1)[availability.with_spot()]
    assert (np.diff(stays) > 0).all()


def test_a_zone_is_believed_as_its_neighbours_until_it_has_a_past() -> None:
    steady = availability.phases(np.ones(4_000, bool))
    flappy = availability.phases(np.tile([True, True, False, False], 1_000))
    nothing = np.zeros(0, np.int8)
    last = availability.PHASES - 1
    assert availability.learn(nothing, [steady], 4)[last, last] > 0.99
    fresh = availability.phases(np.array([True]))[0]
    alike = availability.learn(nothing, [flappy], 4)[fresh]
    own = availability.learn(flappy, [steady], 4)[fresh]
    assert own == pytest.approx(alike, abs=0.2)


def test_ages_are_counted_from_the_last_change() -> None:
    seen = availability.phases(np.array([True, False, False, False, True, True]))
    up = len(availability.AGES)
    assert seen.tolist() == [up, 0, 1, 2, up, up + 1]


def test_of_several_zones_the_steadiest_is_taken() -> None:
    spot = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 0]], bool)
    assert availability.steadiest(spot).tolist() == [0, 0, 1, 1, -1]
    up = len(availability.AGES)
    assert availability.phases(spot).tolist() == [up, up + 1, up + 1, up + 2, 0]


def test_our_plan_waits_for_spot_that_comes_back_and_does_not_for_spot_that_does_not() -> None:
    asked = terms(work=40, slack=20, changeover=1)
    back = availability.phases(np.tile(np.repeat([True, False], [30, 3]), 60))
    never = availability.phases(np.zeros(2_000, bool))
    for history, expected in ((back, Choice.IDLE), (never, Choice.ON_DEMAND)):
        chain = availability.learn(history, [], step_ticks=1)
        planned = thrift.plan(asked, [chain], 1)
        down = np.array([2 if history is back else 8], np.int8)
        jobs = begin(asked, np.array([False]))
        belief = thrift.Belief(chain=np.array([0]), phase=down)
        costs = thrift.expected_costs(planned, asked, jobs, belief)[:, 0]
        if expected == Choice.IDLE:
            assert costs.argmin() == Choice.IDLE
        else:
            assert costs[Choice.ON_DEMAND] <= costs[Choice.IDLE] + asked.price_ratio


def test_who_is_on_spot_stays() -> None:
    asked = terms(work=40, slack=40, changeover=1)
    flappy = availability.phases(np.tile([True, False, False], 900))
    planned = thrift.plan(asked, [availability.learn(flappy, [], 1)], 1)
    on_spot = step(asked, begin(asked, np.array([True])), np.array([1], np.int8))
    belief = thrift.Belief(chain=np.array([0]), phase=np.array([9], np.int8))
    assert thrift.choose(planned, asked, on_spot, belief)[0] == Choice.SPOT


def test_a_start_that_is_taken_away_has_lost_only_the_ticks_it_had() -> None:
    """Spot that never outlasts its first tick: to try it costs a tick, not a whole changeover."""
    asked = terms(work=20, slack=40, changeover=6)
    blink = availability.phases(np.tile([True, False, False, False], 500))
    planned = thrift.plan(asked, [availability.learn(blink, [], 1)], 1)
    jobs = begin(asked, np.array([True]))
    belief = thrift.Belief(chain=np.array([0]), phase=np.array([len(availability.AGES)], np.int8))
    idle, spot, _ = thrift.expected_costs(planned, asked, jobs, belief)[:, 0]
    assert idle < spot < idle + 2
