"""One seed: islands join, people submit, things break, everything must still come right."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from causeway.control import submit, tenancy
from causeway.control.settings import Settings
from causeway.control.state import Tx
from causeway.discover import compile_filter
from causeway.model.errors import CausewayError
from causeway.model.fleet import PoolView
from causeway.model.islands import Inventory, Profile
from causeway.model.jobs import TERMINAL
from causeway.model.money import Purchase
from causeway.model.parties import AccessRole, Caller, Tenant
from causeway.model.resources import Capacity
from causeway.twin.centre import Centre, Process
from causeway.twin.faults import HOUR_MS, MINUTE_MS, Faults
from causeway.twin.invariants import Invariants, Violation, waits_with_reasons
from causeway.twin.island import SimIsland
from causeway.twin.loop import Loop
from causeway.twin.network import Network
from causeway.twin.workload import GIB, submission_of, work_of

SETTINGS = Settings(
    issuer="twin.causeway",
    lease_ms=120_000,
    hold_ms=45_000,
    skew_ms=5_000,
    tick_ms=20_000,
    settle_every_ms=3_600_000,
)
"""Longer leases than live, so that a virtual day costs seconds; every rule is the same."""
TENANTS = (
    Tenant(name="ada", weight=2.0, quota_devices=8, borrow_devices=4),
    Tenant(name="bela", weight=1.0, quota_devices=6, borrow_devices=6),
)
JURISDICTIONS = ("IT", "SE", "SG", "DE", "US")


@dataclass(slots=True)
class Result:
    """How one seed went."""

    seed: int
    jobs: int = 0
    faults: int = 0
    steps: int = 0
    checks: int = 0
    events: int = 0
    digest: str = ""
    """SHA-256 over all events: the same seed gives the same one."""
    violation: str = ""
    coverage: Counter[tuple[str, str]] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much one seed does."""

    islands: int = 3
    submissions: int = 30
    hours: int = 24
    faults: int = 100


def matches(expression: str, pool: PoolView) -> bool:
    """Evaluate a `where` expression."""
    return bool(compile_filter(expression).matches(pool))


