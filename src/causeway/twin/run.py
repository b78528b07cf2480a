"""One seed: islands join, people submit, things break, everything must still come right."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

import msgspec

from causeway import law
from causeway.control import submit, tenancy
from causeway.control.settings import Settings
from causeway.control.state import Tx
from causeway.discover import Filter, compile_filter
from causeway.model.errors import NotFound, Unavailable
from causeway.model.fleet import PoolView, WaitingJob
from causeway.model.identifiers import Kind, Urn
from causeway.model.islands import Inventory, Profile
from causeway.model.jobs import Job
from causeway.model.money import Purchase
from causeway.model.parties import AccessRole, Caller, Tenant
from causeway.model.reasons import Reason
from causeway.model.resources import Capacity
from causeway.twin.centre import Centre
from causeway.twin.faults import HOUR_MS, MINUTE_MS, Faults
from causeway.twin.invariants import Invariants
from causeway.twin.island import SimIsland
from causeway.twin.loop import Loop
from causeway.twin.network import Network
from causeway.twin.witness import Place, Violation, Witness
from causeway.twin.workload import GIB, submission_of, work_of

SETTINGS = Settings(
    issuer="twin.causeway",
    lease_ms=240_000,
    hold_ms=90_000,
    skew_ms=10_000,
    tick_ms=30_000,
    retry_round_ms=60_000,
    settle_every_ms=3_600_000,
)
"""Leases and looks at who waits are sixty times as long as live, so that a virtual day costs half a
second; every rule is the same."""
TENANTS = (
    Tenant(name="ada", weight=2.0, quota_devices=6, borrow_devices=3),
    Tenant(name="bela", weight=1.0, quota_devices=4, borrow_devices=4),
)
DAY_MS = 24 * HOUR_MS
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
    violated: str = ""
    """Name of the invariant that did not hold."""
    messages: int = 0
    dropped: int = 0
    writes: int = 0
    """Ticks, progress points and artefacts that were taken, each from the holder of its fence."""
    stale: int = 0
    """Writes under a fence that the writer did not hold; every one was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much one seed does."""

    islands: int = 3
    submissions: int = 30
    hours: int = 24
    faults: int = 100
    patience_h: int = 14 * 24
    """How long everything may take to end once the faults are over."""


@lru_cache(maxsize=1_024)
def _filter(expression: str) -> Filter:
    return compile_filter(expression)


def matches(expression: str, pool: PoolView) -> bool:
    """Evaluate a `where` expression."""
    return bool(_filter(expression).matches(pool))


@lru_cache(maxsize=1)
def rules() -> law.Rules:
    """Return the real law room's real rules."""
    return law.parse(files("causeway.law").joinpath(law.RULES_FILE).read_text())


_ASKED: dict[object, Mapping[str, Reason]] = {}
"""What the law room said, by labels, places and day: the islands of a simulation have no
accelerators, so nothing else matters. Bounded by the few labels and islands there are."""


def verdicts(
    waiting: Sequence[WaitingJob], pools: Sequence[PoolView], now_ms: int
) -> Mapping[str, Mapping[str, Reason]]:
    """Ask the real law room, with its real rules, about jobs that carry labels."""
    places = tuple((pool.pool, pool.jurisdiction, pool.operator_country) for pool in pools)
    day = now_ms // DAY_MS
    found: dict[str, Mapping[str, Reason]] = {}
    for job in waiting:
        if job.spec.data:
            key = (job.spec.data, places, day)
            asked = _ASKED.get(key)
            if asked is None:
                said = law.verdicts([job], pools, rules(), now_ms=now_ms)
                asked = _ASKED[key] = said.get(job.id, {})
            if asked:
                found[job.id] = asked
    return found


