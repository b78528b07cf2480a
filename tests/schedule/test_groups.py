"""Rounds of projects that share their quotas in a group."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from fleet_for_tests import NOW_MS, always, pool, running, snapshot, waiting
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.fleet import Plan, Snapshot, TenantShare
from causeway.model.reasons import Token
from causeway.schedule import plan
from causeway.schedule.shares.tree import QuotaTree

COHORT = {
    "g": TenantShare(tenant="g", quota_devices=0, borrow_devices=0),
    "a": TenantShare(tenant="a", quota_devices=4, parent="g"),
    "b": TenantShare(tenant="b", quota_devices=4, parent="g"),
}


def decide(*jobs: Any, on: tuple[Any, ...] = (), cores: int = 100) -> Plan:
    return plan(
        snapshot(pool("p", cores=cores), jobs=jobs, running=on, tenants=COHORT), matches=always
    )


def job(name: str, cores: int, tenant: str, **changes: Any) -> Any:
    return waiting(name, cores, tenant=tenant, **changes)


def at(name: str, cores: int, tenant: str, *, leased_ms: int = 0, **changes: Any) -> Any:
    return replace(running(name, "p", cores, tenant=tenant, **changes), leased_ms=leased_ms)


def test_a_group_holds_what_its_members_quotas_add_up_to_however_much_is_free() -> None:
    found = decide(*(job(f"j{i}", 3, "a", submitted_ms=i) for i in range(4)))
    assert [place.job for place in found.places] == ["j0", "j1"]
    reason = found.waits[0].reasons[0]
    assert reason.token is Token.QUOTA
    assert reason.evidence["group"] == "g"


def test_what_is_lent_comes_back_by_preemption_and_only_as_much_as_is_needed() -> None:
    lent = tuple(at(f"r{i}", 2, "a", started_ms=NOW_MS - 5_000 - i) for i in range(4))
    found = decide(job("mine", 2, "b"), on=lent)
    assert [stop.job for stop in found.preempts] == ["r0"]
    assert found.places == ()


def test_a_borrower_takes_nothing_back() -> None:
    lent = (at("r0", 4, "a"), at("r1", 2, "b", priority=9))
    assert decide(job("more", 4, "b", priority=9), on=lent).preempts == ()


def test_what_runs_for_less_than_a_second_is_left_alone_and_its_room_is_kept() -> None:
    fresh = tuple(at(f"r{i}", 2, "a", leased_ms=NOW_MS - 10) for i in range(4))
    found = decide(job("mine", 4, "b", submitted_ms=1), on=fresh)
    assert found.preempts == ()
    one_less = fresh[:3]
    found = decide(
        job("mine", 4, "b", submitted_ms=1), job("loan", 1, "a", submitted_ms=0), on=one_less
    )
    assert found.places == ()
    """The two that are free are kept for b; a would have to borrow them."""
    waits = {wait.job: wait.reasons[0].message for wait in found.waits}
    assert "gets it back first" in waits["mine"]


def test_within_a_tenant_the_more_important_goes_first_even_if_lesser_work_fills_the_quota() -> (
    None
):
    small = tuple(at(f"r{i}", 1, "a", started_ms=NOW_MS - 9_000) for i in range(4))
    others = (at("o", 4, "b", started_ms=NOW_MS - 9_000),)
    found = decide(
        job("large", 4, "a", priority=5, submitted_ms=9), job("tiny", 1, "a"), on=small + others
    )
    assert sorted(stop.job for stop in found.preempts) == ["r0", "r1", "r2", "r3"]
    assert {stop.for_job for stop in found.preempts} == {"large"}


def test_a_job_that_no_group_could_ever_hold_is_told_so() -> None:
    reason = decide(job("huge", 9, "a")).waits[0].reasons[0]
    assert (reason.token, reason.waiting_helps) == (Token.QUOTA, False)


@st.composite
def pictures(draw: st.DrawFn) -> Snapshot:
    tenants = ["a", "b", "c", "free"]
    shares = {
        "top": TenantShare(tenant="top", quota_devices=draw(st.integers(0, 4)), borrow_devices=0),
        "g": TenantShare(
            tenant="g",
            parent="top",
            quota_devices=draw(st.sampled_from([None, 0, 2])),
            borrow_devices=draw(st.sampled_from([None, 0, 2])),
        ),
    }
    for name in tenants[:3]:
        shares[name] = TenantShare(
            tenant=name,
            parent=draw(st.sampled_from(["top", "g"])),
            quota_devices=draw(st.sampled_from([None, 0, 2, 5])),
            borrow_devices=draw(st.sampled_from([None, 0, 2])),
            lend_devices=draw(st.sampled_from([None, 0, 1])),
        )
    attempts = tuple(
        at(
            f"r{i}",
            draw(st.integers(1, 3)),
            draw(st.sampled_from(tenants)),
            priority=draw(st.integers(0, 2)),
            leased_ms=draw(st.sampled_from([0, 0, NOW_MS - 10])),
            stopping=draw(st.sampled_from([False, False, True])),
        )
        for i in range(draw(st.integers(0, 6)))
    )
    jobs = tuple(
        job(
            f"w{i}",
            draw(st.integers(1, 6)),
            draw(st.sampled_from(tenants)),
            priority=draw(st.integers(0, 2)),
            submitted_ms=i,
        )
        for i in range(draw(st.integers(0, 8)))
    )
    used = sum(one.spec.resources.devices for one in attempts)
    cores = used + draw(st.integers(1, 12))
    return snapshot(pool("p", cores=cores), jobs=jobs, running=attempts, tenants=shares)


@given(pictures())
def test_no_quota_of_any_level_is_exceeded_by_what_is_placed(view: Snapshot) -> None:
    decided = plan(view, matches=always)
    jobs = {one.id: one for one in view.waiting}
    quotas = QuotaTree(view.tenants)
    for one in view.running:
        quotas.take(one.tenant, one.spec.resources.devices, one.spec.priority)
    for place in decided.places:
        spec = jobs[place.job].spec
        room = quotas.room(jobs[place.job].tenant)
        assert room is None or spec.resources.devices <= room
        quotas.take(jobs[place.job].tenant, spec.resources.devices, spec.priority)


@given(pictures())
def test_who_gives_way_is_lesser_or_on_loan_and_old_enough(view: Snapshot) -> None:
    decided = plan(view, matches=always)
    waits = {one.id: one for one in view.waiting}
    runs = {one.id: one for one in view.running}
    held = Counter[str]()
    for one in view.running:
        held[one.tenant] += one.spec.resources.devices
    for stop in decided.preempts:
        claimant, victim = waits[stop.for_job], runs[stop.job]
        assert NOW_MS - victim.leased_ms >= 1_000
        assert not victim.stopping
        share = view.tenants.get(victim.tenant)
        loan = share is not None and held[victim.tenant] > (share.quota_devices or 0)
        assert victim.spec.priority < claimant.spec.priority or (
            loan and victim.tenant != claimant.tenant
        )
