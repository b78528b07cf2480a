"""What must hold after every step, whatever went wrong.

The witness watches each transaction as it is written (`witness.py`); here is what it cannot see:
what really runs at the islands, what the control plane keeps in memory, what was promised to
people, and how everything ended. A violation names the invariant and the instant.
`tests/twin/test_guards.py` breaks the guard of each one on purpose and expects it to be caught.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from causeway.control.plane import Plane
from causeway.control.state import State
from causeway.model.jobs import TERMINAL, Attempt, Job, JobKind, JobState
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.model.values import replace
from causeway.ports.engine import Launch
from causeway.twin.centre import Centre, Process
from causeway.twin.island import SimIsland
from causeway.twin.witness import Violation

REBUILD_EVERY = 400
"""Compare the indexes in memory with freshly built ones every so many checks."""


@dataclass(slots=True)
class Invariants:
    """Watches one simulation."""

    centre: Centre
    islands: list[SimIsland]
    acknowledged: set[str] = field(default_factory=set)
    """Jobs whose submission was confirmed."""
    checks: int = 0

    def after_step(self, process: Process) -> None:
        """Check the control plane's memory after it did something."""
        self.checks += 1
        plane = process.plane
        if plane.leading and process.store.leading():
            self.waits_with_reasons(plane.state)
            if self.checks % REBUILD_EVERY == 0:
                self.indexes_true(plane)

    # -- promises -----------------------------------------------------------------------------

    def accepted(self, jobs: Iterable[str]) -> None:
        """A submission was confirmed: it is in the store, now and for good."""
        self.acknowledged.update(jobs)
        missing = [job for job in jobs if job not in self.centre.shelf.jobs]
        if missing:
            raise Violation("no job lost", f"acknowledged but not stored: {missing[:3]}")

    def cancelled(self, job_id: str) -> None:
        """A cancellation was confirmed: whatever was open then may not run again."""
        job = self.centre.shelf.jobs[job_id]
        members = [job]
        if job.spec.kind is JobKind.GROUP:
            members = [j for j in self.centre.shelf.jobs.values() if j.group == job_id]
        for member in members:
            if member.state in TERMINAL:
                continue
            if member.state is not JobState.STOPPING:
                raise Violation("cancel holds", f"{member.id} is {member.state.value} after it")
            self.centre.witness.cancelled.add(member.id)

    def waits_with_reasons(self, state: State) -> None:
        """Every job that has waited through a round knows why. While the next round is due, only
        one that was promised room has surely been through the last."""
        for job_id in state.queue:
            job = state.jobs[job_id]
            if not job.reasons and (job.promised or not state.dirty):
                raise Violation("reasons", f"{job_id} waits without a reason")

    # -- what really runs ---------------------------------------------------------------------

    def started(self, island: SimIsland, launch: Launch) -> None:
        """At most one island runs a job at a time. A person who declares an island lost vouches
        that it is off; what an island that lies really runs nobody can know, so of such a one only
        the weaker promise holds: nothing it writes under an old fence is accepted. The same goes
        for one that hid this very attempt: told that it does not have it, the centre moved on."""
        if (launch.job, launch.fence) in island.liar.about:
            return
        for other in self.islands:
            if other is not island and not other.liar.told and other.engine.live(launch.job):
                raise Violation(
                    "one holder",
                    f"{launch.job} starts on {island.profile.name} under fence "
                    f"{launch.fence} while it runs on {other.profile.name}",
                )

    def given_up(self, job: Job, attempt: Attempt) -> None:
        """When the centre takes an attempt for lost, its processes are gone already."""
        island = self._island(attempt.island)
        run = island.engine.runs.get((job.id, attempt.fence))
        if run is not None and run.live and not island.liar.told:
            raise Violation(
                "one holder",
                f"attempt {attempt.fence} of {job.id} was given up while it runs on "
                f"{island.profile.name} ({attempt.message})",
            )

    def moved(self, job: Job) -> None:
        """A job that succeeded did so under the fence that is said, unless its island lied."""
        if job.state is not JobState.SUCCEEDED or not job.attempts:
            return
        attempt = job.attempts[-1]
        key = (job.id, attempt.fence)
        island = self._island(attempt.island)
        if key not in island.liar.about and island.engine.ends.get(key) != Phase.SUCCEEDED:
            raise Violation("true ends", f"{job.id} succeeded, but attempt {attempt.fence} did not")

    def _island(self, island: str) -> SimIsland:
        return next(one for one in self.islands if one.id == island)

    # -- memory ---------------------------------------------------------------------------------

    def indexes_true(self, plane: Plane) -> None:
        """The jobs and indexes in memory are what the store would give."""
        live, fresh = plane.state, State.of(plane.store.load())
        for name in ("queue", "dependants", "open_members"):
            mine = {k: v for k, v in getattr(live, name).items() if v or name == "queue"}
            theirs = {k: v for k, v in getattr(fresh, name).items() if v or name == "queue"}
            if mine != theirs:
                raise Violation("indexes", f"{name} is {mine}, and should be {theirs}")
        if _held(live) != _held(fresh):
            raise Violation("indexes", "held differs from the store")
        if _used(live) != _used(fresh):
            raise Violation("indexes", "used capacity differs from the store")
        if live.next_event != fresh.next_event or live.tenants != fresh.tenants:
            raise Violation("indexes", "events or tenants differ from the store")
        if _bare(live) != _bare(fresh):
            raise Violation("indexes", "the jobs in memory differ from the store")

    # -- the end --------------------------------------------------------------------------------

    def at_the_end(self) -> None:
        """Every job has ended, usage was possible, and all of it was paid for once."""
        shelf = self.centre.shelf
        self.accepted(sorted(self.acknowledged))
        for job in shelf.jobs.values():
            if job.state not in TERMINAL:
                reasons = "; ".join(reason.message for reason in job.reasons)
                raise Violation("every job ends", f"{job.id} is {job.state.value} ({reasons})")
            if job.id in self.centre.witness.cancelled and job.state is JobState.FAILED:
                raise Violation("cancel holds", f"{job.id} failed after its cancel")
            self._usage_possible(job)
        self._paid_once()
        for process in self.centre.processes:
            if process.plane.leading:
                self.indexes_true(process.plane)

    def _usage_possible(self, job: Job) -> None:
        slack_ms = self.centre.settings.skew_ms + self.centre.stepped_ms
        ticks = self.centre.shelf.ticks.get(job.id, {})
        for attempt in job.attempts:
            span_ms = attempt.ended_ms - attempt.leased_ms + slack_ms
            used_ms = attempt.usage.device_ms
            if used_ms > span_ms * attempt.devices:
                raise Violation(
                    "usage possible",
                    f"attempt {attempt.fence} of {job.id} used {used_ms} device-ms in {span_ms} ms "
                    f"on {attempt.devices} devices",
                )
            mine = [tick for (fence, _), tick in ticks.items() if fence == attempt.fence]
            booked_ms = sum(tick.devices * (tick.end_ms - tick.start_ms) for tick in mine)
            if (len(mine), booked_ms) != (attempt.usage.ticks, used_ms):
                raise Violation(
                    "usage once",
                    f"attempt {attempt.fence} of {job.id} has {len(mine)} ticks of {booked_ms} "
                    f"device-ms, and {attempt.usage.ticks} of {used_ms} are counted",
                )

    def _paid_once(self) -> None:
        """What attempts were billed, what the journal says and what tenants spent is one sum."""
        shelf = self.centre.shelf
        if sum(shelf.balances.values()):
            raise Violation("journal balances", f"all accounts sum to {shelf.balances}")
        billed: Counter[str] = Counter()
        for job in shelf.jobs.values():
            billed[job.tenant] += sum(attempt.billed_micros for attempt in job.attempts)
            # The oldest attempts of a job that had very many are not kept with it.
            dropped = range(1, job.attempts[0].fence if job.attempts else 1)
            billed[job.tenant] += sum(self.centre.witness.paid[job.id, n] for n in dropped)
        for tenant in shelf.tenants.values():
            owed = sum(
                micros
                for (account, _), micros in shelf.balances.items()
                if account == f"receivable:{tenant.name}"
            )
            if not billed[tenant.name] == owed == tenant.spent_micros:
                raise Violation(
                    "journal balances",
                    f"{tenant.name} was billed {billed[tenant.name]}, owes {owed} and has spent "
                    f"{tenant.spent_micros} micro-units",
                )


def _held(state: State) -> dict[str, set[str]]:
    return {island: set(ids) for island, ids in state.held.items() if ids}


def _used(state: State) -> dict[str, Capacity]:
    return {pool: taken for pool, taken in state.used.items() if taken != Capacity()}


def _bare(state: State) -> dict[str, Job]:
    """Return the jobs without the reasons of those that wait, which live in memory only."""
    return {
        job.id: replace(job, reasons=()) if job.state is JobState.QUEUED else job
        for job in state.jobs.values()
    }
