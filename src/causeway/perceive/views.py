"""Islands as offers: what is free, at which price, how fresh, how fast, how reliable.

In this form each island is one pool, `<island name>.main`, offered at one purchase option,
`<island name>.main.<purchase>`. A price id is derived from the amount, so a changed price is a new
id and work already leased keeps the one that its lease pinned.

Called once per scheduling round for every island, so what depends on names, prices, profiles and
inventories alone is remembered (the same input gives the same value, so the room stays pure).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from statistics import median

from causeway.model.fleet import PoolView
from causeway.model.identifiers import Kind, Urn
from causeway.model.islands import Health, Inventory, Island, IslandState, Profile
from causeway.model.money import Price, Purchase
from causeway.model.resources import Capacity
from causeway.model.values import replace
from causeway.perceive.age import age_ms, interruptions_per_day, is_fresh
from causeway.perceive.claims import flaws

CPU_CORE_W = 8.0
"""Busy power of one core with its share of memory and board; a typical server figure."""
ACCELERATOR_W = 300.0
"""Taken for an accelerator whose rated power is unknown."""
REMEMBERED_MAX = 16_384
_UNMEASURED = Health()


@lru_cache(maxsize=REMEMBERED_MAX)
def pool_id(island: str, name: str) -> str:
    """Return the identifier of an island's pool."""
    return str(Urn(Urn.parse(island).issuer, Kind.POOL, f"{name}.main"))


@lru_cache(maxsize=REMEMBERED_MAX)
def offer_id(island: str, name: str, purchase: Purchase) -> str:
    """Return the identifier of an island's offer at one purchase option."""
    return str(Urn(Urn.parse(island).issuer, Kind.OFFER, f"{name}.main.{purchase.value}"))


@lru_cache(maxsize=REMEMBERED_MAX)
def price_of(
    island: str, *, name: str, purchase: Purchase, amount: Decimal, currency: str
) -> Price:
    """Return the price version; `0.5` and `0.50` are the same one."""
    issuer = Urn.parse(island).issuer
    exact = f"{amount.normalize():f}"
    text = f"{issuer}\n{name}.main\n{purchase.value}\n{exact}\n{currency}\nper-device-hour"
    local = f"{name}.main.{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Price(
        id=str(Urn(issuer, Kind.PRICE, local)), amount_per_device_h=amount, currency=currency
    )


def views(
    islands: Iterable[Island], used: Mapping[str, Capacity], *, now_ms: int, lease_ms: int
) -> tuple[PoolView, ...]:
    """Return one view per island that has shown an inventory, has not left and claims nothing
    impossible.

    `used` is what leases hold by pool (`holdings`). Stale islands are in it too, marked as such.
    """
    shown = [
        (island, island.inventory)
        for island in islands
        if island.inventory is not None
        and island.state is not IslandState.LEFT
        and _known(island.id, island.profile).sound
    ]
    speeds = _relative_speeds([inventory for _, inventory in shown])
    return tuple(
        view(island, inventory, used=used, now_ms=now_ms, lease_ms=lease_ms, speed=speed)
        for (island, inventory), speed in zip(shown, speeds, strict=True)
    )


def view(
    island: Island,
    inventory: Inventory,
    *,
    used: Mapping[str, Capacity],
    now_ms: int,
    lease_ms: int,
    speed: float = 1.0,
) -> PoolView:
    """Return one island's pool as an offer."""
    profile = island.profile
    health = island.health or _UNMEASURED
    lasting = _known(island.id, profile).offer(island.id, inventory)
    return replace(
        lasting,
        free=_free(lasting.capacity, used.get(lasting.pool), health),
        interruptions_per_day=interruptions_per_day(island),
        rtt_ms=health.rtt_ms,
        bandwidth_mbit_s=health.bandwidth_mbit_s,
        age_ms=age_ms(island, now_ms),
        fresh=is_fresh(island, now_ms, lease_ms=lease_ms),
        healthy=not health.problems,
        cordoned=island.cordoned or island.draining,
        speed=speed,
    )


class _Known:
    """What follows from an island's profile and inventory alone, worked out once for each."""

    __slots__ = ("_inventory", "_offer", "profile", "sound")

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.sound = not flaws(profile)
        self._inventory: Inventory | None = None
        self._offer: PoolView | None = None

    def offer(self, island: str, inventory: Inventory) -> PoolView:
        """Return the offer as it is with everything free."""
        if self._offer is None or self._inventory is not inventory:
            self._offer = _lasting(island, self.profile, inventory)
            self._inventory = inventory
        return self._offer


