"""Whole rounds: order, quotas, gangs, reservation, preemption, and what the plan says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fleet_for_tests import NOW_MS, always, capacity, gpus, pool, running, snapshot, waiting
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.fleet import Plan, Snapshot, TenantShare
from causeway.model.jobs import JobKind
from causeway.model.reasons import Severity, Token
from causeway.model.resources import AcceleratorRequest
from causeway.schedule import plan


def decide(view: Snapshot, **changes: Any) -> Plan:
    return plan(view, matches=always, **changes)


def placed(view: Snapshot) -> list[str]:
    return [p.job for p in decide(view).places]


def reasons_of(decided: Plan, job: str) -> tuple[Any, ...]:
    return next(w.reasons for w in decided.waits if w.job == job)


def test_higher_priority_goes_first_and_then_age() -> None:
    jobs = (
        waiting("old", submitted_ms=1),
        waiting("new", submitted_ms=2),
        waiting("high", submitted_ms=3, priority=1),
    )
    assert placed(snapshot(pool("a"), jobs=jobs)) == ["high", "old", "new"]


def test_a_requeued_job_keeps_its_place_by_submission() -> None:
    again = replace(waiting("again", submitted_ms=1), queued_ms=NOW_MS)
    fresh = replace(waiting("fresh", submitted_ms=2), queued_ms=2)
    assert placed(snapshot(pool("a", cores=1), jobs=(fresh, again))) == ["again"]


def test_back_off_skips_a_job_and_reorders_nothing() -> None:
    jobs = (
        waiting("backing", submitted_ms=1, not_before_ms=NOW_MS + 5000),
        waiting("second", submitted_ms=2),
        waiting("third", submitted_ms=3),
    )
    decided = decide(snapshot(pool("a"), jobs=jobs))
    assert [p.job for p in decided.places] == ["second", "third"]
    assert reasons_of(decided, "backing")[0].token is Token.BACKOFF
    later = replace(snapshot(pool("a"), jobs=jobs), now_ms=NOW_MS + 5000)
    assert placed(later)[0] == "backing"


def test_the_tenant_with_the_smaller_weighted_share_goes_first() -> None:
    jobs = tuple(
        waiting(f"{tenant}{i}", tenant=tenant, submitted_ms=i) for i in range(6) for tenant in "xy"
    )
    shares = {"x": TenantShare(tenant="x", weight=2.0), "y": TenantShare(tenant="y")}
    view = snapshot(pool("a", cores=6), jobs=jobs, tenants=shares)
    got = placed(view)
    assert sum(j.startswith("x") for j in got) == 4
    assert sum(j.startswith("y") for j in got) == 2


def test_what_a_tenant_runs_counts_towards_its_share() -> None:
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("x1", tenant="x", submitted_ms=1), waiting("y1", tenant="y")),
        running=(running("r", "a", 3, tenant="x"),),
    )
    decided = decide(view)
    assert [p.job for p in decided.places] == ["y1"]
    assert Token.FAIR_SHARE in {r.token for r in reasons_of(decided, "x1")}


def quota(tenant: str, nominal: int, borrow: int | None) -> dict[str, TenantShare]:
    share = TenantShare(tenant=tenant, quota_devices=nominal, borrow_devices=borrow)
    return {tenant: share}


@pytest.mark.parametrize(("borrow", "count"), [(0, 2), (1, 3), (None, 6)])
def test_a_quota_may_be_exceeded_by_what_may_be_borrowed(borrow: int | None, count: int) -> None:
    jobs = tuple(waiting(f"j{i}", submitted_ms=i) for i in range(6))
    view = snapshot(pool("a"), jobs=jobs, tenants=quota("acme", 2, borrow))
    decided = decide(view)
    assert len(decided.places) == count
    for wait in decided.waits:
        assert wait.reasons[0].token is Token.QUOTA


def test_jobs_inside_quota_go_before_jobs_that_borrow() -> None:
    jobs = (waiting("b", 3, tenant="b", submitted_ms=1), waiting("q", 3, tenant="q"))
    shares = quota("b", 0, None) | quota("q", 3, 0)
    assert placed(snapshot(pool("a", cores=3), jobs=jobs, tenants=shares)) == ["q"]


def test_no_priority_puts_a_borrower_before_a_job_inside_its_quota() -> None:
    """Else the two would take turns: the one by priority, the other by taking its quota back."""
    guest = waiting("guest", tenant="guest", priority=1)
    owner = waiting("owner", tenant="owner")
    shares = quota("owner", 1, None) | quota("guest", 0, None)
    assert placed(snapshot(pool("a", cores=1), jobs=(guest, owner), tenants=shares)) == ["owner"]
    roomy = snapshot(pool("a", cores=2), jobs=(guest, owner), tenants=shares)
    assert placed(roomy) == ["owner", "guest"]


def test_a_tenant_that_comes_to_borrow_by_one_job_waits_with_its_next() -> None:
    jobs = (
        waiting("high", tenant="guest", priority=1),
        waiting("low", tenant="guest"),
        waiting("owner", tenant="owner", submitted_ms=9),
    )
    shares = quota("owner", 1, None) | quota("guest", 1, None)
    decided = snapshot(pool("a", cores=2), jobs=jobs, tenants=shares)
    assert placed(decided) == ["high", "owner"]


def test_smaller_jobs_do_not_starve_the_tenants_own_job_that_waits_for_quota() -> None:
    jobs = (waiting("big", 4, submitted_ms=1), waiting("small", 1, submitted_ms=2))
    view = snapshot(
        pool("a"), jobs=jobs, tenants=quota("acme", 4, 0), running=(running("r", "a", 2),)
    )
    decided = decide(view)
    assert decided.places == ()
    assert "goes first" in reasons_of(decided, "small")[0].message


def test_a_job_bigger_than_quota_and_loan_blocks_no_other() -> None:
    jobs = (waiting("big", 5, submitted_ms=1), waiting("small", 1, submitted_ms=2))
    decided = decide(snapshot(pool("a"), jobs=jobs, tenants=quota("acme", 3, 1)))
    assert [p.job for p in decided.places] == ["small"]
    reason = reasons_of(decided, "big")[0]
    assert (reason.token, reason.severity) == (Token.QUOTA, Severity.BLOCK)
    assert not reason.waiting_helps


def test_a_gang_is_placed_whole_on_one_pool_or_not_at_all() -> None:
    gang = waiting("gang", 2, num_nodes=3)
    assert placed(snapshot(pool("a", cores=5), pool("b", cores=5), jobs=(gang,))) == []
    assert placed(snapshot(pool("a", cores=5), pool("b", cores=6), jobs=(gang,))) == ["gang"]


def test_two_offers_of_one_pool_share_its_room() -> None:
    one = pool("a", cores=4)
    other = replace(one, offer="urn:cpi:test:offer:a-spot")
    jobs = (waiting("j1", 3), waiting("j2", 3))
    assert len(decide(snapshot(one, other, jobs=jobs)).places) == 1


def test_accelerators_of_the_wrong_model_are_never_given_out_as_the_right_one() -> None:
    want = AcceleratorRequest(count=1, model="H100")
    view = pool("a", accelerators=3, devices=gpus("H100", 2) + gpus("A100", 1))
    jobs = tuple(waiting(f"j{i}", gpu=want) for i in range(3))
    assert len(decide(snapshot(view, jobs=jobs)).places) == 2


def test_the_budget_covers_what_the_round_has_placed_already() -> None:
    jobs = tuple(
        waiting(f"j{i}", expected_run_s=3600.0, tenant_budget_left_micros=120_000) for i in range(4)
    )
    decided = decide(snapshot(pool("a"), jobs=jobs))
    assert len(decided.places) == 2
    assert {w.reasons[0].token for w in decided.waits} == {Token.BUDGET}


def test_small_jobs_do_not_starve_a_big_one() -> None:
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("big", 4, submitted_ms=1), waiting("small", 1, submitted_ms=2)),
        running=(running("r", "a", 2, expected_end_ms=NOW_MS + 600_000),),
    )
    decided = decide(view)
    assert decided.places == ()
    assert "held for it in about 10 min" in reasons_of(decided, "big")[0].message


@pytest.mark.parametrize(("limit_s", "fits"), [(600.0, True), (601.0, False)])
def test_what_surely_ends_in_time_is_backfilled(limit_s: float, fits: bool) -> None:
    short = waiting("short", 1, submitted_ms=2, time_limit_s=limit_s)
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("big", 4, submitted_ms=1), short),
        running=(running("r", "a", 2, expected_end_ms=NOW_MS + 600_000),),
    )
    assert placed(view) == (["short"] if fits else [])


def test_what_fits_beside_the_big_job_is_backfilled() -> None:
    view = snapshot(
        pool("a", cores=8),
        jobs=(
            waiting("big", 6, submitted_ms=1),
            waiting("one", 1, submitted_ms=2),
            waiting("two", 1, submitted_ms=3),
            waiting("three", 1, submitted_ms=4),
        ),
        running=(running("r", "a", 4, expected_end_ms=NOW_MS + 600_000),),
    )
    assert placed(view) == ["one", "two"]


def test_a_pool_that_services_fill_for_ever_is_not_held() -> None:
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("big", 4, submitted_ms=1), waiting("small", 1, submitted_ms=2)),
        running=(running("r", "a", 2, kind=JobKind.SERVICE),),
    )
    assert placed(view) == ["small"]


def test_victims_are_those_that_lose_least_and_only_as_many_as_needed() -> None:
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("high", 2, priority=5),),
        running=(
            running("long", "a", started_ms=NOW_MS - 900_000),
            running("saved", "a", started_ms=NOW_MS - 800_000, checkpoint_ms=NOW_MS - 5_000),
            running("short", "a", started_ms=NOW_MS - 10_000),
            running("equal", "a", started_ms=NOW_MS - 1_000, priority=5),
        ),
    )
    decided = decide(view)
    assert {p.job: p.lost_work_s for p in decided.preempts} == {"saved": 5.0, "short": 10.0}
    assert {p.for_job for p in decided.preempts} == {"high"}
    assert decided.places == ()


def test_a_small_victim_that_turns_out_needless_is_spared() -> None:
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("high", 3, priority=5),),
        running=(
            running("small", "a", 1, started_ms=NOW_MS - 1_000),
            running("large", "a", 3, started_ms=NOW_MS - 900_000),
        ),
    )
    assert [p.job for p in decide(view).preempts] == ["large"]


def test_nobody_is_preempted_for_a_job_that_would_not_fit_anyway() -> None:
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("high", 4, priority=5),),
        running=(running("low", "a", 1), running("equal", "a", 1, priority=5)),
    )
    assert decide(view).preempts == ()


def test_what_is_stopping_already_is_waited_for_and_its_room_is_kept() -> None:
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("high", 3, priority=5), waiting("small", 1), waiting("small2", 1)),
        running=(running("going", "a", 2, stopping=True), running("low", "a", 1)),
    )
    decided = decide(view)
    assert decided.preempts == ()
    # One core is free and the claim takes it together with the two that are being freed.
    assert decided.places == ()
    assert "kept for this job" in reasons_of(decided, "high")[0].message


def test_a_job_for_which_work_gave_way_goes_first_whatever_the_shares_became() -> None:
    """Else the stopped job, now the one with the smaller share, takes its room back in turn."""
    claimant = replace(
        waiting("claimant", 3, tenant="y", priority=1), promised="urn:cpi:test:pool:a"
    )
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("other", 4, tenant="x", priority=1), waiting("gave_way", 1, tenant="x")),
        running=(running("more", "b", 2, tenant="y"),),
    )
    assert placed(replace(view, waiting=(*view.waiting, claimant)))[0] == "claimant"
    without = replace(claimant, promised="")
    assert placed(replace(view, waiting=(*view.waiting, without)))[0] == "other"


def test_a_tenant_inside_its_quota_takes_back_what_others_borrow_and_no_more() -> None:
    shares = quota("owner", 2, 0) | quota("guest", 2, None)
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("mine", 2, tenant="owner"),),
        running=tuple(
            running(f"g{i}", "a", tenant="guest", started_ms=NOW_MS - i * 1000 - 1000)
            for i in range(4)
        ),
        tenants=shares,
    )
    assert [p.job for p in decide(view).preempts] == ["g0", "g1"]
    fair = replace(view, tenants=quota("owner", 2, 0) | quota("guest", 3, None))
    assert decide(fair).preempts == ()


def test_a_borrower_of_high_priority_cannot_take_back_what_was_reclaimed() -> None:
    view = snapshot(
        pool("a", cores=2),
        jobs=(waiting("greedy", 2, tenant="guest", priority=90),),
        running=(running("mine", "a", 2, tenant="owner"),),
        tenants=quota("owner", 2, 0) | quota("guest", 0, None),
    )
    assert decide(view).preempts == ()


def test_with_its_quota_full_a_job_may_take_from_its_own_tenants_lower_priorities() -> None:
    view = snapshot(
        pool("a", cores=8),
        jobs=(waiting("urgent", 2, priority=9),),
        running=(running("low", "a", 2), running("other", "a", 2, tenant="other")),
        tenants=quota("acme", 2, 0),
    )
    decided = decide(view)
    assert [p.job for p in decided.preempts] == ["low"]
    stopping = tuple(replace(r, stopping=r.id == "low") for r in view.running)
    assert decide(replace(view, running=stopping)).preempts == ()


def test_a_chosen_place_has_a_table_of_every_offer_with_reasons() -> None:
    view = snapshot(
        pool("cheap", usd="0.01"),
        pool("dear", usd="0.90"),
        pool("full", free=capacity(0)),
        pool("gone", fresh=False),
        jobs=(waiting("j"),),
    )
    table = decide(view).places[0].candidates
    assert [(c.name, c.feasible, c.reasons[0].token) for c in table] == [
        ("cheap", True, Token.CHOSEN),
        ("full", False, Token.CAPACITY),
        ("dear", True, Token.OUTSCORED),
        ("gone", False, Token.STALE),
    ]
    assert table[2].reasons[0].evidence["term"] == "price"
    assert table[0].price_per_h_micros == 10_000
    assert sum(table[2].terms_usd.values()) == pytest.approx(table[2].score_usd)


def test_jobs_beyond_the_limit_share_a_reason() -> None:
    jobs = tuple(waiting(f"j{i}", submitted_ms=i) for i in range(5))
    decided = decide(snapshot(pool("a"), jobs=jobs), limit=2)
    assert len(decided.places) == 2
    assert all("2 jobs ahead" in w.reasons[0].message for w in decided.waits)


def test_no_island_at_all_is_said_so() -> None:
    decided = decide(snapshot(jobs=(waiting("j"),)))
    assert reasons_of(decided, "j")[0].token is Token.NO_ISLANDS


def test_when_one_offer_needs_only_time_the_others_exclusions_are_context() -> None:
    view = snapshot(
        pool("a", free=capacity(0)),
        pool("b", cores=1),
        pool("c", cores=1),
        jobs=(waiting("j", 2),),
    )
    first, second = reasons_of(decide(view), "j")
    assert (first.token, first.severity) == (Token.CAPACITY, Severity.WAIT)
    assert (second.token, second.severity) == (Token.TOO_SMALL, Severity.INFO)
    assert second.evidence["offers"] == 2
    assert second.evidence["islands"] == "b and c"


def test_a_group_runs_nothing_itself() -> None:
    decided = decide(snapshot(pool("a"), jobs=(waiting("g", kind=JobKind.GROUP),)))
    assert decided.places == ()
    assert reasons_of(decided, "g")[0].token is Token.DEPENDENCY


def test_room_that_is_still_being_freed_is_not_given_out() -> None:
    view = snapshot(
        pool("a", cores=4),
        jobs=(waiting("j1", 2, submitted_ms=1), waiting("j2", 2, submitted_ms=2)),
        running=(running("going", "a", 2, stopping=True),),
    )
    assert placed(view) == ["j1"]


# -- arrays with a limit --------------------------------------------------------------------


def test_an_array_at_its_limit_waits_and_says_so() -> None:
    jobs = tuple(waiting(f"m{i}", submitted_ms=i, group="g", at_once=2) for i in range(3))
    here = running("m9", "a", group="g", at_once=2, stopping=True)
    other = waiting("other", submitted_ms=9)
    decided = decide(snapshot(pool("a"), jobs=(*jobs, other), running=(here,)))
    assert [p.job for p in decided.places] == ["m0", "other"]
    (why,) = reasons_of(decided, "m1")
    assert (why.token, why.severity, why.waiting_helps) == (Token.ARRAY_LIMIT, Severity.WAIT, True)
    assert why.message.startswith("2 members of its array may run at once")


def test_a_promise_counts_for_the_arrays_limit() -> None:
    jobs = tuple(
        waiting(f"m{i}", 8, submitted_ms=i, priority=9, group="g", at_once=1) for i in range(2)
    )
    low = tuple(running(f"low{n}", n, 8, priority=-9) for n in "ab")
    decided = decide(snapshot(pool("a"), pool("b"), jobs=jobs, running=low))
    assert len(decided.preempts) == 1
    assert reasons_of(decided, "m1")[0].token is Token.ARRAY_LIMIT


@given(
    limits=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    members=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=16),
    there=st.lists(st.integers(0, 3), max_size=6),
)
def test_no_round_starts_more_of_an_array_than_may_run(
    limits: list[int], members: list[tuple[int, int]], there: list[int]
) -> None:
    def of(group: int) -> dict[str, Any]:
        return {"group": f"g{group}", "at_once": limits[group % len(limits)]}

    jobs = tuple(
        waiting(f"m{i}", cores, submitted_ms=i, **of(g)) for i, (g, cores) in enumerate(members)
    )
    held = tuple(running(f"r{i}", "a", **of(g)) for i, g in enumerate(there))
    group_of = {job.id: (job.group, job.at_once) for job in jobs}
    decided = decide(snapshot(pool("a", cores=12), pool("b"), jobs=jobs, running=held))
    for group, limit in set(group_of.values()):
        before = sum(r.group == group for r in held)
        started = sum(group_of[p.job][0] == group for p in decided.places)
        assert not limit or not started or before + started <= limit
