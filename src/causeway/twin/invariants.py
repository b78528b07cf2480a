"""What must hold after every step, whatever went wrong.

Each check reads what is durable, what is in memory, and what really runs; a violation names the
invariant, the seed and the instant. `tests/twin/test_guards.py` breaks the guard of each one on
purpose and expects it to be caught.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from causeway.control.state import State
from causeway.model.jobs import HOLDS_LEASE, TERMINAL, Job, JobKind, JobState, OnDisconnect
from causeway.model.resources import Capacity
from causeway.ports.engine import Launch
from causeway.price import recompute
from causeway.twin.centre import Centre, Process
from causeway.twin.island import SimIsland

REBUILD_EVERY = 400
"""Compare the indexes in memory with freshly built ones every so many checks."""


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Invariants:
    """Watches one simulation."""

    centre: Centre
    islands: list[SimIsland]
    quotas: dict[str, int]
    """Tenant -> most devices, borrowing included."""
    acknowledged: set[str] = field(default_factory=set)
    """Jobs whose submission was confirmed."""
    checks: int = 0
    _events_seen: int = 0
    _money_seen: int = 0
    _ends: Counter[str] = field(default_factory=Counter)
    _fences: dict[str, int] = field(default_factory=dict)

    def after_step(self, process: Process) -> None:
        """Check everything that is cheap, on what changed."""
        self.checks += 1
        self.no_job_lost()
        self.ends_once_and_fences_grow()
        self.journal_balances()
        if process.plane.leading and process is self.centre.newest:
            self.quota_kept(process.plane.state)
            self.nothing_overcommitted(process.plane.state)
            if self.checks % REBUILD_EVERY == 0:
                self.indexes_true(process.plane)

    def no_job_lost(self) -> None:
        """Whatever was acknowledged is in the store."""
        missing = self.acknowledged - self.centre.shelf.jobs.keys()
        if missing:
            raise Violation(f"no job lost: acknowledged but not stored: {sorted(missing)[:3]}")

    def started(self, island: SimIsland, launch: Launch) -> None:
        """At most one island runs a job at a time. A person who declares an island lost vouches
        that it is off; what an island that lies really runs nobody can know, so of such a one only
        the weaker promise holds: nothing it writes under an old fence is accepted."""
        for other in self.islands:
            if other is not island and not other.lied and launch.job in other.live_jobs():
                raise Violation(
                    f"one holder: {launch.job} starts on {island.profile.name} under fence "
                    f"{launch.fence} while it runs on {other.profile.name}"
                )

    def ends_once_and_fences_grow(self) -> None:
        """A job ends once; fences only grow; every placement and failure has its reasons."""
        events = self.centre.shelf.events
        for event in events[self._events_seen :]:
            if event.kind in ("job.succeeded", "job.failed", "job.cancelled"):
                self._ends[event.subject] += 1
                if self._ends[event.subject] > 1:
                    raise Violation(f"ends once: {event.subject} ended twice ({event.kind})")
            elif self._ends[event.subject] and event.kind.startswith(("job.", "attempt.")):
                raise Violation(f"ends once: {event.kind} of {event.subject} after its end")
            if event.kind == "job.placed":
                fence = event.data["fence"]
                assert isinstance(fence, int)
                if fence <= self._fences.get(event.subject, 0):
                    raise Violation(f"fences grow: {event.subject} was given fence {fence} again")
                self._fences[event.subject] = fence
                if not event.data["reason"]:
                    raise Violation(f"reasons: {event.subject} was placed without a reason")
            if event.kind == "job.failed" and not event.data["why"]:
                raise Violation(f"reasons: {event.subject} failed without a reason")
        self._events_seen = len(events)

    def journal_balances(self) -> None:
        """Each transaction sums to zero and can be computed again from its own evidence."""
        shelf = self.centre.shelf
        if len(shelf.transactions) == self._money_seen:
            return
        fresh = list(shelf.transactions.values())[self._money_seen :]
        self._money_seen = len(shelf.transactions)
        for transaction in fresh:
            rest = sum(entry.micros for entry in transaction.entries)
            if rest:
                raise Violation(f"journal balances: {transaction.id} is off by {rest}")
            debit = sum(
                entry.micros
                for entry in transaction.entries
                if entry.account.startswith("receivable:")
            )
            if recompute(transaction) != debit:
                raise Violation(f"journal balances: {transaction.id} cannot be computed again")

    def quota_kept(self, state: State) -> None:
        """No tenant holds more devices than its quota and what it may borrow."""
        held: Counter[str] = Counter()
        for job in _held(state):
            held[job.tenant] += job.attempts[-1].devices
        for tenant, most in self.quotas.items():
            if held[tenant] > most:
                raise Violation(f"quota: {tenant} holds {held[tenant]} devices of {most}")

    def nothing_overcommitted(self, state: State) -> None:
        """What is leased on an island fits into it."""
        used: dict[str, Capacity] = {}
        for job in _held(state):
            island = job.attempts[-1].island
            taken = used.get(island, Capacity())
            used[island] = taken.plus(job.spec.resources, job.spec.num_nodes)
        for island_id, taken in used.items():
            inventory = state.islands[island_id].inventory
            if inventory is None or taken.cpu_milli > inventory.capacity.cpu_milli:
                raise Violation(f"capacity: {island_id} has leased {taken}")

    def indexes_true(self, plane: object) -> None:
        """The indexes in memory are what the store would give."""
        from causeway.control.plane import Plane

        assert isinstance(plane, Plane)
        live, fresh = plane.state, State.of(plane.store.load())
        for name in ("queue", "dependants", "open_members"):
            mine = {k: v for k, v in getattr(live, name).items() if v or name == "queue"}
            theirs = {k: v for k, v in getattr(fresh, name).items() if v or name == "queue"}
            if mine != theirs:
                raise Violation(f"indexes: {name} is {mine}, and should be {theirs}")
        if {k: set(v) for k, v in live.held.items() if v} != {
            k: set(v) for k, v in fresh.held.items() if v
        }:
            raise Violation("indexes: held differs from the store")
        empty = Capacity()
        if {k: v for k, v in live.used.items() if v != empty} != {
            k: v for k, v in fresh.used.items() if v != empty
        }:
            raise Violation("indexes: used capacity differs from the store")

    def at_the_end(self) -> None:
        """Every job has ended, waiting ones had reasons, usage is possible and paid for."""
        for job_id in self.acknowledged:
            job = self.centre.shelf.jobs[job_id]
            if job.state not in TERMINAL:
                reasons = "; ".join(reason.message for reason in job.reasons)
                raise Violation(f"every job ends: {job_id} is {job.state.value} ({reasons})")
            self._usage_possible(job)
        balances = sum(self.centre.shelf.balances.values())
        if balances:
            raise Violation(f"journal balances: all accounts sum to {balances}")

    def _usage_possible(self, job: Job) -> None:
        slack_ms = self.centre.settings.skew_ms
        for attempt in job.attempts:
            span_ms = attempt.ended_ms - attempt.leased_ms + slack_ms
            if attempt.usage.device_ms > span_ms * attempt.devices:
                raise Violation(
                    f"usage: attempt {attempt.fence} of {job.id} used {attempt.usage.device_ms} "
                    f"device-ms in {span_ms} ms on {attempt.devices} devices"
                )
            ticks = self.centre.shelf.ticks.get(job.id, {})
            booked = sum(1 for fence, _ in ticks if fence == attempt.fence)
            if booked != attempt.usage.ticks:
                raise Violation(f"usage: attempt {attempt.fence} of {job.id} has {booked} ticks")


def _held(state: State) -> Iterable[Job]:
    for ids in state.held.values():
        for job_id in ids:
            job = state.jobs[job_id]
            if job.state in HOLDS_LEASE:
                yield job


def waits_with_reasons(state: State) -> None:
    """Every job that has waited through a round knows why."""
    for job_id in state.queue:
        job = state.jobs[job_id]
        if job.spec.kind is not JobKind.GROUP and not job.reasons:
            raise Violation(f"reasons: {job_id} waits without a reason")


def waits_for_island(job: Job) -> bool:
    """Say whether a job may stay where it is while its island is away."""
    return job.state is JobState.DISCONNECTED and job.spec.on_disconnect is OnDisconnect.WAIT