_KNOWN: dict[str, _Known] = {}
"""Island -> what was worked out. Values are frozen, so the same profile is the same for ever; it is
looked up by identity, since one that came from outside may not even have a hash."""


def _known(island: str, profile: Profile) -> _Known:
    known = _KNOWN.get(island)
    if known is None or known.profile is not profile:
        if len(_KNOWN) >= REMEMBERED_MAX:
            _KNOWN.clear()
        known = _KNOWN[island] = _Known(profile)
    return known


def _lasting(island: str, profile: Profile, inventory: Inventory) -> PoolView:
    capacity = _usable(inventory)
    return PoolView(
        offer=offer_id(island, profile.name, profile.purchase),
        pool=pool_id(island, profile.name),
        island=island,
        provider=profile.provider,
        name=profile.name,
        jurisdiction=profile.jurisdiction,
        operator_country=profile.operator_country or profile.jurisdiction,
        region=profile.region,
        grid_zone=profile.grid_zone,
        latitude_deg=profile.latitude_deg,
        longitude_deg=profile.longitude_deg,
        capacity=capacity,
        free=capacity,
        node=inventory.node,
        devices=inventory.devices,
        isolation=inventory.isolation,
        images=inventory.images,
        engine=inventory.engine,
        warm=inventory.warm,
        rents=inventory.rents,
        price=_price(island, profile),
        purchase=profile.purchase,
        pue=profile.pue,
        carbon_g_per_kwh=profile.carbon_g_per_kwh,
        power_w_per_device=power_w_per_device(inventory),
        power_w_per_core=CPU_CORE_W if inventory.devices else 0.0,
        policy=profile.policy,
        simulated=profile.simulated,
    )


def power_w_per_device(inventory: Inventory) -> float:
    """Return the estimated IT power of one busy device: rated accelerator power, or a core's.

    Mean over the accelerators where there are any; a job that uses only the cores of such an island
    is estimated by the core (`PoolView.power_w`).
    """
    if not inventory.devices:
        return CPU_CORE_W
    watts = [device.tdp_w or ACCELERATOR_W for device in inventory.devices]
    return sum(watts) / len(watts)


def _price(island: str, profile: Profile) -> Price:
    return price_of(
        island,
        name=profile.name,
        purchase=profile.purchase,
        amount=profile.price_per_device_h,
        currency=profile.currency,
    )


def _usable(inventory: Inventory) -> Capacity:
    """Return the capacity without accelerators that are marked unhealthy."""
    broken = sum(not device.healthy for device in inventory.devices)
    if not broken:
        return inventory.capacity
    whole = inventory.capacity
    return Capacity(
        cpu_milli=whole.cpu_milli,
        memory_bytes=whole.memory_bytes,
        disk_bytes=whole.disk_bytes,
        accelerators=max(0, whole.accelerators - broken),
    )


def _free(capacity: Capacity, used: Capacity | None, health: Health) -> Capacity:
    """Return what leases and other people's work leave, and never more disk than the agent last saw
    free."""
    used, others = used or Capacity(), health.occupied
    disk = max(0, capacity.disk_bytes - used.disk_bytes)
    return Capacity(
        cpu_milli=max(0, capacity.cpu_milli - used.cpu_milli - others.cpu_milli),
        memory_bytes=max(0, capacity.memory_bytes - used.memory_bytes - others.memory_bytes),
        disk_bytes=min(disk, health.disk_free_bytes) if health.disk_free_bytes else disk,
        accelerators=max(0, capacity.accelerators - used.accelerators - others.accelerators),
    )


def _relative_speeds(inventories: list[Inventory]) -> list[float]:
    """Return each one's NCU per device over its class's median; 1 where it is not known.

    Measured figures go before nameplate ones. Accelerators and cores are classes of their own.
    """
    keyed = [(bool(i.devices), _ncu_per_device(i)) for i in inventories]
    middle = {
        kind: median(known)
        for kind in (True, False)
        if (known := [ncu for its_kind, ncu in keyed if its_kind is kind and ncu > 0])
    }
    return [ncu / middle[kind] if ncu > 0 else 1.0 for kind, ncu in keyed]


def _ncu_per_device(inventory: Inventory) -> float:
    if inventory.devices:
        known = [d.measured_ncu or d.nameplate_ncu for d in inventory.devices]
        return sum(known) / len(known) if all(known) else 0.0
    cores = inventory.capacity.cpu_milli / 1000
    return inventory.measured_cpu_ncu / cores if cores > 0 else 0.0