class Simulation:
    """Everything of one seed."""

    def __init__(self, seed: int, scale: Scale = Scale(), settings: Settings = SETTINGS) -> None:
        self.seed = seed
        self.scale = scale
        self.loop = Loop(seed)
        self.network = Network(self.loop)
        self.centre = Centre(self.loop, settings=settings, verdicts=lambda *_: {}, matches=matches)
        self.islands = [self._island(number) for number in range(scale.islands)]
        self.invariants = Invariants(
            self.centre,
            self.islands,
            quotas={t.name: (t.quota_devices or 0) + (t.borrow_devices or 0) for t in TENANTS},
        )
        self.result = Result(seed)

    def _island(self, number: int) -> SimIsland:
        chance = self.loop.chance
        profile = Profile(
            name=f"isle-{number}",
            provider=f"owner-{number}",
            jurisdiction=JURISDICTIONS[number % len(JURISDICTIONS)],
            purchase=Purchase.SPOT if number % 3 == 1 else Purchase.ON_DEMAND,
        )
        # The first island can hold every job that is submitted, so every job can end.
        cores = 8 if number == 0 else chance.choice((4, 6, 8))
        inventory = Inventory(
            hostname=profile.name,
            os="simulated",
            architecture="x86_64",
            cpu_model="simulated",
            capacity=Capacity(
                cpu_milli=cores * 1_000,
                memory_bytes=32 * GIB,
                disk_bytes=100 * GIB,
            ),
        )
        return SimIsland(
            self.loop,
            self.network,
            self.centre,
            profile=profile,
            inventory=inventory,
            rate=chance.uniform(0.99, 1.01),
        )

    def run(self) -> Result:
        """Run the seed from beginning to end."""
        try:
            self._begin()
            self._day()
            self._evening()
        except Violation as violation:
            self.result.violation = f"{violation} (at {self.loop.now_ms})"
        self._sum_up()
        return self.result

    def _begin(self) -> None:
        process = self.centre.start()
        process.plane.lead()
        token = self.centre.run(process, self._found)
        for island in self.islands:
            island.works = lambda job: work_of(job, self.seed)
            island.started = self.invariants.started
            island.start(token)
        self.centre.checked = self._checked
        self.faults = Faults(self.loop, self.network, self.centre, self.islands, token)

    def _found(self, tx: Tx) -> str:
        for tenant in TENANTS:
            tx.tenants[tenant.name] = tenant
        made = tenancy.create_token(
            tx,
            tenant="ada",
            role=AccessRole.OPERATOR,
            join_uses=100,
            entropy=lambda: self.loop.chance.getrandbits(80),
        )
        return made.secret

    def _day(self) -> None:
        start_ms = self.loop.now_ms
        end_ms = start_ms + self.scale.hours * HOUR_MS
        for number in range(self.scale.submissions):
            at_ms = round(
                self.loop.chance.uniform(start_ms, start_ms + (end_ms - start_ms) * 2 // 3)
            )
            self.loop.at(at_ms, self._submission(number))
        self.faults.schedule(self.scale.faults, from_ms=start_ms + 5 * MINUTE_MS, until_ms=end_ms)
        self.result.faults = self.scale.faults
        self.loop.run(end_ms)

    def _evening(self) -> None:
        """Faults stop, islands return: now everything has to end."""
        self.faults.heal()
        limit_ms = self.loop.now_ms + 14 * 24 * HOUR_MS
        while self.loop.now_ms < limit_ms and self._open():
            self.loop.run(self.loop.now_ms + HOUR_MS)
            self.faults.heal()
        self.invariants.at_the_end()

    def _open(self) -> bool:
        unfinished = self.centre.shelf.unfinished.values()
        return any(job.state not in TERMINAL for job in unfinished)

    def _checked(self, process: Process) -> None:
        self.invariants.after_step(process)
        state = process.plane.state
        if process.plane.leading and process is self.centre.newest and not state.dirty:
            waits_with_reasons(state)

    def _submission(self, number: int) -> Callable[[], None]:
        chance = self.loop.chance
        tenant = chance.choice(TENANTS).name
        caller = Caller(token=f"user-{tenant}", tenant=tenant, role=AccessRole.MEMBER)
        wanted = submission_of(chance, f"job-{number}")
        cancels = chance.random() < 0.08
        key = f"key-{number}"

        def attempt() -> None:
            process = self.centre.pick()
            try:
                if process is None:
                    raise CausewayError("no control plane runs")
                known = process.store.key(tenant, key)

                def command(tx: Tx) -> submit.Submitted:
                    return submit.submit(
                        tx,
                        caller,
                        wanted,
                        key=key,
                        known_key=known,
                        entropy=lambda: chance.getrandbits(80),
                        settings=self.centre.settings,
                    )

                made = self.centre.run(process, command)
            except CausewayError:
                self.loop.after(15_000, attempt)
                return
            self._accepted(made, caller, cancels)
            if chance.random() < 0.2:
                # The client did not see the answer and repeats the call with its key.
                self.loop.after(1_000, attempt)

        return attempt

    def _accepted(self, made: submit.Submitted, caller: Caller, cancels: bool) -> None:
        self.invariants.acknowledged.update((made.id, *made.members))
        if cancels and not made.repeated:
            wait_ms = self.loop.chance.uniform(0, 2 * HOUR_MS)
            self.loop.after(wait_ms, lambda: self._cancel(made.id, caller))

    def _cancel(self, job: str, caller: Caller) -> None:
        process = self.centre.pick()
        try:
            if process is None:
                raise CausewayError("no control plane runs")
            self.centre.run(process, lambda tx: submit.cancel(tx, caller, job))
        except CausewayError as error:
            if error.code in ("error", "unavailable"):
                self.loop.after(15_000, lambda: self._cancel(job, caller))

    def _sum_up(self) -> None:
        shelf = self.centre.shelf
        digest = hashlib.sha256()
        for event in shelf.events:
            digest.update(msgspec.json.encode(event, order="deterministic"))
        result = self.result
        result.digest = digest.hexdigest()
        result.jobs = len(shelf.jobs)
        result.steps = self.loop.steps
        result.checks = self.invariants.checks
        result.events = len(shelf.events)
        result.ends.update(job.state.value for job in shelf.jobs.values())
        result.messages, result.dropped = self.network.sent, self.network.dropped
        if hasattr(self, "faults"):
            result.coverage.update(self.faults.coverage)


def simulate(seed: int, scale: Scale = Scale()) -> Result:
    """Run one seed."""
    return Simulation(seed, scale).run()
