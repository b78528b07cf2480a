"""The image in memory, with the indexes that make each decision cheap.

`State` holds frozen values only. A command works on a `Tx`, an overlay that sees its own writes; a
command that fails leaves no trace, one that succeeds is absorbed into the state and the store's
batch. Indexes (queue, holdings, dependants) change in `absorb` alone, so they cannot drift.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from causeway import schedule
from causeway.model.artifacts import Artifact
from causeway.model.errors import NotFound
from causeway.model.events import Event
from causeway.model.islands import Island
from causeway.model.jobs import HOLDS_LEASE, TERMINAL, Job, JobKind, JobState
from causeway.model.money import Transaction
from causeway.model.parties import AccessToken, Tenant
from causeway.model.resources import Capacity
from causeway.model.usage import UsageTick
from causeway.model.values import replace
from causeway.ports.store import Batch, Image, ProgressRow

RECENT_KEYS_MAX = 100_000
"""Far more keys than are used between a door's look-up and its command."""


@dataclass(slots=True)
class Session:
    """An agent's session; it lives in memory only and dies with this process."""

    island: str
    number: int
    seq: int = 0


@dataclass(slots=True)
class State:
    """Everything unfinished, and what follows from it."""

    jobs: dict[str, Job] = field(default_factory=dict)
    finished: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    islands: dict[str, Island] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    tokens: dict[str, AccessToken] = field(default_factory=dict)
    secrets: dict[tuple[str, str], bytes] = field(default_factory=dict)
    next_event: int = 1
    queue: dict[str, Hashable] = field(default_factory=dict)
    """QUEUED job -> its line; None for one that stands in no line."""
    lines: dict[Hashable, dict[str, None]] = field(default_factory=dict)
    """Shape -> queued jobs that no filter can tell apart, as they came: a round that has no room
    for the first ones has none for the others."""
    held: dict[str, dict[str, None]] = field(default_factory=dict)
    """Island -> ids of jobs whose current attempt holds capacity there."""
    rentals: dict[str, None] = field(default_factory=dict)
    """Ids of rentals whose current attempt holds capacity."""
    used: dict[str, Capacity] = field(default_factory=dict)
    """Pool -> what its held jobs take."""
    dependants: dict[str, dict[str, None]] = field(default_factory=dict)
    """Job -> pending jobs that wait for it."""
    open_members: dict[str, int] = field(default_factory=dict)
    """Group -> members that have not ended."""
    news: dict[str, int] = field(default_factory=dict)
    """Island -> counter that grows when its commands may have changed."""
    sessions: dict[str, Session] = field(default_factory=dict)
    """SHA-256 of a session token -> session."""
    session_of: dict[str, str] = field(default_factory=dict)
    """Island -> key of its session."""
    probes: dict[str, str] | None = None
    """Island -> probe address, in the order of names; worked out again after a join."""
    nonces: dict[str, dict[str, int]] = field(default_factory=dict)
    """Island -> nonces of the sessions that it opened lately -> when."""
    dirty: bool = True
    """Whether a scheduling round could decide something new."""
    touched: set[str] = field(default_factory=set)
    """Islands whose counter grew since the service last looked."""
    finished_kept: int = 2_000
    recent_keys: OrderedDict[tuple[str, str], tuple[str, str]] = field(default_factory=OrderedDict)
    """Idempotency keys used since this state was loaded, newest last. A door looks a key up before
    its command runs; between the two another request may have used the same key."""

    @classmethod
    def of(cls, image: Image, *, finished_kept: int = 2_000) -> State:
        """Build the state, with all its indexes, from what the store holds."""
        state = cls(
            islands=dict(image.islands),
            tenants=dict(image.tenants),
            tokens=dict(image.tokens),
            secrets=dict(image.secrets),
            next_event=image.next_event,
            finished_kept=finished_kept,
        )
        for job in image.jobs.values():
            state._set_job(job)
        return state

    def job(self, job_id: str) -> Job | None:
        """Return a job that is in memory."""
        return self.jobs.get(job_id) or self.finished.get(job_id)

    def absorb(self, tx: Tx) -> None:
        """Take over everything that a successful command changed."""
        for job in tx.jobs.values():
            self._set_job(job)
        for island in tx.islands.values():
            self.islands[island.id] = island
            self._tell(island.id)
            self.dirty = True
        self.tenants.update(tx.tenants)
        self.tokens.update(tx.tokens)
        self.recent_keys.update(tx.keys)
        while len(self.recent_keys) > RECENT_KEYS_MAX:
            self.recent_keys.popitem(last=False)
        for key, value in tx.secrets.items():
            if value is None:
                self.secrets.pop(key, None)
            else:
                self.secrets[key] = value

    def shift_leases(self, step_ms: int) -> None:
        """Move every lease along with a wall clock that was set by that much."""
        for island in list(self.islands.values()):
            self.islands[island.id] = replace(
                island,
                heard_ms=island.heard_ms + step_ms,
                lease_until_ms=island.lease_until_ms + step_ms,
            )

    def _set_job(self, job: Job) -> None:
        old = self.jobs.get(job.id)
        if old is not None:
            self._unindex(old)
        if job.state in TERMINAL:
            self.jobs.pop(job.id, None)
            self.finished[job.id] = job
            if len(self.finished) > self.finished_kept:
                self.finished.popitem(last=False)
            if job.group and old is not None:
                self.open_members[job.group] = self.open_members.get(job.group, 1) - 1
            self.dirty = True
            return
        if old is None and job.group:
            self.open_members[job.group] = self.open_members.get(job.group, 0) + 1
        self.jobs[job.id] = job
        self._index(job)

    def _tell(self, island: str) -> None:
        self.news[island] = self.news.get(island, 0) + 1
        self.touched.add(island)

    def _index(self, job: Job) -> None:
        if job.state is JobState.QUEUED:
            line = _line_of(job)
            self.queue[job.id] = line
            if line is not None:
                self.lines.setdefault(line, {})[job.id] = None
            self.dirty = True
        elif job.state in HOLDS_LEASE:
            attempt = job.attempts[-1]
            self.held.setdefault(attempt.island, {})[job.id] = None
            taken = self.used.get(attempt.pool, Capacity())
            self.used[attempt.pool] = taken.plus(job.spec.resources, job.spec.num_nodes)
            if job.spec.rental is not None:
                self.rentals[job.id] = None
            self._tell(attempt.island)
        elif job.state is JobState.PENDING and job.spec.kind is not JobKind.GROUP:
            for needed in job.spec.depends_on:
                self.dependants.setdefault(needed, {})[job.id] = None

    def _unindex(self, job: Job) -> None:
        line = self.queue.pop(job.id, None)
        if line is not None:
            del self.lines[line][job.id]
            if not self.lines[line]:
                del self.lines[line]
        if job.state in HOLDS_LEASE:
            attempt = job.attempts[-1]
            self.held.get(attempt.island, {}).pop(job.id, None)
            taken = self.used.get(attempt.pool, Capacity())
            self.used[attempt.pool] = taken.less(job.spec.resources, job.spec.num_nodes)
            self.rentals.pop(job.id, None)
            self._tell(attempt.island)
            self.dirty = True
        elif job.state is JobState.PENDING:
            for needed in job.spec.depends_on:
                waiting = self.dependants.get(needed)
                if waiting is not None:
                    waiting.pop(job.id, None)
                    if not waiting:
                        del self.dependants[needed]