class Simulation:
    """Everything of one seed."""

    def __init__(self, seed: int, scale: Scale = Scale(), settings: Settings = SETTINGS) -> None:
        self.seed = seed
        self.scale = scale
        self.loop = Loop(seed)
        self.network = Network(self.loop)
        self.places: dict[str, Place] = {}
        self.witness = Witness(
            places=self.places,
            quotas={t.name: (t.quota_devices or 0) + (t.borrow_devices or 0) for t in TENANTS},
            rules=rules(),
            now_ms=lambda: self.loop.now_ms,
        )
        self.centre = Centre(
            self.loop, self.witness, settings=settings, verdicts=verdicts, matches=matches
        )
        self.islands = [self._island(number) for number in range(scale.islands)]
        self.invariants = Invariants(self.centre, self.islands)
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
                memory_bytes=chance.choice((10, 16, 32)) * GIB,
                disk_bytes=100 * GIB,
            ),
        )
        urn = str(Urn(self.centre.settings.issuer, Kind.ISLAND, profile.name))
        self.places[urn] = Place.of(profile.jurisdiction, inventory)
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
            self.result.violated = violation.invariant
        self._sum_up()
        return self.result

    def _begin(self) -> None:
        process = self.centre.start()
        process.plane.lead()
        token = self.centre.run(process, self._found)
        self.faults = Faults(self.loop, self.network, self.centre, self.islands, token)
        for island in self.islands:
            island.engine.works = lambda job: work_of(job, self.seed)
            island.started = self.invariants.started
            island.start(token)
        self.centre.checked = self.invariants.after_step
        self.witness.given_up = self.invariants.given_up
        self.witness.moved = self._moved

    def _moved(self, job: Job) -> None:
        self.invariants.moved(job)
        self.faults.moved(job)

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
        self.loop.run(end_ms)

    def _evening(self) -> None:
        """Faults stop, islands return: now everything has to end."""
        self.faults.heal()
        limit_ms = self.loop.now_ms + self.scale.patience_h * HOUR_MS
        while self.loop.now_ms < limit_ms and self._open():
            self.loop.run(self.loop.now_ms + HOUR_MS)
            self.faults.heal()
        self.invariants.at_the_end()

    def _open(self) -> bool:
        return bool(self.centre.shelf.unfinished)

    def _submission(self, number: int) -> Callable[[], None]:
        chance = self.loop.chance
        tenant = chance.choice(TENANTS).name
        caller = Caller(token=f"user-{tenant}", tenant=tenant, role=AccessRole.MEMBER)
        wanted = submission_of(chance, f"job-{number}")
        cancels = chance.random() < 0.15
        key = f"key-{number}"

        def attempt() -> None:
            process = self.centre.pick()
            try:
                if process is None:
                    raise Unavailable("no control plane runs")
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
            except Unavailable:
                self.loop.after(15_000, attempt)
                return
            self._accepted(made, caller, cancels)
            if chance.random() < 0.2:
                # The client did not see the answer and repeats the call with its key.
                self.loop.after(1_000, attempt)

        return attempt

    def _accepted(self, made: submit.Submitted, caller: Caller, cancels: bool) -> None:
        self.invariants.accepted((made.id, *made.members))
        if cancels and not made.repeated:
            wait_ms = self.loop.chance.choice((20_000, HOUR_MS)) * self.loop.chance.random()
            self.loop.after(wait_ms, lambda: self._cancel(made.id, caller))

    def _cancel(self, job: str, caller: Caller) -> None:
        process = self.centre.pick()
        if process is not None:
            try:
                self.centre.run(process, lambda tx: submit.cancel(tx, caller, job))
            except NotFound:
                # It ended so long ago that it is in the store alone: there is nothing to cancel.
                return
            except Unavailable:
                process = None
        if process is None:
            self.loop.after(15_000, lambda: self._cancel(job, caller))
        else:
            self.invariants.cancelled(job)

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
        result.writes, result.stale = self.witness.writes, self.witness.stale_tried
        if hasattr(self, "faults"):
            result.coverage.update(self.faults.coverage)
            result.faults = self.faults.struck


def simulate(seed: int, scale: Scale = Scale(), settings: Settings = SETTINGS) -> Result:
    """Run one seed."""
    return Simulation(seed, scale, settings).run()
