"""Islands: what joins the compute internet, and what is known of it, with ages.

An island declares a *profile* (who, where, under which law, at which price) and its agent measures
an *inventory* (what is really there). The profile is a claim of its owner; the inventory says how
each figure was obtained. Nothing stale is ever used as fresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from causeway.model.errors import InvalidInput
from causeway.model.money import Purchase
from causeway.model.resources import Capacity
from causeway.model.usage import EnergyQuality


class IslandState(StrEnum):
    LIVE = "live"
    """Heard from within its lease."""
    SUSPECT = "suspect"
    """Its lease has run out; it may be dead or cut off."""
    LOST = "lost"
    """Lease and skew allowance have both passed; its attempts are fenced off."""
    LEFT = "left"
    """It left cleanly; it may rejoin with the same identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerPolicy:
    """What the owner takes; a constraint of placement like any other, checked at both ends."""

    tenants: tuple[str, ...] = ()
    """Empty: all."""
    kinds: tuple[str, ...] = ()
    """Job kinds; empty: all."""
    max_run_s: float = 0.0
    """0: no limit."""
    allow_secrets: bool = True
    priority_min: int = -100


def probe_endpoint(address: str, where: str = "$.profile.probe_address") -> tuple[str, int]:
    """Return host and port of an address where an island listens, or raise `InvalidInput`.

    >>> probe_endpoint("island.example:7700"), probe_endpoint("[::1]:7700")
    (('island.example', 7700), ('::1', 7700))
    """
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    plain = len(host) <= 253 and all(c.isalnum() or c in ".-_:" for c in host)
    if not host or not plain or (":" in host and not bracketed) or not port.isdecimal():
        raise InvalidInput(f"{address[:100]!r} is not host:port", where=where)
    if not 1 <= int(port) <= 65535:
        raise InvalidInput("a port is 1 to 65535", where=where)
    return host, int(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the owner declares at joining. Declared, not measured; the page says so."""

    name: str
    """Slug; also the local part of its identifiers."""
    provider: str
    """Party that is paid."""
    jurisdiction: str
    """ISO 3166-1 alpha-2 of the site."""
    operator_country: str = ""
    """Country of the operator's ultimate parent; empty: the site's."""
    region: str = ""
    latitude_deg: float = 0.0
    longitude_deg: float = 0.0
    grid_zone: str = ""
    pue: float = 1.5
    carbon_g_per_kwh: float = 400.0
    """Yearly mean of the grid zone (location-based), unless a feed knows better."""
    purchase: Purchase = Purchase.ON_DEMAND
    price_per_device_h: Decimal = Decimal("0.05")
    currency: str = "USD"
    interruptions_per_day: float = 0.1
    """Declared or learnt rate of losing the whole island."""
    policy: OwnerPolicy = field(default_factory=OwnerPolicy)
    probe_address: str = ""
    """`host:port` where other islands may measure the round trip to this one; empty: nowhere."""
    content_address: str = ""
    """`host:port` where other islands may fetch content that this one holds; empty: nowhere."""
    content_cache_bytes: int = 0
    """Most bytes of content that the island keeps for its next jobs and for others; 0: none."""
    simulated: tuple[str, ...] = ()
    """Names of the fields above that are made up for a demonstration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator, with nameplate and measured capability kept apart."""

    index: int
    vendor: str
    model: str
    memory_bytes: int
    uuid: str = ""
    driver: str = ""
    nameplate_ncu: float = 0.0
    """Dense BF16 TFLOP/s by data sheet; 0: unknown."""
    measured_ncu: float = 0.0
    """The same, measured by the agent's probe; 0: not measured."""
    tdp_w: float = 0.0
    healthy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What the agent found. Sent whole when it changes, by digest otherwise."""

    hostname: str
    os: str
    architecture: str
    cpu_model: str
    capacity: Capacity
    """All that is offered; of a cluster, over all its nodes."""
    nodes: int = 1
    node: Capacity | None = None
    """Most that one node offers, where the island has several; None: the island is one node."""
    devices: tuple[Device, ...] = ()
    isolation: tuple[str, ...] = ("process",)
    """Levels that really work here, weakest first: process, limits, sandbox, container."""
    images: bool = False
    """Whether container images can be run."""
    engine: str = "local"
    engine_version: str = ""
    """As the engine calls itself; empty where it has none of its own."""
    warm: tuple[str, ...] = ()
    """Warm environments that are ready to fork from."""
    rents: tuple[str, ...] = ()
    """Products (`model.jobs.Product`) that it can hand over."""
    measured_cpu_ncu: float = 0.0
    """TFLOP/s of a short FP32 matrix product on all cores; 0: not measured."""
    power_source: str = "model"
    """`rapl`, `nvml`, `model`."""
    power_quality: EnergyQuality = EnergyQuality.MODEL
    agent_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Live figures of an island, each batch with the instant at which the agent took it."""

    cpu_share: float = 0.0
    memory_used_bytes: int = 0
    disk_free_bytes: int = 0
    power_w: float = 0.0
    rtt_ms: float = 0.0
    """Agent to centre, as the agent measured it on its last exchange."""
    bandwidth_mbit_s: float = 0.0
    """Agent to centre, from its last large transfer; 0: not measured."""
    age_ms: int = 0
    """How old this batch was when it was sent, by the agent's monotonic clock."""
    rtt_age_ms: int = 0
    """How old `rtt_ms` was when the batch was taken."""
    bandwidth_age_ms: int = 0
    """The same of `bandwidth_mbit_s`."""
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    """Other island -> round trip, of those that let themselves be probed."""
    latency_age_ms: Mapping[str, int] = field(default_factory=dict)
    """Other island -> how old that figure was when the batch was taken."""
    occupied: Capacity = field(default_factory=Capacity)
    """Held by work that is not Causeway's, where an engine is shared with others."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """One island as the centre knows it."""

    id: str
    profile: Profile
    public_key: str
    """Ed25519, base64; the island signs what it vouches for."""
    inventory: Inventory | None = None
    health: Health | None = None
    state: IslandState = IslandState.SUSPECT
    joined_ms: int = 0
    heard_ms: int = 0
    """When the centre last heard from it, by the centre's clock."""
    lease_until_ms: int = 0
    """After this plus the skew allowance its attempts may be placed elsewhere."""
    session: int = 0
    """Grows with each new agent session; older sessions are refused."""
    cordoned: bool = False
    draining: bool = False
    expelled: bool = False
    """Its key is revoked: it may neither join nor open a session until it is admitted again."""
    losses: int = 0
    """How often it was lost; part of its reliability history."""
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    """Other island -> round trip, where probes could reach it."""
    latency_at_ms: Mapping[str, int] = field(default_factory=dict)
    """Other island -> when that was measured, by the centre's clock."""
    health_ms: int = 0
    """When `health` was taken, by the centre's clock; 0: never."""
