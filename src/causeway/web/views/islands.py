"""Islands: every figure with its age and how it was obtained; nothing stale passes for fresh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from causeway.draw import figures
from causeway.draw.looks import Look, island_look
from causeway.draw.world import Spot
from causeway.model.fleet import PoolView
from causeway.model.islands import Health, Inventory, Island, IslandState, Profile
from causeway.perceive.links import FRESH_MS
from causeway.web.views.lines import QUALITY_WORDS, island_href, short

NOT_MEASURED = "not measured"
PAGE_ISLANDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure as shown: text with unit, how it was obtained, and how old it is."""

    name: str
    text: str
    quality: str
    """`measured`, `declared`, `declared, simulated`, `model (estimate)`, ..."""
    at_ms: int
    """When it was taken or declared; 0: unknown."""
    stale: bool = False
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that may be done to the island, behind a question."""

    word: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandCard:
    id: str
    name: str
    anchor: str
    provider: str
    look: Look
    note: str
    """What its state means for work there; empty while all is well."""
    live: bool
    heard_ms: int
    lease_until_ms: int
    joined_ms: int
    losses: int
    devices: int
    busy: int
    engine: str
    simulated: tuple[str, ...]
    problems: tuple[str, ...]
    live_figures: tuple[Figure, ...]
    found_figures: tuple[Figure, ...]
    declared_figures: tuple[Figure, ...]
    acts: tuple[Act, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandsView:
    now_ms: int
    islands_live: int
    islands_all: int
    named: str
    """Part of a name to look for; empty shows all."""
    islands: tuple[IslandCard, ...]
    next_href: str
    first_href: str


def islands_view(
    islands: Sequence[Island],
    pools: Sequence[PoolView],
    *,
    named: str = "",
    after: str = "",
    steer: bool = False,
    now_ms: int,
) -> IslandsView:
    """Return one page of islands by name, those after `after`; with `steer`, what can be done."""
    wanted = named.strip().lower()
    found = sorted(
        (i for i in islands if wanted in i.profile.name and i.profile.name > after),
        key=lambda i: i.profile.name,
    )
    shown = found[:PAGE_ISLANDS]
    by_island = pools_by_island(pools)
    query = f"named={quote(wanted)}&" if wanted else ""
    more = len(found) > PAGE_ISLANDS
    return IslandsView(
        now_ms=now_ms,
        islands_live=sum(1 for i in islands if not is_stale(i, now_ms)),
        islands_all=len(islands),
        named=wanted,
        islands=tuple(
            _card(i, by_island.get(i.id, []), now_ms, acts=_acts(i) if steer else ()) for i in shown
        ),
        next_href=f"/islands?{query}after={shown[-1].profile.name}" if more else "",
        first_href=f"/islands?{query}".rstrip("?&") if after else "",
    )


def pools_by_island(pools: Sequence[PoolView]) -> dict[str, list[PoolView]]:
    """Return the pools of each island."""
    found: dict[str, list[PoolView]] = {}
    for pool in pools:
        found.setdefault(pool.island, []).append(pool)
    return found


def island_spot(island: Island, pools: Sequence[PoolView], now_ms: int) -> Spot:
    """Return an island as it stands on the map."""
    devices, busy = _devices(island, pools)
    return Spot(
        id=island.id,
        name=island.profile.name,
        href=island_href(island.id),
        latitude_deg=island.profile.latitude_deg,
        longitude_deg=island.profile.longitude_deg,
        devices=devices,
        busy=busy,
        look=island_look(island),
        note=f"{busy}/{devices} busy" if not is_stale(island, now_ms) else "stale",
    )


def is_stale(island: Island, now_ms: int) -> bool:
    """Say whether what an island said last is too old to be used."""
    return island.state is not IslandState.LIVE or now_ms > island.lease_until_ms


def _acts(island: Island) -> tuple[Act, ...]:
    """Return what would change something: an island that left can be neither filled nor emptied."""
    if island.state is IslandState.LEFT:
        return ()
    words = ["Uncordon"] if island.cordoned or island.draining else ["Cordon"]
    if not island.draining:
        words.append("Drain")
    return tuple(Act(word=w, href=f"/islands/{island.id}/{w.lower()}") for w in words)


def _card(
    island: Island, pools: Sequence[PoolView], now_ms: int, *, acts: tuple[Act, ...]
) -> IslandCard:
    spot = island_spot(island, pools, now_ms)
    stale = is_stale(island, now_ms)
    profile, inventory = island.profile, island.inventory
    return IslandCard(
        id=island.id,
        name=spot.name,
        anchor=short(island.id),
        provider=short(profile.provider),
        look=spot.look,
        note=_note(island, stale=stale),
        live=not stale,
        heard_ms=island.heard_ms,
        lease_until_ms=island.lease_until_ms,
        joined_ms=island.joined_ms,
        losses=island.losses,
        devices=spot.devices,
        busy=spot.busy,
        engine=inventory.engine if inventory else "",
        simulated=profile.simulated,
        problems=island.health.problems if island.health else (),
        live_figures=_live(island, now_ms=now_ms),
        found_figures=_found(inventory, island.heard_ms, stale=stale) if inventory else (),
        declared_figures=_declared(profile, island.joined_ms),
        acts=acts,
    )


_NOTES = {
    IslandState.SUSPECT: "Its lease has run out: it may be dead or cut off. Nothing is placed "
    "there until it is heard from.",
    IslandState.LOST: "Not heard from for a lease and more: its attempts are fenced off, and jobs "
    "that may move are placed elsewhere. It may come back by itself.",
    IslandState.LEFT: "It took its leave and holds no work. It may join again under the same name.",
}


def _note(island: Island, *, stale: bool) -> str:
    if island.state is not IslandState.LIVE:
        return _NOTES[island.state]
    if island.inventory is None:
        return "It has joined and has not said yet what it has."
    if stale:
        return _NOTES[IslandState.SUSPECT]
    if island.draining:
        return "Its work is being moved away, and nothing new is placed there."
    return "Nothing new is placed there; what runs goes on." if island.cordoned else ""


def _devices(island: Island, pools: Sequence[PoolView]) -> tuple[int, int]:
    """Billable devices in all and in use: accelerators, or whole cores without any."""
    if pools:
        accelerators = sum(p.capacity.accelerators for p in pools)
        if accelerators:
            return accelerators, accelerators - sum(p.free.accelerators for p in pools)
        whole = sum(p.capacity.cpu_milli for p in pools)
        free = sum(p.free.cpu_milli for p in pools)
        return whole // 1000, -(-(whole - free) // 1000)
    if island.inventory is None:
        return 0, 0
    capacity = island.inventory.capacity
    return capacity.accelerators or capacity.cpu_milli // 1000, 0


def _live(island: Island, *, now_ms: int) -> tuple[Figure, ...]:
    """Return the figures that the agent takes now and then, each as old as it is itself: a round
    trip is older than the batch that it came in, and a bandwidth as old as the last transfer."""
    health, inventory = island.health, island.inventory
    if health is None:
        return ()
    taken_ms = island.health_ms or island.heard_ms
    power = QUALITY_WORDS[inventory.power_quality] if inventory else "unknown"
    rtt_ms, bandwidth_ms = taken_ms - health.rtt_age_ms, taken_ms - health.bandwidth_age_ms
    rows = [
        ("CPU in use", figures.percent(health.cpu_share), "measured", taken_ms),
        ("Memory in use", _memory(health, inventory), "measured", taken_ms),
        ("Disk free", figures.size(health.disk_free_bytes), "measured", taken_ms),
        ("IT power", f"{figures.plain(health.power_w)} W", power, taken_ms),
        ("Round trip to centre", _or_dash(health.rtt_ms, "ms"), "measured", rtt_ms),
    ]
    rows += [
        (
            f"Round trip to {short(other)}",
            f"{figures.plain(ms)} ms",
            "measured",
            island.latency_at_ms.get(other, 0),
        )
        for other, ms in sorted(island.latency_ms.items())
    ]
    gone = is_stale(island, now_ms)
    bandwidth = _figure(
        # It is as good as the last large transfer, and no other is made for its sake.
        ("Bandwidth to centre", _or_dash(health.bandwidth_mbit_s, "Mbit/s"), "measured"),
        at_ms=bandwidth_ms,
        stale=gone,
    )
    told = (
        _figure(row[:3], at_ms=row[3], stale=gone or now_ms - row[3] > FRESH_MS) for row in rows
    )
    return (*told, bandwidth)


def _figure(row: tuple[str, str, str], *, at_ms: int, stale: bool) -> Figure:
    name, text, quality = row
    known = text != NOT_MEASURED
    return Figure(
        name=name,
        text=text,
        quality=quality if known else "",
        at_ms=at_ms if known else 0,
        stale=stale,
    )


def _memory(health: Health, inventory: Inventory | None) -> str:
    used = figures.size(health.memory_used_bytes)
    return f"{used} of {figures.size(inventory.capacity.memory_bytes)}" if inventory else used


def _or_dash(value: float, unit: str) -> str:
    return f"{figures.plain(value)} {unit}" if value > 0 else NOT_MEASURED


def _found(inventory: Inventory, at_ms: int, *, stale: bool) -> tuple[Figure, ...]:
    capacity = inventory.capacity
    rows = [
        ("Host", inventory.hostname, "found"),
        ("System", f"{inventory.os}, {inventory.architecture}", "found"),
        ("Processor", inventory.cpu_model, "found"),
        ("Cores offered", figures.cores(capacity.cpu_milli), "found"),
        ("Memory offered", figures.size(capacity.memory_bytes), "found"),
        ("Disk offered", figures.size(capacity.disk_bytes), "found"),
        ("CPU capability", _or_dash(inventory.measured_cpu_ncu, "NCU"), "measured"),
        ("Isolation", ", ".join(inventory.isolation), "tried"),
        ("Container images", "yes" if inventory.images else "no", "tried"),
        ("Warm environments", ", ".join(inventory.warm) or "none", "reported"),
        ("Power source", inventory.power_source, QUALITY_WORDS[inventory.power_quality]),
        ("Engine", inventory.engine, "reported"),
        ("Agent", inventory.agent_version or "unknown", "reported"),
    ]
    rows += [
        (
            f"Device {device.index}",
            f"{device.vendor} {device.model}, {figures.size(device.memory_bytes)}"
            + ("" if device.healthy else ", unhealthy"),
            f"found; {_or_dash(device.measured_ncu, 'NCU')} measured, "
            f"{_or_dash(device.nameplate_ncu, 'NCU')} nameplate".replace(NOT_MEASURED, "–"),
        )
        for device in inventory.devices
    ]
    return tuple(_figure(row, at_ms=at_ms, stale=stale) for row in rows)


def _declared(profile: Profile, at_ms: int) -> tuple[Figure, ...]:
    place = f"{profile.latitude_deg:.2f}°, {profile.longitude_deg:.2f}°"
    per_kwh = f"{figures.plain(profile.carbon_g_per_kwh)} gCO₂e/kWh, yearly mean"
    rows = (
        ("provider", "Provider", short(profile.provider)),
        ("jurisdiction", "Jurisdiction", profile.jurisdiction),
        ("operator_country", "Operator's country", profile.operator_country or "the site's"),
        ("region", "Region", profile.region or figures.DASH),
        ("latitude_deg", "Place", place),
        ("grid_zone", "Grid zone", profile.grid_zone or figures.DASH),
        ("carbon_g_per_kwh", "Grid carbon", per_kwh),
        ("pue", "PUE", figures.plain(profile.pue)),
        (
            "price_per_device_h",
            "Price",
            figures.price(profile.price_per_device_h, profile.currency),
        ),
        ("purchase", "Bought as", profile.purchase.value.replace("_", " ")),
        ("interruptions_per_day", "Interruptions", f"{profile.interruptions_per_day:g} per day"),
    )
    return tuple(_claim(profile, at_ms, row) for row in rows)


def _claim(profile: Profile, at_ms: int, row: tuple[str, str, str]) -> Figure:
    field, name, text = row
    simulated = field in profile.simulated
    return Figure(
        name=name,
        text=text,
        quality="declared, simulated" if simulated else "declared",
        at_ms=at_ms,
        simulated=simulated,
    )
