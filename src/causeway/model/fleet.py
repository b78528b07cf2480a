"""What the scheduler sees: one immutable picture of offers, queue and running work.

`perceive` makes it from islands and jobs; `schedule` reads it and returns a plan. The twin and the
live control plane hand over the same type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from causeway.model.islands import Device, OwnerPolicy
from causeway.model.jobs import JobSpec
from causeway.model.money import Price, Purchase
from causeway.model.reasons import Reason
from causeway.model.resources import Capacity, Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """One offer: a pool of an island at a price, as fresh as `age_ms` says."""

    offer: str
    """`urn:cpi:...:offer:...`"""
    pool: str
    island: str
    provider: str
    name: str
    """Island's name, for people."""
    jurisdiction: str
    operator_country: str
    region: str = ""
    grid_zone: str = ""
    latitude_deg: float = 0.0
    longitude_deg: float = 0.0
    capacity: Capacity
    free: Capacity
    node: Capacity | None = None
    """Most that one node of the job can have here; None: the pool is one node."""
    devices: tuple[Device, ...] = ()
    isolation: tuple[str, ...] = ("process",)
    images: bool = False
    engine: str = "local"
    warm: tuple[str, ...] = ()
    rents: tuple[str, ...] = ()
    """Products that it can hand over to whoever rents its room."""
    price: Price
    purchase: Purchase = Purchase.ON_DEMAND
    pue: float = 1.5
    carbon_g_per_kwh: float = 400.0
    power_w_per_device: float = 10.0
    """Estimated IT power of one busy device; an estimate unless counters exist."""
    power_w_per_core: float = 0.0
    """The same of one busy core, where the pool's devices are accelerators; 0: they are cores."""
    interruptions_per_day: float = 0.1
    rtt_ms: float = 0.0
    bandwidth_mbit_s: float = 0.0
    age_ms: int = 0
    """Since the island was last heard from."""
    fresh: bool = True
    """False: shown, never used for placement."""
    healthy: bool = True
    cordoned: bool = False
    policy: OwnerPolicy = field(default_factory=OwnerPolicy)
    queue_wait_s: float = 0.0
    """Expected wait before a device is free, from running work; 0 when one is free."""
    speed: float = 1.0
    """Relative speed for the job's class; 1 is the fleet's median."""
    simulated: tuple[str, ...] = ()

    def power_w(self, need: Resources) -> float:
        """Return the estimated IT power of one billable device of a job: one that asks for no
        accelerator is billed, and warms the room, by the core."""
        by_core = need.accelerator is None and self.power_w_per_core > 0
        return self.power_w_per_core if by_core else self.power_w_per_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """What bringing a job's data to an island takes."""

    seconds: float
    usd: float
    """Egress that is billed for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJob:
    """One queued job."""

    id: str
    tenant: str
    spec: JobSpec
    queued_ms: int
    submitted_ms: int
    not_before_ms: int = 0
    failed_islands: Mapping[str, int] = field(default_factory=dict)
    """Island -> failed or lost attempts there."""
    checkpoint_bytes: int = 0
    """What must be moved before it can go on."""
    staging: Mapping[str, Staging] = field(default_factory=dict)
    """Island -> what bringing its data there takes; one that is absent has the data, or nobody
    knows."""
    tenant_budget_left_micros: int | None = None
    promised: str = ""
    """Pool where other work was made to give way for it; empty: none was."""
    group: str = ""
    """The array or DAG that it is part of."""
    at_once: int = 0
    """At most so many of its group run at the same time; 0: no limit."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing but its shape matters to where it runs best."""
        return not (self.checkpoint_bytes or self.failed_islands or self.staging)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """One attempt that holds capacity."""

    id: str
    tenant: str
    spec: JobSpec
    fence: int
    pool: str
    started_ms: int
    """0 while starting."""
    leased_ms: int = 0
    """When it was placed; 0: long ago."""
    expected_end_ms: int = 0
    """0: unknown."""
    checkpoint_ms: int = 0
    """When its newest checkpoint was made; 0: none."""
    checkpoint_bytes: int = 0
    """What would be moved if it went on elsewhere."""
    stopping: bool = False
    group: str = ""
    """The array or DAG that it is part of."""
    at_once: int = 0
    """As of `WaitingJob`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantShare:
    """A tenant's claim on the fleet."""

    tenant: str
    weight: float = 1.0
    quota_devices: int | None = None
    """Nominal quota; None: none set."""
    borrow_devices: int | None = None
    """How far beyond the quota it may borrow idle capacity; None: without limit."""
    parent: str = ""
    """Project that it is part of: its quota is lent to the others there; empty: to the fleet."""
    lend_devices: int | None = None
    """How much of its quota others below the same parent may borrow; None: all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that one round of scheduling may look at."""

    now_ms: int
    pools: tuple[PoolView, ...]
    waiting: tuple[WaitingJob, ...]
    running: tuple[RunningJob, ...] = ()
    tenants: Mapping[str, TenantShare] = field(default_factory=dict)
    verdicts: Mapping[str, Mapping[str, Reason]] = field(default_factory=dict)
    """Job -> pool -> why the law forbids it; a pair that is absent is allowed."""
    usd_per_unit: Mapping[str, float] = field(default_factory=lambda: {"USD": 1.0})
    """Exchange rates for comparing prices; offers in a currency without a rate are not used."""
    protected_share: float = 0.0
    """Part of its fair share up to which a tenant's work is safe from tenants that are below
    theirs; 0: nothing is stopped for fairness alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One row of the placement table: an offer as seen by one job."""

    offer: str
    pool: str
    island: str
    name: str
    feasible: bool
    """May and can, now."""
    chosen: bool = False
    score_usd: float = 0.0
    """Sum of the terms; lower is better."""
    terms_usd: Mapping[str, float] = field(default_factory=dict)
    """price, wait, run, carbon, interruption, transfer, ... each converted into dollars."""
    price_per_h_micros: int = 0
    """For all the job's devices."""
    energy_kwh_per_h: float = 0.0
    carbon_g_per_h: float = 0.0
    wait_s: float = 0.0
    reasons: tuple[Reason, ...] = ()
    """Why not, most severe first; or why it won."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Run this job here. The shell may still be refused; then it asks again."""

    job: str
    offer: str
    pool: str
    island: str
    candidates: tuple[Candidate, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Leave this job in the queue, for these reasons."""

    job: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempt:
    """Stop this attempt so that `for_job` can run."""

    job: str
    fence: int
    for_job: str
    lost_work_s: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one round decided. Every waiting job that was looked at has an entry."""

    places: tuple[Place, ...] = ()
    waits: tuple[Wait, ...] = ()
    preempts: tuple[Preempt, ...] = ()
