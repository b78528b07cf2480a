"""A hand-made world for looking at the pages: a test double of the reader, never shipped.

Three islands as in the demonstration, one of them lost in mid-training, and jobs in every state.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from causeway.model.errors import InvalidInput, NotFound, Unauthenticated
from causeway.model.events import Event
from causeway.model.fleet import Candidate, PoolView
from causeway.model.islands import Health, Inventory, Island, IslandState, Profile
from causeway.model.jobs import (
    Attempt,
    AttemptState,
    Budget,
    Checkpoint,
    CheckpointPolicy,
    FailureClass,
    Job,
    JobKind,
    JobSpec,
    JobState,
)
from causeway.model.money import Entry, Price, Purchase, Transaction
from causeway.model.parties import AccessRole, Caller, Tenant
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.resources import Capacity, Resources
from causeway.model.usage import Usage
from causeway.ports.store import ProgressRow

NOW_MS = 1_795_255_200_000
GIB = 1024**3
SIMULATED = (
    "jurisdiction",
    "price_per_device_h",
    "pue",
    "grid_zone",
    "carbon_g_per_kwh",
    "purchase",
)
VIEWER = Caller(token="t1", tenant="acme", role=AccessRole.VIEWER)


def urn(kind: str, local: str) -> str:
    return f"urn:cpi:demo.causeway:{kind}:{local}"


def job_id(local: str) -> str:
    """As long as real ones are, since that is what pages must hold."""
    return urn("job", local.ljust(26, "0"))


def island(name: str, **changes: object) -> Island:
    profile = Profile(
        name=name,
        provider=urn("provider", f"{name}-power"),
        jurisdiction="NO",
        region="nordic",
        latitude_deg=59.91,
        longitude_deg=10.75,
        grid_zone="NO-1",
        pue=1.12,
        carbon_g_per_kwh=28,
        price_per_device_h=Decimal("0.048"),
        simulated=SIMULATED,
    )
    inventory = Inventory(
        hostname="demo-host",
        os="Linux 6.8",
        architecture="x86_64",
        cpu_model="AMD EPYC 9554",
        capacity=Capacity(cpu_milli=4000, memory_bytes=8 * GIB, disk_bytes=40 * GIB),
        isolation=("process", "limits", "sandbox"),
        warm=("torch",),
        measured_cpu_ncu=0.21,
        agent_version="0.1.0",
    )
    health = Health(
        cpu_share=0.62,
        memory_used_bytes=3 * GIB,
        disk_free_bytes=31 * GIB,
        power_w=34.5,
        rtt_ms=1.4,
        rtt_age_ms=1_500,
        bandwidth_mbit_s=810,
        bandwidth_age_ms=2 * 3_600_000,
    )
    made = Island(
        id=urn("island", name),
        profile=profile,
        public_key="ed25519",
        inventory=inventory,
        health=health,
        state=IslandState.LIVE,
        joined_ms=NOW_MS - 3 * 3_600_000,
        heard_ms=NOW_MS - 700,
        health_ms=NOW_MS - 4_000,
        lease_until_ms=NOW_MS + 3300,
    )
    return replace(made, **changes)


def move(made: Island, **changes: object) -> Island:
    """Change what the owner declared."""
    return replace(made, profile=replace(made.profile, **changes))


ALBA = island(
    "alba",
    latency_ms={urn("island", "bora"): 11.4, urn("island", "cove"): 18.2},
    latency_at_ms={urn("island", "bora"): NOW_MS - 600_000, urn("island", "cove"): NOW_MS - 30_000},
)
BORA = move(
    island(
        "bora",
        state=IslandState.LOST,
        heard_ms=NOW_MS - 94_000,
        health_ms=NOW_MS - 97_000,
        lease_until_ms=NOW_MS - 90_000,
        losses=1,
    ),
    jurisdiction="DE",
    latitude_deg=50.11,
    longitude_deg=8.68,
    grid_zone="DE",
    carbon_g_per_kwh=344,
    pue=1.31,
    purchase=Purchase.SPOT,
    price_per_device_h=Decimal("0.0195"),
)
COVE = move(
    island(
        "cove", health=Health(cpu_share=0.9, power_w=41, rtt_ms=2.2, problems=("disk 92% full",))
    ),
    jurisdiction="SG",
    latitude_deg=1.35,
    longitude_deg=103.82,
    grid_zone="SG",
    carbon_g_per_kwh=470,
    pue=1.4,
    price_per_device_h=Decimal("0.031"),
)
ISLANDS = [ALBA, BORA, COVE]


def pool(made: Island, free_milli: int) -> PoolView:
    profile, inventory = made.profile, made.inventory
    assert inventory is not None
    return PoolView(
        offer=urn("offer", profile.name),
        pool=urn("pool", profile.name),
        island=made.id,
        provider=profile.provider,
        name=profile.name,
        jurisdiction=profile.jurisdiction,
        operator_country=profile.operator_country,
        capacity=inventory.capacity,
        free=replace(inventory.capacity, cpu_milli=free_milli),
        price=price(profile.price_per_device_h),
        purchase=profile.purchase,
        pue=profile.pue,
        carbon_g_per_kwh=profile.carbon_g_per_kwh,
        isolation=inventory.isolation,
        age_ms=NOW_MS - made.heard_ms,
        fresh=made.state is IslandState.LIVE,
        queue_wait_s=0 if free_milli else 95,
        simulated=profile.simulated,
    )


def price(amount: Decimal) -> Price:
    return Price(id=urn("price", "p1"), amount_per_device_h=amount)


def attempt(job: str, fence: int, made: Island, **changes: object) -> Attempt:
    tried = Attempt(
        job=job,
        fence=fence,
        island=made.id,
        pool=urn("pool", made.profile.name),
        offer=urn("offer", made.profile.name),
        price=price(made.profile.price_per_device_h),
        purchase=made.profile.purchase,
        pue_milli=round(made.profile.pue * 1000),
        carbon_mg_per_kwh=round(made.profile.carbon_g_per_kwh * 1000),
        devices=2,
        isolation="sandbox",
    )
    return replace(tried, **changes)


TRAIN = urn("job", "01k9gpttrain")
TRAIN_SPEC = JobSpec(
    name="gpt-bytes",
    run="python train.py --steps 400\npython sample.py > sample.txt",
    setup="python -m compileall -q .",
    resources=Resources(cpu_milli=2000, memory_bytes=2 * GIB),
    envs={"OMP_NUM_THREADS": "2"},
    checkpoint=CheckpointPolicy(interval_s=5),
    where="site.jurisdiction in EEA",
    outputs=("model",),
    model_name="gpt-bytes",
    warm="torch",
)
_OLD = Usage(
    ticks=9,
    until_ms=84_000,
    device_ms=168_000,
    cpu_ms=160_000,
    energy_it_mj=2_300_000,
    energy_facility_mj=3_013_000,
    carbon_mg=288,
)
_NEW = Usage(
    ticks=7,
    until_ms=69_000,
    device_ms=138_000,
    cpu_ms=131_000,
    energy_it_mj=1_900_000,
    energy_facility_mj=2_128_000,
    carbon_mg=17,
)
WAITS = Reason(
    token=Token.CAPACITY,
    severity=Severity.WAIT,
    message="2 of 3 islands are full; alba has room again when gpt-bytes ends.",
    try_this="ask for 1 core instead of 4",
)
BLOCKS = Reason(
    token=Token.LAW,
    severity=Severity.BLOCK,
    message="No island may take it: personal data of EEA subjects may not go to SG (GDPR Art. 44) "
    "without a transfer mechanism.",
    waiting_helps=False,
    try_this="data: [{mechanisms: [scc]}]",
)
CHOSEN = Reason(
    token=Token.CHOSEN,
    severity=Severity.INFO,
    message="Best of 2 that may and can: cheapest once carbon and the wait are counted.",
)


def train_job() -> Job:
    start = NOW_MS - 190_000
    lost = attempt(
        TRAIN,
        1,
        BORA,
        state=AttemptState.LOST,
        leased_ms=start + 200,
        accepted_ms=start + 900,
        started_ms=start + 2_400,
        ended_ms=start + 98_000,
        first_step_ms=start + 6_000,
        last_step=210,
        failure=FailureClass.ISLAND,
        budget=Budget(failure=FailureClass.ISLAND, ends=1, allowed=20, left=19),
        message="The island was not heard from.",
        usage=_OLD,
        billed_micros=910,
    )
    going = attempt(
        TRAIN,
        2,
        ALBA,
        state=AttemptState.RUNNING,
        leased_ms=start + 100_400,
        accepted_ms=start + 100_900,
        started_ms=start + 102_000,
        resumed_step=180,
        resumed_from="sha256:ab",
        first_step_ms=start + 104_000,
        last_step=331,
        warm=True,
        usage=_NEW,
        billed_micros=1200,
        reasons=(CHOSEN,),
    )
    return Job(
        id=TRAIN,
        tenant="acme",
        spec=TRAIN_SPEC,
        state=JobState.RUNNING,
        submitted_ms=start,
        queued_ms=start + 98_000,
        fence=2,
        attempts=(lost, going),
        failures={"island": 1},
        checkpoint=Checkpoint(
            artifact="sha256:9c",
            step=320,
            at_ms=NOW_MS - 6_000,
            bytes=11_400_000,
            fence=2,
            island=ALBA.id,
        ),
    )


def small(local: str, name: str, state: JobState, **changes: object) -> Job:
    spec = JobSpec(name=name, run="true", resources=Resources(cpu_milli=4000))
    job = Job(
        id=job_id(local),
        tenant="acme",
        spec=spec,
        state=state,
        submitted_ms=NOW_MS - 600_000,
        queued_ms=NOW_MS - 600_000,
    )
    return replace(job, **changes)


def ended(local: str, name: str, state: JobState, *, message: str = "") -> Job:
    job = small(local, name, state, ended_ms=NOW_MS - 300_000)
    cause = Reason(
        token=Token.DIAGNOSED,
        severity=Severity.INFO,
        message="CUDA out of memory at step 3: over its own limit.",
        try_this="a smaller batch",
    )
    good = state is JobState.SUCCEEDED
    tried = attempt(
        job.id,
        1,
        COVE,
        state=AttemptState.SUCCEEDED if good else AttemptState.FAILED,
        leased_ms=NOW_MS - 590_000,
        started_ms=NOW_MS - 580_000,
        ended_ms=NOW_MS - 300_000,
        exit_code=0 if good else 1,
        failure=None if good else FailureClass.USER,
        message=message,
        cause=None if good else cause,
        usage=_OLD,
        billed_micros=1302,
    )
    return replace(job, attempts=(tried,), fence=1)


def world_jobs() -> list[Job]:
    starting = small("01k9c", "embed-corpus", JobState.STARTING)
    starting = replace(
        starting,
        attempts=(
            attempt(starting.id, 1, COVE, state=AttemptState.STARTING, leased_ms=NOW_MS - 2000),
        ),
    )
    return [
        train_job(),
        starting,
        small("01k9b", "eval-night", JobState.QUEUED, reasons=(WAITS,)),
        small("01k9a", "patients-train", JobState.QUEUED, reasons=(BLOCKS, WAITS)),
        ended("01k99", "tokenise", JobState.SUCCEEDED),
        ended(
            "01k98", "sweep-lr", JobState.FAILED, message="exit code 1: KeyError: 'lr' in sweep.py"
        ),
        small("01k97", "shell", JobState.CANCELLED, ended_ms=NOW_MS - 500_000),
        small(
            "01k96",
            "sweep",
            JobState.PENDING,
            spec=JobSpec(name="sweep", run="", kind=JobKind.GROUP),
        ),
    ]


def progress() -> list[ProgressRow]:
    rows = []
    for fence, first, last in ((1, 0, 210), (2, 181, 331)):
        for step in range(first, last + 1, 3):
            loss = 5.4 * math.exp(-step / 90) + 1.35 + 0.12 * math.sin(step * 1.7 + fence)
            values = {"loss": loss, "tokens_per_s": 18_000 + 400 * math.sin(step)}
            rows.append(
                ProgressRow(job=TRAIN, fence=fence, step=step, at_ms=step * 400, values=values)
            )
    return rows


def transactions() -> list[Transaction]:
    made = []
    for n, (job, party, micros) in enumerate(
        (
            (TRAIN, "bora-power", 910),
            (TRAIN, "alba-power", 1200),
            (job_id("01k99"), "cove-power", 1302),
        )
    ):
        fee = micros // 10
        entries = (
            Entry(account="receivable:acme", micros=micros, currency="USD"),
            Entry(account=f"payable:{party}", micros=fee - micros, currency="USD"),
            Entry(account="revenue:platform", micros=-fee, currency="USD"),
        )
        made.append(
            Transaction(
                id=urn("transaction", f"t{n}"),
                at_ms=NOW_MS - 90_000 * (3 - n),
                subject=job,
                memo=f"usage of attempt {n + 1}",
                entries=entries,
                evidence={
                    "price": urn("price", "p1"),
                    "device_ms": 168_000,
                    "energy_mj": 3_013_000,
                },
            )
        )
    return made


def candidates() -> tuple[Candidate, ...]:
    def row(made: Island, **changes: object) -> Candidate:
        name = made.profile.name
        base = Candidate(
            offer=urn("offer", name),
            pool=urn("pool", name),
            island=made.id,
            name=name,
            feasible=False,
        )
        return replace(base, **changes)

    stale = Reason(
        token=Token.STALE,
        severity=Severity.WAIT,
        message="Not heard from for 94 s; figures are stale.",
    )
    where = Reason(
        token=Token.CONSTRAINT,
        severity=Severity.BLOCK,
        message="site.jurisdiction is SG, and the job asks for EEA.",
        waiting_helps=False,
    )
    return (
        row(
            ALBA,
            feasible=True,
            chosen=True,
            score_usd=0.1123,
            terms_usd={"price": 0.096, "carbon": 0.0003, "wait": 0.016},
            price_per_h_micros=96_000,
            energy_kwh_per_h=0.0386,
            carbon_g_per_h=1.08,
            reasons=(CHOSEN,),
        ),
        row(BORA, reasons=(stale,)),
        row(COVE, reasons=(where,)),
    )


def events() -> list[Event]:
    kinds = (
        ("island.joined", ALBA.id, {"jurisdiction": "NO"}),
        ("job.queued", TRAIN, {}),
        ("job.placed", TRAIN, {"island": BORA.id, "fence": 1}),
        ("attempt.started", TRAIN, {"fence": 1}),
        ("checkpoint.kept", TRAIN, {"step": 180, "bytes": 11_400_000}),
        ("island.suspect", BORA.id, {}),
        ("island.lost", BORA.id, {"message": "Lease and skew allowance have passed."}),
        ("attempt.lost", TRAIN, {"fence": 1, "failure": "island"}),
        ("job.placed", TRAIN, {"island": ALBA.id, "fence": 2}),
        ("attempt.started", TRAIN, {"fence": 2, "resumed_step": 180}),
    )
    return [
        Event(
            seq=i + 1, at_ms=NOW_MS - 200_000 + i * 19_000, kind=k, subject=s, tenant="acme", data=d
        )
        for i, (k, s, d) in enumerate(kinds)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    headline: str
    candidates: Sequence[Candidate] = ()
    decided_ms: int = 0


@dataclass(kw_only=True)
class HandMade:
    """The reader; tests change its lists and call `change`."""

    job_list: list[Job] = field(default_factory=world_jobs)
    island_list: list[Island] = field(default_factory=lambda: list(ISLANDS))
    event_list: list[Event] = field(default_factory=events)
    text: bytes = b"".join(b"step %d loss %.4f\n" % (i, 5 / (i + 1)) for i in range(181, 332))
    open_streams: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def now_ms(self) -> int:
        return NOW_MS

    async def change(self, event: Event | None = None) -> None:
        async with self._changed:
            if event is not None:
                self.event_list.append(event)
            self._changed.notify_all()

    async def close(self) -> None:
        async with self._changed:
            self.closed = True
            self._changed.notify_all()

    async def jobs(
        self, caller: Caller, *, states: Sequence[str], before: str, limit: int
    ) -> list[Job]:
        found = [j for j in self.job_list if not states or j.state.value in states]
        return [j for j in found if not before or j.id < before][:limit]

    async def job(self, caller: Caller, job: str) -> Job:
        for found in self.job_list:
            if found.id == job:
                return found
        raise NotFound(f"there is no job {job}", hint="causeway ps shows yours")

    async def children(self, caller: Caller, job: str) -> list[Job]:
        return [j for j in self.job_list if j.group == job]

    async def counts(self, caller: Caller) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for job in self.job_list:
            counts[job.state.value] = counts.get(job.state.value, 0) + 1
        return counts

    async def islands(self, caller: Caller) -> list[Island]:
        return self.island_list

    async def pools(
        self, caller: Caller, *, where: str = "", sort: str = ""
    ) -> tuple[PoolView, ...]:
        if "===" in where:
            raise InvalidInput("'===' is not an operator", hint="price_usd_per_device_h < 0.10")
        made = tuple(pool(i, f) for i, f in zip(self.island_list, (2000, 4000, 0), strict=False))
        return tuple(p for p in made if p.jurisdiction in where) if where else made

    async def tenants(self, caller: Caller) -> list[Tenant]:
        return [
            Tenant(
                name="acme",
                quota_devices=2,
                borrow_devices=8,
                budget_micros=5_000_000,
                spent_micros=3_412,
            )
        ]

    async def events(
        self, caller: Caller, *, subject: str, after: int, limit: int, newest: bool
    ) -> list[Event]:
        found = [e for e in self.event_list if e.seq > after and subject in ("", e.subject)]
        return (found[::-1] if newest else found)[:limit]

    async def progress(self, caller: Caller, job: str) -> list[ProgressRow]:
        return progress() if job == TRAIN else []

    async def log_streams(self, caller: Caller, job: str) -> list[tuple[int, str, int]]:
        if job != TRAIN:
            return []
        size = len(self.text)
        return [(1, "rank-0.stdout", size), (2, "rank-0.stderr", 0), (2, "rank-0.stdout", size)]

    async def log(
        self, caller: Caller, job: str, *, fence: int, stream: str, offset: int, limit: int
    ) -> bytes:
        if stream not in ("rank-0.stdout", "rank-0.stderr"):
            raise NotFound(f"there is no stream {stream!r}")
        return self.text[offset : offset + limit] if stream.endswith("stdout") else b""

    async def log_since(
        self, caller: Caller, job: str, *, fence: int, stream: str, at_ms: int
    ) -> int:
        return len(self.text) - 40 if NOW_MS - at_ms < 1_800_000 else 0

    async def explain(self, caller: Caller, job: str) -> Told:
        found = await self.job(caller, job)
        if found.id == TRAIN:
            return Told(
                headline="Running on alba since it resumed at step 180.",
                candidates=candidates(),
                decided_ms=NOW_MS - 60_000,
            )
        return Told(headline=found.reasons[0].message if found.reasons else "")

    async def transactions(self, caller: Caller, *, subject: str) -> list[Transaction]:
        return [t for t in transactions() if subject in ("", t.subject)]

    async def balances(self, caller: Caller) -> Mapping[tuple[str, str], int]:
        sums: dict[tuple[str, str], int] = {}
        for made in transactions():
            for entry in made.entries:
                key = (entry.account, entry.currency)
                sums[key] = sums.get(key, 0) + entry.micros
        return sums

    async def subscribe(self, caller: Caller) -> AsyncIterator[int]:
        self.open_streams += 1
        try:
            while not self.closed:
                async with self._changed:
                    self.opened.set()
                    await self._changed.wait()
                if not self.closed:
                    yield self.event_list[-1].seq
        finally:
            self.open_streams -= 1


TOKENS = {
    "good-token": VIEWER,
    "member-token": replace(VIEWER, token="t2", role=AccessRole.MEMBER),
    "operator-token": replace(VIEWER, token="t3", role=AccessRole.OPERATOR),
}


class Acted:
    """The actor; it remembers what was asked of it."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, str]] = []

    async def cancel(self, caller: Caller, job: str) -> None:
        self.done.append((caller.token, "cancel", job))

    async def steer(self, caller: Caller, island: str, act: str) -> None:
        self.done.append((caller.token, act, island))


async def authorise(token: str) -> Caller:
    if token not in TOKENS:
        raise Unauthenticated("that token is not known", hint="ask an administrator for one")
    return TOKENS[token]
