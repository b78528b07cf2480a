"""The store in memory: for the simulation, and truthful enough to pass the same tests.

`Shelf` is what would be on disk; each `MemoryStore` is one process's handle on it. Several handles
on one shelf compete for the leadership as several control planes would, and a handle that is
closed (or simply dropped after `lose`) leaves the shelf as it is. Values are frozen, so they are
kept as they come, without copies.

A batch is refused for the same reasons as by the other stores: it goes through the same row
functions, whose result is then thrown away (`checks=False` skips that where speed matters more).

Faults are injected by two callables. `before_commit` may raise `Unavailable`: nothing was written.
`after_commit` may raise `Unavailable`: everything was written and the caller does not know, which
is what a broken connection between commit and reply looks like.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from causeway.adapters.store import rows
from causeway.model.artifacts import Artifact
from causeway.model.errors import Conflict, Unavailable
from causeway.model.events import Event
from causeway.model.islands import Island
from causeway.model.jobs import TERMINAL, Job
from causeway.model.money import Transaction
from causeway.model.parties import AccessToken, Tenant
from causeway.model.usage import UsageTick
from causeway.ports.store import Batch, Image, ProgressRow

CommitHook = Callable[[Batch], None]


@dataclass(slots=True, kw_only=True)
class Shelf:
    """What is durable."""

    epoch: int = 0
    leader: MemoryStore | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    jobs: dict[str, Job] = field(default_factory=dict)
    job_ids: list[str] = field(default_factory=list)
    """Sorted, for pages."""
    unfinished: dict[str, Job] = field(default_factory=dict)
    islands: dict[str, Island] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    tokens: dict[str, AccessToken] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], Artifact] = field(default_factory=dict)
    secrets: dict[tuple[str, str], bytes] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    """The event with sequence number n is at n - 1."""
    ticks: dict[str, dict[tuple[int, int], UsageTick]] = field(default_factory=dict)
    transactions: dict[str, Transaction] = field(default_factory=dict)
    balances: dict[tuple[str, str], int] = field(default_factory=dict)
    progress: dict[str, list[ProgressRow]] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


class MemoryStore:
    """One handle on a shelf."""

    def __init__(self, shelf: Shelf | None = None, *, checks: bool = True) -> None:
        self.shelf = Shelf() if shelf is None else shelf
        self.before_commit: CommitHook | None = None
        self.after_commit: CommitHook | None = None
        self._checks = checks
        self._closed = False

    def lose(self) -> None:
        """Lose the leadership as a broken session does: another may take it from now on."""
        with self.shelf.lock:
            if self.shelf.leader is self:
                self.shelf.leader = None

    def lead(self) -> int | None:
        """Take the leadership unless another handle holds it."""
        with self._open() as shelf:
            if shelf.leader is not None and shelf.leader is not self:
                return None
            shelf.leader = self
            shelf.epoch += 1
            return shelf.epoch

    def leading(self) -> bool:
        """Say whether this handle holds the leadership."""
        return self.shelf.leader is self

    def load(self) -> Image:
        """Return the image; its values are the stored ones themselves."""
        with self._open() as shelf:
            jobs = dict(shelf.unfinished)
            for job in shelf.unfinished.values():
                if job.group and job.group in shelf.jobs:
                    jobs[job.group] = shelf.jobs[job.group]
            return Image(
                jobs=jobs,
                islands=dict(shelf.islands),
                tenants=dict(shelf.tenants),
                tokens=dict(shelf.tokens),
                secrets=dict(shelf.secrets),
                next_event=len(shelf.events) + 1,
            )

    def commit(self, epoch: int, batch: Batch) -> None:
        """Write the batch whole, or raise with nothing written (but see `after_commit`)."""
        with self._open() as shelf:
            if self.before_commit is not None:
                self.before_commit(batch)
            if epoch != shelf.epoch:
                raise Conflict(f"epoch {epoch} is over; the current one is {shelf.epoch}")
            _refuse(shelf, batch)
            if self._checks:
                rows.replaced(batch)
                rows.appended(batch, 0)
            _apply(shelf, batch)
            if self.after_commit is not None:
                self.after_commit(batch)

    def key(self, tenant: str, key: str) -> tuple[str, str] | None:
        """Return (request digest, result) of an idempotency key."""
        with self._open() as shelf:
            return shelf.keys.get((tenant, key))

    def keys(self, tenant: str, keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return (request digest, result) of those keys that were used."""
        with self._open() as shelf:
            found = {key: shelf.keys.get((tenant, key)) for key in keys}
        return {key: known for key, known in found.items() if known is not None}

    def job(self, job: str) -> Job | None:
        """Return a job, finished or not."""
        with self._open() as shelf:
            return shelf.jobs.get(job)

    def jobs(
        self,
        *,
        tenant: str | None,
        states: Sequence[str] = (),
        group: str | None = None,
        before: str = "",
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, newest first, with ids below `before`."""
        with self._open() as shelf:
            end = bisect_left(shelf.job_ids, before) if before else len(shelf.job_ids)
            page: list[Job] = []
            for place in range(end - 1, -1, -1):
                if len(page) >= limit:
                    break
                job = shelf.jobs[shelf.job_ids[place]]
                if (
                    (tenant is None or job.tenant == tenant)
                    and (not states or job.state in states)
                    and (group is None or job.group == group)
                ):
                    page.append(job)
            return page

    def job_counts(self, tenant: str | None) -> Mapping[str, int]:
        """Return how many jobs are in each state."""
        with self._open() as shelf:
            jobs = shelf.jobs.values()
            return Counter(j.state.value for j in jobs if tenant is None or j.tenant == tenant)

    def events(
        self,
        *,
        after: int = 0,
        subject: str = "",
        tenant: str | None = None,
        newest: bool = False,
        limit: int = 500,
    ) -> list[Event]:
        """Return events with `seq > after`, oldest first (newest first when asked)."""
        with self._open() as shelf:
            places = range(max(after, 0), len(shelf.events))
            found: list[Event] = []
            for place in reversed(places) if newest else places:
                if len(found) >= limit:
                    break
                event = shelf.events[place]
                if (not subject or event.subject == subject) and (
                    tenant is None or event.tenant == tenant
                ):
                    found.append(event)
            return found

    def progress(self, job: str, *, limit: int = 5000) -> list[ProgressRow]:
        """Return a job's progress in the order of arrival, thinned evenly to the limit."""
        with self._open() as shelf:
            points = shelf.progress.get(job, [])
            total = len(points)
            return [p for rank, p in enumerate(points) if rows.picked(rank, total, limit)]

    def ticks(self, job: str) -> list[UsageTick]:
        """Return a job's accepted usage ticks in order."""
        with self._open() as shelf:
            ticks = shelf.ticks.get(job, {})
            return [ticks[place] for place in sorted(ticks)]

    def transactions(
        self, *, subject: str = "", party: str = "", after: str = "", limit: int = 1000
    ) -> list[Transaction]:
        """Return journal transactions in id order."""
        with self._open() as shelf:
            found = (
                t
                for t in shelf.transactions.values()
                if t.id > after
                and (not subject or t.subject == subject)
                and (not party or any(rows.party_of(e.account) == party for e in t.entries))
            )
            return sorted(found, key=lambda transaction: transaction.id)[:limit]

    def balances(self) -> Mapping[tuple[str, str], int]:
        """Return the sum of entries in micro-units by (account, currency)."""
        with self._open() as shelf:
            return dict(shelf.balances)

    def artifact(self, tenant: str, artifact: str) -> Artifact | None:
        """Return one artefact of a tenant by id, or the newest by library name."""
        with self._open() as shelf:
            exact = shelf.artifacts.get((tenant, artifact))
            if exact is not None or not artifact:
                return exact
            mine = (a for a in shelf.artifacts.values() if a.tenant == tenant)
            named = [a for a in mine if a.name == artifact]
            return max(named, key=lambda a: (a.made_ms, a.id), default=None)

    def artifacts(
        self, *, tenant: str | None, kind: str = "", job: str = "", limit: int = 100
    ) -> list[Artifact]:
        """Return artefacts, newest first."""
        with self._open() as shelf:
            found = (
                a
                for a in shelf.artifacts.values()
                if (tenant is None or a.tenant == tenant)
                and (not kind or a.kind == kind)
                and (not job or a.job == job)
            )
            return sorted(found, key=_age, reverse=True)[:limit]

    def close(self) -> None:
        """Let go of the leadership; the shelf stays."""
        self.lose()
        self._closed = True

    def _open(self) -> _Held:
        if self._closed:
            raise Unavailable("the store is closed")
        return _Held(self.shelf)


@dataclass(slots=True)
class _Held:
    """The shelf under its lock."""

    shelf: Shelf

    def __enter__(self) -> Shelf:
        self.shelf.lock.acquire()
        return self.shelf

    def __exit__(self, *_: object) -> None:
        self.shelf.lock.release()


def _age(artifact: Artifact) -> tuple[int, str, str]:
    return artifact.made_ms, artifact.id, artifact.tenant


def _refuse(shelf: Shelf, batch: Batch) -> None:
    """Raise `Conflict` for what may be written only once and is there already."""
    problem = rows.gap(batch, len(shelf.events))
    if problem:
        raise Conflict(problem, hint="another control plane may have written; load again")
    ticks = [(tick.job, tick.fence, tick.seq) for tick in batch.ticks]
    known_ticks = any((f, s) in shelf.ticks.get(job, ()) for job, f, s in ticks)
    if known_ticks or len(set(ticks)) < len(ticks):
        raise Conflict("a usage tick of the batch was written before")
    ids = [transaction.id for transaction in batch.transactions]
    if len(set(ids)) < len(ids) or not shelf.transactions.keys().isdisjoint(ids):
        raise Conflict("a journal transaction of the batch was written before")
    if not shelf.keys.keys().isdisjoint(batch.keys):
        raise Conflict("an idempotency key of the batch was used before")


def _apply(shelf: Shelf, batch: Batch) -> None:
    """Write everything; nothing in here can fail."""
    for job in batch.jobs.values():
        if job.id not in shelf.jobs:
            insort(shelf.job_ids, job.id)
        shelf.jobs[job.id] = job
        if job.state in TERMINAL:
            shelf.unfinished.pop(job.id, None)
        else:
            shelf.unfinished[job.id] = job
    shelf.islands.update(batch.islands)
    shelf.tenants.update(batch.tenants)
    shelf.tokens.update(batch.tokens)
    shelf.artifacts.update(batch.artifacts)
    for key, sealed in batch.secrets.items():
        if sealed is None:
            shelf.secrets.pop(key, None)
        else:
            shelf.secrets[key] = sealed
    shelf.events.extend(batch.events)
    for tick in batch.ticks:
        shelf.ticks.setdefault(tick.job, {})[(tick.fence, tick.seq)] = tick
    for transaction in batch.transactions:
        shelf.transactions[transaction.id] = transaction
        _post(shelf.balances, transaction)
    for point in batch.progress:
        shelf.progress.setdefault(point.job, []).append(point)
    shelf.keys.update(batch.keys)


def _post(balances: dict[tuple[str, str], int], transaction: Transaction) -> None:
    entries: Iterable[tuple[tuple[str, str], int]] = (
        ((entry.account, entry.currency), entry.micros) for entry in transaction.entries
    )
    for place, micros in entries:
        balances[place] = balances.get(place, 0) + micros
