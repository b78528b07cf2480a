"""What must hold for every plan, on generated fleets, queues and running work."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from fleet_for_tests import NOW_MS, always, gpus, pool, running, snapshot, waiting
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.fleet import Plan, RunningJob, Snapshot, TenantShare, WaitingJob
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.resources import AcceleratorRequest, Capacity
from causeway.schedule import plan

TENANTS = ("x", "y", "z")
LAW = Reason(token=Token.LAW, severity=Severity.BLOCK, message="No.", waiting_helps=False)


@st.composite
def fleets(draw: st.DrawFn) -> Snapshot:
    pools = [
        pool(
            f"p{i}",
            cores=draw(st.integers(1, 8)),
            accelerators=3,
            devices=gpus("H100", 2) + gpus("A100", 1),
            usd=draw(st.sampled_from(["0.01", "0.05", "0.50"])),
            fresh=draw(st.integers(0, 5)) > 0,
            healthy=draw(st.integers(0, 7)) > 0,
            cordoned=draw(st.integers(0, 7)) == 0,
        )
        for i in range(draw(st.integers(0, 4)))
    ]
    room = {p.pool: p.free for p in pools}
    attempts: list[RunningJob] = []
    for i in range(draw(st.integers(0, 8)) if pools else 0):
        on = draw(st.sampled_from(pools))
        attempt = running(
            f"r{i}",
            on.name,
            draw(st.integers(1, 3)),
            gpu=draw(st.sampled_from([None, None, AcceleratorRequest(count=1)])),
            tenant=draw(st.sampled_from(TENANTS)),
            priority=draw(st.integers(0, 2)),
            stopping=draw(st.booleans()),
            started_ms=NOW_MS - draw(st.integers(0, 900)) * 1000,
            expected_end_ms=draw(st.sampled_from([0, NOW_MS + 60_000, NOW_MS + 600_000])),
        )
        if room[on.pool].fits(attempt.spec.resources):
            room[on.pool] = room[on.pool].less(attempt.spec.resources)
            attempts.append(attempt)
    jobs = tuple(draw(jobs_named(f"j{i:02d}")) for i in range(draw(st.integers(0, 14))))
    keys = [p.pool for p in pools]
    verdicts = {
        job.id: {key: LAW for key in draw(st.lists(st.sampled_from(keys), max_size=2))}
        for job in jobs
        if keys and draw(st.integers(0, 3)) == 0
    }
    shares = {
        tenant: TenantShare(
            tenant=tenant,
            weight=draw(st.sampled_from([0.5, 1.0, 2.0])),
            quota_devices=draw(st.sampled_from([None, 0, 2, 5])),
            borrow_devices=draw(st.sampled_from([None, 0, 2])),
        )
        for tenant in TENANTS[:2]
    }
    return snapshot(*pools, jobs=jobs, running=tuple(attempts), tenants=shares, verdicts=verdicts)


@st.composite
def jobs_named(draw: st.DrawFn, name: str) -> WaitingJob:
    gpu = st.sampled_from([None, None, AcceleratorRequest(count=1, model="h100")])
    return waiting(
        name,
        draw(st.integers(1, 4)),
        gpu=draw(gpu),
        num_nodes=draw(st.sampled_from([1, 1, 1, 2, 3])),
        tenant=draw(st.sampled_from(TENANTS)),
        priority=draw(st.integers(0, 3)),
        submitted_ms=draw(st.integers(0, 5)),
        not_before_ms=draw(st.sampled_from([0, 0, 0, NOW_MS + 1])),
        time_limit_s=draw(st.sampled_from([0.0, 30.0, 300.0])),
        failed_islands=draw(st.sampled_from([{}, {}, {"urn:cpi:test:island:p0": 1}])),
        tenant_budget_left_micros=draw(st.sampled_from([None, None, 100_000])),
    )


def decide(view: Snapshot, **changes: Any) -> Plan:
    return plan(view, matches=always, **changes)


def taken(room: Capacity, jobs: list[Any]) -> Capacity:
    """Take every job out of the room; fail if one does not fit whole."""
    for job in jobs:
        assert room.fits(job.spec.resources, job.spec.num_nodes)
        room = room.less(job.spec.resources, job.spec.num_nodes)
    return room


@given(fleets())
def test_no_pool_is_over_committed_and_gangs_are_whole(view: Snapshot) -> None:
    jobs = {j.id: j for j in view.waiting}
    decided = decide(view)
    for offer in view.pools:
        here = [jobs[p.job] for p in decided.places if p.pool == offer.pool]
        taken(offer.free, here)
        h100s = sum(j.spec.num_nodes for j in here if j.spec.resources.accelerator)
        assert h100s <= 2


@given(fleets())
def test_only_fresh_healthy_open_and_lawful_offers_are_used(view: Snapshot) -> None:
    offers = {p.offer: p for p in view.pools}
    for place in decide(view).places:
        offer = offers[place.offer]
        assert offer.fresh
        assert offer.healthy
        assert not offer.cordoned
        assert offer.pool not in view.verdicts.get(place.job, {})
        assert (offer.pool, offer.island) == (place.pool, place.island)


@given(fleets())
def test_quota_and_loan_are_never_exceeded_by_what_is_placed(view: Snapshot) -> None:
    jobs = {j.id: j for j in view.waiting}
    used = Counter[str]()
    for attempt in view.running:
        used[attempt.tenant] += attempt.spec.resources.devices * attempt.spec.num_nodes
    for place in decide(view).places:
        job = jobs[place.job]
        used[job.tenant] += job.spec.resources.devices * job.spec.num_nodes
        share = view.tenants.get(job.tenant)
        if share is None or share.quota_devices is None or share.borrow_devices is None:
            continue
        assert used[job.tenant] <= share.quota_devices + share.borrow_devices


@given(fleets(), st.integers(0, 6))
def test_every_waiting_job_has_exactly_one_decision_with_reasons(
    view: Snapshot, limit: int
) -> None:
    decided = decide(view, limit=limit)
    entries = [*decided.places, *decided.waits]
    assert sorted(e.job for e in entries) == sorted(j.id for j in view.waiting)
    for entry in entries:
        assert entry.reasons
        assert all(reason.message.endswith((".", "?")) for reason in entry.reasons)
    for wait in decided.waits:
        order = [Severity.BLOCK, Severity.WAIT, Severity.INFO]
        ranks = [order.index(r.severity) for r in wait.reasons]
        assert ranks[0] == min(ranks)
    for place in decided.places:
        assert [c.chosen for c in place.candidates].count(True) == 1
        assert {c.offer for c in place.candidates} == {p.offer for p in view.pools}


@given(fleets(), st.randoms(use_true_random=False))
def test_the_order_of_the_picture_does_not_matter(view: Snapshot, chance: Any) -> None:
    def shuffled(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(values, len(values)))

    other = replace(
        view,
        pools=shuffled(view.pools),
        waiting=shuffled(view.waiting),
        running=shuffled(view.running),
    )
    assert decide(other) == decide(view)


@settings(max_examples=150)
@given(fleets())
def test_what_is_preempted_makes_room_and_none_of_it_needlessly(view: Snapshot) -> None:
    jobs = {j.id: j for j in view.waiting}
    attempts = {r.id: r for r in view.running}
    decided = decide(view)
    victims = Counter(p.job for p in decided.preempts)
    assert all(count == 1 for count in victims.values())
    placed_on = Counter[str]()
    for p in decided.preempts:
        victim, job = attempts[p.job], jobs[p.for_job]
        assert not victim.stopping
        assert p.for_job not in {place.job for place in decided.places}
        borrows = view.tenants.get(victim.tenant)
        by_quota = borrows is not None and borrows.quota_devices is not None
        assert victim.spec.priority < job.spec.priority or by_quota
        placed_on[p.for_job + victim.pool] += 1
    for for_job in {p.for_job for p in decided.preempts}:
        pools = {attempts[p.job].pool for p in decided.preempts if p.for_job == for_job}
        assert len(pools) == 1
        (key,) = pools
        room = next(p.free for p in view.pools if p.pool == key)
        for attempt in view.running:
            if attempt.pool == key and (attempt.stopping or attempt.id in victims):
                room = room.plus(attempt.spec.resources, attempt.spec.num_nodes)
        here = [jobs[p.job] for p in decided.places if p.pool == key]
        room = taken(room, here)
        need = jobs[for_job].spec
        assert room.fits(need.resources, need.num_nodes)


@given(fleets())
def test_a_decided_plan_leads_to_a_picture_that_settles(view: Snapshot) -> None:
    """Carrying out rounds until nothing changes ends: no two jobs evict each other for ever."""
    jobs = {j.id: j for j in view.waiting}
    for _ in range(60):
        decided = decide(view)
        if not decided.places and not decided.preempts:
            return
        view = carried_out(view, decided, jobs)
    raise AssertionError("still placing and evicting after 60 rounds")


def carried_out(view: Snapshot, decided: Plan, jobs: dict[str, WaitingJob]) -> Snapshot:
    """Return the picture after a plan: the placed run, the preempted are in the queue again."""
    victims = {p.job for p in decided.preempts} | {r.id for r in view.running if r.stopping}
    gone = [r for r in view.running if r.id in victims]
    back = tuple(
        WaitingJob(id=r.id, tenant=r.tenant, spec=r.spec, queued_ms=NOW_MS, submitted_ms=NOW_MS)
        for r in gone
    )
    jobs |= {j.id: j for j in back}
    starts = {p.job: p.pool for p in decided.places}
    started = tuple(
        RunningJob(
            id=name,
            tenant=jobs[name].tenant,
            spec=jobs[name].spec,
            fence=2,
            pool=key,
            started_ms=NOW_MS,
        )
        for name, key in starts.items()
    )
    pools = []
    for offer in view.pools:
        room = offer.free
        for r in gone:
            if r.pool == offer.pool:
                room = room.plus(r.spec.resources, r.spec.num_nodes)
        room = taken(room, [s for s in started if s.pool == offer.pool])
        pools.append(replace(offer, free=room))
    promised = {p.for_job: next(r.pool for r in gone if r.id == p.job) for p in decided.preempts}
    waiting_now = (
        tuple(
            replace(j, promised=promised.get(j.id, j.promised))
            for j in view.waiting
            if j.id not in starts
        )
        + back
    )
    staying = tuple(r for r in view.running if r.id not in victims) + started
    return replace(view, pools=tuple(pools), waiting=waiting_now, running=staying)


def test_the_generated_pictures_are_not_empty() -> None:
    """Guards the tests above: each kind of decision occurs somewhere."""
    seen = Counter[str]()

    @settings(max_examples=120, derandomize=True, database=None)
    @given(fleets())
    def look(view: Snapshot) -> None:
        decided = decide(view)
        seen["places"] += len(decided.places)
        seen["waits"] += len(decided.waits)
        seen["preempts"] += len(decided.preempts)
        for wait in decided.waits:
            seen.update(r.token.value for r in wait.reasons)

    look()
    for kind in ("places", "preempts", "quota", "law", "fair_share", "priority", "capacity"):
        assert seen[kind] > 0, f"{kind} never occurred: {dict(seen)}"
