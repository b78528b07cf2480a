"""The witness: sees every durable write at the moment it is made, and knows who made it.

A room or the control plane may be wrong, and its own books with it. The witness keeps books of its
own from nothing but what reached the store and from which island's message it came, so a guard
that is missing shows in the very transaction that it should have stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from causeway import law
from causeway.model.events import Event
from causeway.model.islands import Inventory
from causeway.model.jobs import (
    HOLDS_LEASE,
    TERMINAL,
    Attempt,
    AttemptState,
    Job,
    JobKind,
    JobState,
)
from causeway.model.money import Transaction
from causeway.model.protocol import AttemptReport
from causeway.model.resources import Capacity
from causeway.ports.store import Batch
from causeway.price import recompute

Key = tuple[str, int]
"""(job, fence)."""
NEEDS_REASONS = HOLDS_LEASE | {JobState.FAILED}
"""States that are somebody's decision."""


class Violation(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What the witness knows of an island from outside the control plane."""

    jurisdiction: str
    capacity: Capacity

    @classmethod
    def of(cls, jurisdiction: str, inventory: Inventory) -> Place:
        """Return the place of an island that was made so."""
        return cls(jurisdiction=jurisdiction, capacity=inventory.capacity)


def _silent(job: Job, attempt: Attempt) -> None:
    """Nobody asks to hear of it."""


@dataclass(slots=True)
class Witness:
    """Books of what is durable, kept from the transactions alone."""

    places: Mapping[str, Place]
    """Island -> what it really is."""
    quotas: Mapping[str, int]
    """Tenant -> most devices, borrowing included."""
    rules: law.Rules
    now_ms: Callable[[], int]
    writer: str = ""
    """The island whose message is being handled; empty: none."""
    jobs: dict[str, Job] = field(default_factory=dict)
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Job -> jobs that it was submitted as needing."""
    cancelled: set[str] = field(default_factory=set)
    """Jobs whose cancellation was confirmed before they ended."""
    given_up: Callable[[Job, Attempt], None] = _silent
    """Called when an attempt is declared lost."""
    moved: Callable[[Job], None] = lambda job: None
    """Called when a job comes into another state."""
    stale_tried: int = 0
    """Writes under a fence that the writer does not hold."""
    writes: int = 0
    """Writes under a fence that the writer holds."""
    paid: Counter[Key] = field(default_factory=Counter)
    """Attempt -> micro-units that were posted for it."""
    _held: dict[str, tuple[str, str, int, Capacity]] = field(default_factory=dict)
    _devices: Counter[str] = field(default_factory=Counter)
    _taken: dict[str, Capacity] = field(default_factory=dict)
    _mute: set[str] = field(default_factory=set)
    """Jobs of which the message at hand speaks without holding their fence."""
    _placed_lawfully: set[tuple[object, str]] = field(default_factory=set)

    # -- who writes ---------------------------------------------------------------------------

    def may_write(self, island: str, job: str, fence: int) -> bool:
        """Say whether the island holds this fence as far as the store says."""
        known = self.jobs.get(job)
        current = known.current if known is not None else None
        return current is not None and (current.island, current.fence) == (island, fence)

    def says(self, island: str, reports: tuple[AttemptReport, ...]) -> None:
        """An island's sync is about to be handled: note the writes that must be refused."""
        rightful = set()
        for report in reports:
            if self.may_write(island, report.job, report.fence):
                rightful.add(report.job)
                continue
            self._mute.add(report.job)
            writes = report.ticks or report.progress or report.final or report.checkpoint
            self.stale_tried += bool(writes)
        # Where both the holder and an older attempt report, their words cannot be told apart here.
        self._mute -= rightful

    def hears_nobody(self) -> None:
        """The island's message was handled."""
        self.writer = ""
        self._mute.clear()

    def brings(self, island: str, job: str, fence: int) -> bool:
        """An island brings an artefact; say whether it may."""
        may = self.may_write(island, job, fence)
        self.stale_tried += not may
        return may

    # -- a transaction ------------------------------------------------------------------------

    def before(self, batch: Batch, known: Mapping[str, Mapping[tuple[int, int], object]]) -> None:
        """A transaction of the leader is about to be written: it may not repeat what was."""
        seen: set[tuple[str, int, int]] = set()
        for tick in batch.ticks:
            place = (tick.job, tick.fence, tick.seq)
            if place in seen or place[1:] in known.get(tick.job, ()):
                raise Violation("usage once", f"tick {tick.seq} of {tick.job} is booked twice")
            seen.add(place)

    def after(self, batch: Batch) -> None:
        """A transaction was written."""
        self._written_by_holder(batch)
        for event in batch.events:
            self._told(event)
        for transaction in batch.transactions:
            self._posted(transaction)
        for job in batch.jobs.values():
            self._job(job)
        if batch.jobs:
            self._within_bounds()

    def _written_by_holder(self, batch: Batch) -> None:
        """Ticks, progress and artefacts come only from the island that holds the fence now."""
        written: list[tuple[str, int, str]] = [(t.job, t.fence, "usage") for t in batch.ticks]
        written += [(p.job, p.fence, "progress") for p in batch.progress]
        # A model is registered when the job ends: the artefact itself was brought before.
        written += [
            (a.job, a.fence, a.kind)
            for a in batch.artifacts.values()
            if a.job and a.fence and a.kind != "model"
        ]
        for job, fence, what in written:
            muted = job in self._mute and what in ("usage", "progress")
            if muted or not self.may_write(self.writer, job, fence):
                holder = self.jobs[job].current if job in self.jobs else None
                raise Violation(
                    "one writer",
                    f"{what} of {job} under fence {fence} was taken from "
                    f"{self.writer or 'nobody'}; {holder and (holder.island, holder.fence)} holds",
                )
        self.writes += len(written)

    def _told(self, event: Event) -> None:
        """Decisions are told with their reasons."""
        if event.kind == "job.placed" and not event.data["reason"]:
            raise Violation("reasons", f"{event.subject} was placed without a reason")
        if event.kind == "job.failed" and not event.data["why"]:
            raise Violation("reasons", f"{event.subject} failed without a reason")
        if event.kind == "job.stopping" and "why" in event.data and not event.data["why"]:
            raise Violation("reasons", f"{event.subject} is stopped without a reason")

    def _posted(self, transaction: Transaction) -> None:
        """A transaction sums to zero, can be computed again, and goes on where the last ended."""
        rest = sum(entry.micros for entry in transaction.entries)
        if rest:
            raise Violation("journal balances", f"{transaction.id} is off by {rest}")
        debit = sum(e.micros for e in transaction.entries if e.account[:11] == "receivable:")
        if recompute(transaction) != debit:
            raise Violation("journal balances", f"{transaction.id} cannot be computed again")
        attempt = (transaction.subject, int(transaction.evidence["fence"]))
        already = self.paid[attempt]
        if transaction.evidence["already_micros"] != already:
            raise Violation("journal balances", f"{transaction.id} forgets that {already} was paid")
        self.paid[attempt] += debit

    # -- one job --------------------------------------------------------------------------------

    def _job(self, job: Job) -> None:
        old = self.jobs.get(job.id)
        if old is None:
            self.needs[job.id] = job.spec.depends_on
        else:
            self._ends_once(old, job)
            self._attempts_kept(old, job)
        if job.state in NEEDS_REASONS and job.spec.kind is not JobKind.GROUP and not job.reasons:
            raise Violation("reasons", f"{job.id} is {job.state.value} without a reason")
        if old is None or job.fence != old.fence:
            self._placed(old, job)
        elif job.attempts:
            self._holder_changed(old, job)
        self.jobs[job.id] = job
        self._count(job)
        if old is None or old.state is not job.state:
            self.moved(job)

    def _ends_once(self, old: Job, job: Job) -> None:
        if old.state in TERMINAL:
            raise Violation("ends once", f"{job.id} changed after it {old.state.value}")
        # What ends by itself before the stop reaches it has ended well; nothing else may happen.
        if job.id in self.cancelled and job.state in (JobState.FAILED, JobState.QUEUED):
            raise Violation("cancel holds", f"{job.id} is {job.state.value} after its cancel")

    def _attempts_kept(self, old: Job, job: Job) -> None:
        """Past attempts never change: an older fence writes nothing. The oldest may be dropped."""
        kept = [attempt.fence for attempt in job.attempts]
        if job.fence < old.fence or (old.attempts and kept[-1] < old.attempts[-1].fence):
            raise Violation("fences grow", f"{job.id} went from fence {old.fence} to {job.fence}")
        if any(later != one + 1 for one, later in pairwise(kept)):
            raise Violation("fences grow", f"{job.id} has attempts {kept}")
        past = {a.fence: a for a in old.attempts if a is not old.current}
        if any(past.get(a.fence, a) is not a for a in job.attempts):
            raise Violation("one writer", f"a past attempt of {job.id} was changed")

    def _placed(self, old: Job | None, job: Job) -> None:
        """A new fence: the next number, one at a time, where the law and the needs allow it."""
        attempt = job.current
        if job.fence == 0:
            return
        if attempt is None or old is None or attempt.fence != job.fence:
            raise Violation("fences grow", f"{job.id} has fence {job.fence} without an attempt")
        if job.fence != old.fence + 1 or old.current is not None:
            raise Violation(
                "fences grow", f"{job.id} went to fence {job.fence} while {old.fence} was open"
            )
        if not attempt.reasons:
            raise Violation("reasons", f"{job.id} was placed without a reason")
        unmet = [n for n in self.needs[job.id] if self.jobs[n].state is not JobState.SUCCEEDED]
        if unmet:
            raise Violation("order of a DAG", f"{job.id} was placed before {unmet[0]} succeeded")
        self._lawful(job, attempt)

    def _lawful(self, job: Job, attempt: Attempt) -> None:
        pair = (job.spec.data, attempt.island)
        if pair in self._placed_lawfully:
            return
        place = law.Place(jurisdiction=self.places[attempt.island].jurisdiction)
        said = law.verdict(job.spec.data, place=place, rules=self.rules, now_ms=self.now_ms())
        if isinstance(said, law.Denied):
            raise Violation("law", f"{job.id} was placed in {place.jurisdiction}: {said.rule}")
        self._placed_lawfully.add(pair)

    def _holder_changed(self, old: Job, job: Job) -> None:
        """Only the holder of the newest fence may change what its attempt did and how it ended;
        only the centre may give it up, and then nothing of it may run any more."""
        before, after = old.attempts[-1], job.attempts[-1]
        if after is before:
            if job.checkpoint is not old.checkpoint:
                self._by_holder(job, after, "checkpoint")
            return
        if after.state is AttemptState.LOST:
            self.given_up(job, after)
        elif before.state is AttemptState.LEASED and after.state is AttemptState.STOPPED:
            # Nobody reports what was stopped before it began.
            return
        elif before.state is not after.state:
            self._by_holder(job, after, f"state {after.state.value}")
        said = (after.usage, after.last_step, after.exit_code, job.checkpoint)
        if said != (before.usage, before.last_step, before.exit_code, old.checkpoint):
            self._by_holder(job, after, "usage, progress or end")

    def _by_holder(self, job: Job, attempt: Attempt, what: str) -> None:
        if self.writer != attempt.island or (job.id in self._mute and what != "checkpoint"):
            raise Violation(
                "one writer",
                f"{what} of {job.id} under fence {attempt.fence} came from "
                f"{self.writer or 'nobody'} and not from {attempt.island}",
            )

    # -- sums -----------------------------------------------------------------------------------

    def _count(self, job: Job) -> None:
        old = self._held.pop(job.id, None)
        if old is not None:
            tenant, island, devices, _ = old
            self._devices[tenant] -= devices
            self._taken.pop(island, None)
        if job.state in HOLDS_LEASE:
            attempt = job.attempts[-1]
            need = Capacity().plus(job.spec.resources, job.spec.num_nodes)
            self._held[job.id] = (job.tenant, attempt.island, attempt.devices, need)
            self._devices[job.tenant] += attempt.devices
            self._taken.pop(attempt.island, None)

    def _within_bounds(self) -> None:
        """No tenant holds more than quota and loan; what is leased on an island fits into it."""
        for tenant, most in self.quotas.items():
            if self._devices[tenant] > most:
                raise Violation(
                    "quota", f"{tenant} holds {self._devices[tenant]} devices of {most}"
                )
        for island, place in self.places.items():
            if island in self._taken:
                continue
            needs = [need for _, where, _, need in self._held.values() if where == island]
            taken = Capacity(
                cpu_milli=sum(n.cpu_milli for n in needs),
                memory_bytes=sum(n.memory_bytes for n in needs),
                disk_bytes=sum(n.disk_bytes for n in needs),
            )
            self._taken[island] = taken
            has = place.capacity
            if (
                taken.cpu_milli > has.cpu_milli
                or taken.memory_bytes > has.memory_bytes
                or taken.disk_bytes > has.disk_bytes
            ):
                raise Violation("capacity", f"{island} has leased {taken} of {has}")