def _line_of(job: Job) -> Hashable:
    """Return the line in which a job queues, or None: one that was tried or woken before differs
    from the others, and has no place in the order in which they came."""
    if job.attempts or job.not_before_ms or job.queued_ms != job.submitted_ms:
        return None
    line = schedule.line_of(job.tenant, job.spec)
    # Members that wait for their own array's limit, or for islands without their siblings, cannot
    # stand for jobs that these do not hold up.
    return (job.group, line) if job.at_once or job.spec.islands > 1 else line


@dataclass(init=False, slots=True, eq=False)
class Tx:
    """One command's view: the state underneath, its own writes on top."""

    state: State
    now_ms: int
    stored_artifact: Callable[[str, str], Artifact | None]
    """Looks up (tenant, id) among the artefacts that are durable already."""
    stored_job: Callable[[str], Job | None]
    """Looks up a job that ended so long ago that it is no longer in memory."""
    jobs: dict[str, Job]
    islands: dict[str, Island]
    tenants: dict[str, Tenant]
    tokens: dict[str, AccessToken]
    artifacts: dict[tuple[str, str], Artifact]
    secrets: dict[tuple[str, str], bytes | None]
    facts: list[tuple[str, str, str, Mapping[str, object]]]
    ticks: list[UsageTick]
    transactions: list[Transaction]
    progress: list[ProgressRow]
    keys: dict[tuple[str, str], tuple[str, str]]
    after: list[Callable[[State], None]]
    """Changes of memory alone, made once the transaction is durable."""
    undo: list[Callable[[], None]]
    """Takes back changes of memory that outlives the state (sessions), when it is certain that
    nothing was written: the command failed, or has to run again."""
    first_event: int
    """Sequence number that the first fact of this command gets."""

    def __init__(
        self,
        state: State,
        now_ms: int,
        stored_artifact: Callable[[str, str], Artifact | None],
        stored_job: Callable[[str], Job | None],
        first_event: int,
    ) -> None:
        # Written out: one is made for every command, and thirteen default factories cost more
        # than most commands do.
        self.state = state
        self.now_ms = now_ms
        self.stored_artifact = stored_artifact
        self.stored_job = stored_job
        self.jobs, self.islands, self.tenants, self.tokens = {}, {}, {}, {}
        self.artifacts, self.secrets, self.keys = {}, {}, {}
        self.facts, self.ticks, self.transactions, self.progress = [], [], [], []
        self.after, self.undo = [], []
        self.first_event = first_event

    @property
    def next_event(self) -> int:
        """Sequence number of the fact that is told next."""
        return self.first_event + len(self.facts)

    def job(self, job_id: str) -> Job | None:
        """Return a job as this command sees it, or None when it is not in memory."""
        return self.jobs.get(job_id) or self.state.job(job_id)

    def island(self, island_id: str) -> Island:
        """Return an island as this command sees it, or raise `NotFound`."""
        found = self.islands.get(island_id) or self.state.islands.get(island_id)
        if found is None:
            raise NotFound(f"there is no island {island_id}", hint="causeway islands")
        return found

    def tenant(self, name: str) -> Tenant:
        """Return a tenant, or raise `NotFound`."""
        found = self.tenants.get(name) or self.state.tenants.get(name)
        if found is None:
            raise NotFound(f"there is no project {name!r}")
        return found

    def put_job(self, job: Job, fact: str = "", **data: object) -> Job:
        """Write a job and, when `fact` is given, the event that says what happened to it."""
        self.jobs[job.id] = job
        if fact:
            self.facts.append((fact, job.id, job.tenant, data))
        return job

    def put_island(self, island: Island, fact: str = "", **data: object) -> Island:
        """Write an island and the event that says what happened to it."""
        self.islands[island.id] = island
        if fact:
            self.facts.append((fact, island.id, "", data))
        return island

    def fact(self, kind: str, subject: str, *, tenant: str = "", **data: object) -> None:
        """Append an event that comes with no change of a job or an island."""
        self.facts.append((kind, subject, tenant, data))

    def held_on(self, island_id: str) -> list[Job]:
        """Return the jobs that hold capacity on the island, as this command sees them."""
        ids = dict(self.state.held.get(island_id, {}))
        for job in self.jobs.values():
            ids.setdefault(job.id, None)
        found = (self.job(job_id) for job_id in ids)
        return [
            job
            for job in found
            if job is not None and job.state in HOLDS_LEASE and job.attempts[-1].island == island_id
        ]

    def __bool__(self) -> bool:
        """Say whether the command wrote anything."""
        return bool(
            self.jobs
            or self.islands
            or self.tenants
            or self.tokens
            or self.artifacts
            or self.secrets
            or self.facts
            or self.ticks
            or self.transactions
            or self.progress
            or self.keys
        )


