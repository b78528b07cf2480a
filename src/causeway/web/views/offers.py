"""Offers: what can be had now, at which price, and what of it is declared or made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from causeway.draw.looks import Look, Tone
from causeway.model.fleet import PoolView
from causeway.web.views.lines import island_href, short

SORTS: tuple[tuple[str, str], ...] = (
    ("price_usd_per_device_h", "price"),
    ("carbon_g_per_kwh", "grid carbon"),
    ("queue_wait_s", "wait"),
    ("-free_cpus", "free cores"),
    ("-accelerator.free", "free accelerators"),
    ("interruptions_per_day", "losses"),
    ("age_s", "age"),
)
"""Value of `sort` (a name of the filter language; `-` turns it round) -> word. An address may
carry any other name too."""

OFFERS_MAX = 200
"""More are not read by anybody: the filter narrows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferLine:
    offer: str
    name: str
    href: str
    provider: str
    jurisdiction: str
    operator_country: str
    region: str
    look: Look
    price_per_device_h: str
    currency: str
    per_kwh: str
    purchase: str
    cpu_milli_free: int
    cpu_milli: int
    memory_bytes_free: int
    memory_bytes: int
    accelerators_free: int
    accelerators: int
    devices_text: str
    carbon_g_per_kwh: float
    pue: float
    wait_s: float
    interruptions_per_day: float
    rtt_ms: float
    isolation: str
    age_ms: int
    stale: bool
    simulated: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OffersView:
    now_ms: int
    where: str
    sort: str
    sorts: tuple[tuple[str, str], ...]
    problem: str
    """Why the filter cannot be understood; empty when it can."""
    hint: str
    offers_all: int
    offers: tuple[OfferLine, ...]
    simulated: tuple[str, ...]


def offers_view(
    pools: Sequence[PoolView],
    *,
    where: str,
    sort: str,
    problem: tuple[str, str] = ("", ""),
    now_ms: int,
) -> OffersView:
    """Return the page, in the order that the reader gave."""
    return OffersView(
        now_ms=now_ms,
        where=where,
        sort=sort,
        sorts=SORTS if sort in ("", *(s for s, _ in SORTS)) else (*SORTS, (sort, sort)),
        problem=problem[0],
        hint=problem[1],
        offers_all=len(pools),
        offers=tuple(_offer(p) for p in pools[:OFFERS_MAX]),
        simulated=tuple(sorted({name for p in pools for name in p.simulated})),
    )


def _look(pool: PoolView) -> Look:
    if not pool.fresh:
        return Look(tone=Tone.BLOCK, icon="warn", word="stale")
    if not pool.healthy:
        return Look(tone=Tone.BLOCK, icon="warn", word="unhealthy")
    if pool.cordoned:
        return Look(tone=Tone.WAIT, icon="stop", word="cordoned")
    free = pool.free.accelerators if pool.capacity.accelerators else pool.free.cpu_milli >= 1000
    if not free:
        return Look(tone=Tone.WAIT, icon="clock", word="full")
    return Look(tone=Tone.RUN, icon="check", word="free")


def _offer(pool: PoolView) -> OfferLine:
    models = sorted({f"{d.vendor} {d.model}" for d in pool.devices})
    return OfferLine(
        offer=pool.offer,
        name=pool.name,
        href=island_href(pool.island),
        provider=short(pool.provider),
        jurisdiction=pool.jurisdiction,
        operator_country=pool.operator_country,
        region=pool.region,
        look=_look(pool),
        price_per_device_h=f"{pool.price.amount_per_device_h:f}",
        currency=pool.price.currency,
        per_kwh=f"{pool.price.per_kwh:f}" if pool.price.per_kwh else "",
        purchase=pool.purchase.value.replace("_", " "),
        cpu_milli_free=pool.free.cpu_milli,
        cpu_milli=pool.capacity.cpu_milli,
        memory_bytes_free=pool.free.memory_bytes,
        memory_bytes=pool.capacity.memory_bytes,
        accelerators_free=pool.free.accelerators,
        accelerators=pool.capacity.accelerators,
        devices_text=", ".join(models),
        carbon_g_per_kwh=pool.carbon_g_per_kwh,
        pue=pool.pue,
        wait_s=pool.queue_wait_s,
        interruptions_per_day=pool.interruptions_per_day,
        rtt_ms=pool.rtt_ms,
        isolation=pool.isolation[-1] if pool.isolation else "",
        age_ms=pool.age_ms,
        stale=not pool.fresh,
        simulated=pool.simulated,
    )
