"""Now or later: answers, reasons, and the exchange that would turn them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.model.jobs import Objective
from causeway.model.reasons import Token
from causeway.schedule.shift import availability, thrift
from causeway.schedule.shift.spot import Choice, Terms, begin
from causeway.schedule.shift.when import HOUR_MS, Hours, Timing, Work, spot_or_demand, when

FREE = Objective(usd_per_h_waited=0.0, usd_per_kg_co2e=1.0)
WORK = Work(hours=2, power_kw=10.0)


def ask(
    carbon: list[float], deadline_h: float, work: Work = WORK, rates: Objective = FREE
) -> Timing:
    hours = Hours(
        usd_per_h=np.full(len(carbon), 3.0), carbon_g_per_kwh=np.array(carbon, dtype=np.float64)
    )
    return when(1_000, work, 1_000 + round(deadline_h * HOUR_MS), hours, rates)


def test_it_waits_for_cleaner_hours_and_says_what_for() -> None:
    answer = ask([500, 400, 100, 100, 600], 5)
    assert not answer.run
    assert (answer.best.starts_h, answer.best.done_h) == (2, 4)
    assert answer.reason.token is Token.BETTER_HOUR
    assert answer.reason.evidence["saves_kg_co2e"] == pytest.approx(7.0)
    assert "Starting in 2 h" in answer.reason.message


def test_the_exchange_is_the_price_of_a_kg_at_which_the_answer_turns() -> None:
    rates = Objective(usd_per_h_waited=0.7, usd_per_kg_co2e=1.0)
    answer = ask([500, 600, 100, 100], 5, rates=rates)
    assert answer.exchange_usd_per_kg == pytest.approx(2 * 0.7 / 9.0)
    for factor, runs in ((1.01, False), (0.99, True)):
        turned = replace(rates, usd_per_kg_co2e=answer.exchange_usd_per_kg * factor)
        assert ask([500, 600, 100, 100], 5, rates=turned).run is runs


def test_waiting_has_its_price() -> None:
    patient, hasty = (Objective(usd_per_h_waited=usd, usd_per_kg_co2e=1.0) for usd in (0.1, 10.0))
    assert not ask([500, 500, 100, 100], 4, rates=patient).run
    answer = ask([500, 500, 100, 100], 4, rates=hasty)
    assert answer.run
    assert answer.reason.token is Token.CHOSEN


@pytest.mark.parametrize("deadline_h", [-1.0, 0.5, 2.0, 2.99])
def test_without_an_hour_to_spare_it_runs(deadline_h: float) -> None:
    answer = ask([500, 400, 100, 100], deadline_h)
    assert answer.run
    assert answer.reason.token is Token.DEADLINE


def test_an_interruptible_job_picks_hours_apart() -> None:
    work = replace(WORK, interruptible=True)
    answer = ask([100, 500, 500, 100, 400], 5, work)
    assert answer.run
    assert (answer.best.starts_h, answer.best.done_h) == (0, 4)
    assert not ask([300, 100, 500, 100, 400], 5, work).run


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 900), min_size=2, max_size=14),
    st.floats(0, 20),
    st.floats(0, 3),
    st.booleans(),
)
def test_the_best_is_within_the_deadline_and_never_worse_than_now(
    carbon: list[float], deadline_h: float, wait: float, interruptible: bool
) -> None:
    rates = Objective(usd_per_h_waited=wait, usd_per_kg_co2e=1.0)
    answer = ask(carbon, deadline_h, replace(WORK, interruptible=interruptible), rates)
    assert answer.best.worth_usd <= answer.now.worth_usd
    assert answer.best.done_h <= max(deadline_h, WORK.hours)
    assert answer.run == (answer.best.starts_h == 0)


def test_nothing_to_do_and_too_few_hours_are_refused() -> None:
    with pytest.raises(InvalidInput, match="2 h of work"):
        ask([100], 5)
    with pytest.raises(InvalidInput, match="0 h of work"):
        ask([100], 5, replace(WORK, hours=0))


def test_spot_or_demand_says_when_the_deadline_left_no_choice() -> None:
    terms = Terms(work_ticks=20, deadline_ticks=30, changeover_ticks=2, price_ratio=3.0)
    history = availability.phases(np.tile(np.repeat([True, False], [20, 4]), 40))
    plan = thrift.plan(terms, [availability.learn(history, [], 1)], 1)
    belief = thrift.Belief(chain=np.array([0]), phase=np.array([1], np.int8))
    job = begin(terms, np.array([False]))
    waits = spot_or_demand(plan, terms, job, belief, spot_usd_per_tick=0.1)
    assert waits.choice is Choice.IDLE
    assert waits.reason.waiting_helps
    assert waits.expected_usd[0] < waits.expected_usd[2]
    assert waits.expected_usd[1] == float("inf")
    late = replace(job, time_left=np.array([22], np.int32))
    forced = spot_or_demand(plan, terms, late, belief, spot_usd_per_tick=0.1)
    assert forced.choice is Choice.ON_DEMAND
    here = replace(job, spot=np.array([True]), time_left=np.array([23], np.int32))
    assert (
        spot_or_demand(plan, terms, here, belief, spot_usd_per_tick=0.1).choice is not Choice.IDLE
    )