def merge(batch: Batch, tx: Tx, next_event: int) -> int:
    """Add a command's writes to the batch, numbering its events. Return the next free number."""
    batch.jobs.update(tx.jobs)
    batch.islands.update(tx.islands)
    batch.tenants.update(tx.tenants)
    batch.tokens.update(tx.tokens)
    batch.artifacts.update(tx.artifacts)
    batch.secrets.update(tx.secrets)
    batch.ticks.extend(tx.ticks)
    batch.transactions.extend(tx.transactions)
    batch.progress.extend(tx.progress)
    batch.keys.update(tx.keys)
    for kind, subject, tenant, data in tx.facts:
        batch.events.append(
            Event(
                seq=next_event,
                at_ms=tx.now_ms,
                kind=kind,
                subject=subject,
                tenant=tenant,
                data=data,
            )
        )
        next_event += 1
    return next_event


def heard(state: State, island_id: str, *, now_ms: int, lease_ms: int) -> None:
    """Renew an island's lease in memory.

    This is the one change that is not written to the store: after a restart every lease is taken
    to have been renewed at that moment, which only ever errs towards waiting longer.
    """
    island = state.islands[island_id]
    state.islands[island_id] = replace(island, heard_ms=now_ms, lease_until_ms=now_ms + lease_ms)
