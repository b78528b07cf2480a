"""What must be so in the store when the story is over, wherever the control plane died."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from story import GROUPS, MEMBERS, TERMINAL, Told

from causeway.model.events import Event
from causeway.model.jobs import Attempt, AttemptState, Job
from causeway.model.money import Transaction
from causeway.ports.store import Store
from causeway.price import check, recompute
from causeway.price.rate import usage_micros

ENDS = ("job.succeeded", "job.failed", "job.cancelled")
CANCELLED = "endless"


def judge(store: Store, told: Told) -> None:
    """Raise `AssertionError` for the first thing that is not as it must be."""
    jobs = {job.id: job for job in store.jobs(tenant=None, limit=1_000)}
    _acknowledged(jobs, told)
    judge_facts(store, jobs, told.begun)
    _resumed(jobs[told.ids["training"]], told)


def judge_facts(
    store: Store, jobs: Mapping[str, Job], begun: Sequence[tuple[str, str, int]]
) -> None:
    """Raise `AssertionError` for the first thing in a store where every job has ended that cannot
    be so, whatever the jobs were. `begun`: (island, job, fence) of everything that really ran."""
    events = all_events(store)
    _numbered(events)
    _ended_once(jobs, events)
    _fences(jobs, events, begun)
    for job in jobs.values():
        for attempt in job.attempts:
            _ticks(store, job, attempt)
    _paid(store, jobs)


def all_events(store: Store) -> list[Event]:
    """Return the whole ledger."""
    events: list[Event] = []
    while page := store.events(after=events[-1].seq if events else 0, limit=500):
        events.extend(page)
    return events


def all_transactions(store: Store) -> list[Transaction]:
    """Return the whole journal."""
    posted: list[Transaction] = []
    while page := store.transactions(after=posted[-1].id if posted else "", limit=1_000):
        posted.extend(page)
    return posted


def _acknowledged(jobs: dict[str, Job], told: Told) -> None:
    """What was acknowledged exists, once, and has ended as it should."""
    for name, job_id in told.ids.items():
        assert job_id in jobs, f"{name} was acknowledged and is not there"
        wanted = "cancelled" if name == CANCELLED else "succeeded"
        story = [(a.fence, a.state.value, a.message) for a in jobs[job_id].attempts]
        assert jobs[job_id].state.value == wanted, f"{name}: {jobs[job_id].state} {story}"
    assert len(jobs) == MEMBERS + GROUPS, f"{len(jobs)} jobs: something was submitted twice"
    assert all(job.state.value in TERMINAL for job in jobs.values())
    assert told.states == {job.id: job.state.value for job in jobs.values()}


def _numbered(events: list[Event]) -> None:
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def _ended_once(jobs: Mapping[str, Job], events: list[Event]) -> None:
    ends = Counter(event.subject for event in events if event.kind in ENDS)
    assert ends == Counter(list(jobs)), f"ends: {ends}"
    over: set[str] = set()
    for event in events:
        late = event.subject in over and event.kind.startswith(("job.", "attempt.", "usage."))
        assert not late, f"{event.kind} of {event.subject} after its end"
        if event.kind in ENDS:
            over.add(event.subject)


def _fences(
    jobs: Mapping[str, Job], events: list[Event], begun: Sequence[tuple[str, str, int]]
) -> None:
    """Fences grow by one with each placement; what ran was placed, and under one fence once."""
    placed: dict[str, list[int]] = {}
    where: dict[tuple[str, int], str] = {}
    for event in events:
        if event.kind == "job.placed":
            fence = event.data["fence"]
            assert isinstance(fence, int)
            placed.setdefault(event.subject, []).append(fence)
            where[(event.subject, fence)] = str(event.data["island"])
    for job in jobs.values():
        fences = placed.get(job.id, [])
        assert fences == list(range(1, len(fences) + 1)), f"{job.id}: fences {fences}"
        assert [a.fence for a in job.attempts] == fences
        accepted = [a for a in job.attempts if a.state is AttemptState.SUCCEEDED]
        assert len(accepted) <= 1, f"{job.id}: two attempts were accepted"
        assert all(a.state is not AttemptState.SUCCEEDED for a in job.attempts[:-1])
    twice = {key: count for key, count in Counter(begun).items() if count > 1}
    assert not twice, f"began twice: {twice}"
    for island, job_id, fence in begun:
        assert where[(job_id, fence)].endswith(f":{island}"), f"{job_id} {fence} ran on {island}"


def _ticks(store: Store, job: Job, attempt: Attempt) -> None:
    """Usage is what the ticks say: numbered without gap, contiguous, each counted once."""
    mine = [tick for tick in store.ticks(job.id) if tick.fence == attempt.fence]
    assert [tick.seq for tick in mine] == list(range(attempt.usage.ticks))
    assert all(a.end_ms == b.start_ms for a, b in pairwise(mine))
    used_ms = sum((tick.end_ms - tick.start_ms) * tick.devices for tick in mine)
    assert used_ms == attempt.usage.device_ms, f"{job.id} {attempt.fence}: {used_ms}"


def _paid(store: Store, jobs: Mapping[str, Job]) -> None:
    """Usage settled is usage posted, and every posting proves itself."""
    posted = all_transactions(store)
    balances = check(posted)
    assert dict(store.balances()) == balances
    assert sum(balances.values()) == 0
    by_attempt: Counter[tuple[str, int]] = Counter()
    for transaction in posted:
        debit = sum(e.micros for e in transaction.entries if e.account.startswith("receivable:"))
        assert recompute(transaction) == debit
        by_attempt[(transaction.subject, int(transaction.evidence["fence"]))] += debit
    rated = {
        (job.id, a.fence): usage_micros(a.price, a.usage)
        for job in jobs.values()
        for a in job.attempts
    }
    for key, micros in rated.items():
        assert by_attempt[key] == micros, f"{key}: {micros} rated, {by_attempt[key]} posted"
    assert sum(rated.values()) > 0
    spent = sum(tenant.spent_micros for tenant in store.load().tenants.values())
    assert spent == sum(rated.values())


def _resumed(training: Job, told: Told) -> None:
    """The attempt that ended well went on from a checkpoint at least as new as the one that had
    been acknowledged when its island fell silent."""
    earlier = training.attempts[:-1]
    assert any(a.island.endswith(f":{told.silenced}") for a in earlier), "nobody took it over"
    later = [a for a in training.attempts if a.resumed_step >= told.resumable_step]
    assert later, f"no attempt went on from step {told.resumable_step}, which was acknowledged"
