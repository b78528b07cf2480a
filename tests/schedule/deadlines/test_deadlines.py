"""Promises of deadlines: what is admitted, what a plan holds, what every policy must respect."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.schedule.deadlines import POLICIES, Curve, Fleet
from causeway.schedule.deadlines.admit import Binding, admit
from causeway.schedule.deadlines.horizon import Horizon, least_share, soonest
from causeway.schedule.deadlines.promise import causeway

CURVE = Curve.measured([(1, 1.0), (2, 1.8), (4, 3.0), (8, 4.0), (16, 3.5)])
FLEET = Fleet(gpus=8, slot_s=60.0)


@dataclass(kw_only=True)
class Job:
    key: int
    left: float
    deadline_s: float
    submitted_s: float = 0.0
    curve: Curve = CURVE
    asked: int = 2
    asked_rate: float = 1.8
    held: int = 0
    run_s: float = 0.0
    promised: bool = False


def test_a_curve_drops_counts_that_are_no_faster() -> None:
    assert CURVE.counts == (1, 2, 4, 8)
    assert (CURVE.widest, CURVE.widest_rate) == (16, 3.5)
    assert CURVE.at_most(5).counts == (1, 2, 4)
    assert [CURVE.fits(gpus) for gpus in (0, 1, 3, 9)] == [-1, 0, 1, 3]


def test_a_curve_without_a_rate_is_refused() -> None:
    with pytest.raises(InvalidInput, match="finite rate"):
        Curve.measured([(1, 0.0)])
    with pytest.raises(InvalidInput, match="at most 1"):
        Curve.measured([(2, 1.0)]).at_most(1)


def test_the_least_share_is_one_gpu_where_time_allows() -> None:
    plan = least_share(Horizon(0.0, 8, slot_s=60.0), Job(key=0, left=600, deadline_s=600), by_s=600)
    assert plan is not None
    assert plan.steps == ((0.0, 600.0, 1),)
    assert plan.ends_s == 600


def test_the_least_share_rises_where_one_level_is_too_slow() -> None:
    horizon = Horizon(0.0, 8, slot_s=60.0)
    other = least_share(horizon, Job(key=1, left=100, deadline_s=100), by_s=100)
    assert other is not None
    horizon.take(other)
    plan = least_share(horizon, Job(key=0, left=700, deadline_s=600), by_s=600)
    assert plan is not None
    assert plan.steps == ((0.0, 120.0, 1), (120.0, 480.0, 2))


def test_no_share_meets_what_the_curve_cannot() -> None:
    horizon = Horizon(0.0, 8, slot_s=60.0)
    assert least_share(horizon, Job(key=0, left=4001, deadline_s=1000), by_s=1000) is None
    assert least_share(horizon, Job(key=0, left=1, deadline_s=0), by_s=0) is None


def test_the_soonest_plan_takes_what_others_leave() -> None:
    horizon = Horizon(0.0, 4, slot_s=60.0)
    horizon.take(soonest(horizon, Job(key=0, left=180, deadline_s=60)))
    plan = soonest(horizon, Job(key=1, left=180, deadline_s=60))
    assert plan.steps == ((60.0, 120.0, 4),)


def test_an_admission_names_what_binds_and_what_could_be_promised() -> None:
    full = [Job(key=key, left=3900, deadline_s=1000, promised=True) for key in range(1)]
    said = admit(0.0, Job(key=9, left=1000, deadline_s=1000), full, FLEET)
    assert not said.promised
    assert said.binding is Binding.PROMISES
    assert said.hindered_by == (0,)
    assert 1000 < said.earliest_s < 1500
    assert "a promised job needs the GPUs until then" in said.sentence(0.0)
    again = admit(0.0, Job(key=9, left=1000, deadline_s=said.earliest_s), full, FLEET)
    assert again.promised
    assert again.binding is Binding.NOTHING
    assert again.ends_s <= said.earliest_s


def test_an_admission_says_when_the_curve_binds() -> None:
    said = admit(0.0, Job(key=9, left=4001, deadline_s=1000), [], FLEET)
    assert said.binding is Binding.CURVE
    assert 1000 < said.earliest_s <= 1000.25 + FLEET.slot_s


def test_who_has_no_deadline_hinders_nobody() -> None:
    best_effort = Job(key=0, left=1e6, deadline_s=math.inf, promised=True)
    said = admit(0.0, Job(key=9, left=3900, deadline_s=1000), [best_effort], FLEET)
    assert said.promised
    both = causeway(0.0, [best_effort, Job(key=9, left=3900, deadline_s=1000)], FLEET)
    assert both.gpus[9] == 8
    assert both.ends_s[0] > 1000


def test_a_burst_promises_many_small_jobs_rather_than_one_large() -> None:
    burst = [Job(key=0, left=3900, deadline_s=1000)] + [
        Job(key=key, left=900, deadline_s=1000) for key in range(1, 8)
    ]
    said = causeway(0.0, burst, FLEET)
    assert said.promised == frozenset(range(1, 8))
    assert not said.declined
    first_come = POLICIES["elasticflow"]()(0.0, burst[:1], FLEET)
    assert first_come.promised == {0}


def test_a_promise_is_never_given_up_for_a_smaller_job() -> None:
    jobs = [Job(key=0, left=3900, deadline_s=1000, promised=True)] + [
        Job(key=key, left=900, deadline_s=990) for key in range(1, 8)
    ]
    said = causeway(0.0, jobs, FLEET)
    assert 0 in said.promised
    assert said.gpus[0] == 8
    assert not said.promised & set(range(1, 8))


def test_nobody_is_declined_before_an_empty_fleet_would_be_too_slow() -> None:
    jobs = [
        Job(key=0, left=3900, deadline_s=1000, promised=True),
        Job(key=1, left=3900, deadline_s=1000),
        Job(key=2, left=4100, deadline_s=1000),
    ]
    said = causeway(0.0, jobs, FLEET)
    assert said.declined == {2}


JOBS = st.lists(
    st.builds(
        Job,
        key=st.just(0),
        left=st.floats(1.0, 5000.0),
        deadline_s=st.floats(1.0, 5000.0),
        asked=st.sampled_from([1, 2, 4]),
        run_s=st.floats(0.0, 5000.0),
        promised=st.booleans(),
        held=st.sampled_from([0, 1, 2]),
    ),
    max_size=9,
)


@settings(max_examples=40, deadline=None)
@given(jobs=JOBS, name=st.sampled_from(sorted(POLICIES)))
def test_no_policy_gives_away_more_than_there_is(jobs: list[Job], name: str) -> None:
    for key, job in enumerate(jobs):
        job.key, job.asked_rate = key, CURVE.rates[CURVE.fits(job.asked)]
    said = POLICIES[name]()(0.0, jobs, FLEET)
    assert sum(said.gpus.values()) <= FLEET.gpus
    assert all(gpus >= 0 for gpus in said.gpus.values())
    assert not said.declined & {job.key for job in jobs if job.promised}
    assert not said.declined & said.promised
    assert said.wake_s > 0.0


@settings(max_examples=40, deadline=None)
@given(jobs=JOBS, slot_s=st.sampled_from([1.0, 60.0]))
def test_a_plan_does_the_work_in_time_and_within_what_is_free(
    jobs: list[Job], slot_s: float
) -> None:
    horizon = Horizon(0.0, FLEET.gpus, slot_s=slot_s)
    for job in jobs:
        plan = least_share(horizon, job, by_s=job.deadline_s)
        if plan is None:
            continue
        horizon.take(plan)
        done = sum(
            (min(end, plan.ends_s) - start) * CURVE.rates[CURVE.counts.index(gpus)]
            for start, end, gpus in plan.steps
        )
        assert math.isclose(done, job.left, rel_tol=1e-6, abs_tol=1e-3)
        assert plan.ends_s <= job.deadline_s + 1e-6
        assert min(horizon.free) >= 0


@settings(max_examples=25, deadline=None)
@given(jobs=JOBS)
def test_what_is_promised_alone_can_be_kept_by_doing_nothing_else(jobs: list[Job]) -> None:
    for key, job in enumerate(jobs):
        job.key, job.promised = key, False
    said = causeway(0.0, jobs, FLEET)
    for key in said.promised:
        assert said.ends_s[key] <= jobs[key].deadline_s
