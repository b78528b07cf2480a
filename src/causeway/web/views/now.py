"""Now: the map, what is pressing, what runs, what waits. The page that stays open all day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from causeway.draw import figures
from causeway.draw.bars import Quota
from causeway.draw.looks import Look, Tone
from causeway.draw.world import Spot
from causeway.model.events import Event
from causeway.model.fleet import PoolView
from causeway.model.islands import Island, IslandState
from causeway.model.jobs import HOLDS_LEASE, Job, JobState
from causeway.model.parties import Tenant
from causeway.model.reasons import Severity
from causeway.model.usage import EnergyQuality
from causeway.web.views.islands import is_stale, island_spot, pools_by_island
from causeway.web.views.lines import (
    QUALITY_WORDS,
    Amount,
    EventLine,
    JobLine,
    island_href,
    job_href,
    job_line,
    rate,
    short,
    simulated_names,
    summed,
)
from causeway.web.views.story import story

ROWS_MAX = 12
EVENT_LINES = 20
SPOTS_MAX = 400
RECENT_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressing:
    """Something that a person may want to act on, most urgent first."""

    look: Look
    subject: str
    href: str
    message: str
    try_this: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    islands_live: int
    islands: int
    devices_busy: int
    devices: int
    running: int
    waiting: int
    spend_per_h: tuple[Amount, ...]
    billed: tuple[Amount, ...]
    """What the journal holds as owed by the projects that the caller may see."""
    power_w: float
    """IT power of fresh islands."""
    power_quality: str
    carbon_g_per_h: float
    """Power times PUE times the declared grid mean; an estimate."""
    price_simulated: bool
    carbon_simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NowView:
    now_ms: int
    headline: str
    totals: Totals
    spots: tuple[Spot, ...]
    """Islands on the map; of many, those in trouble and the largest."""
    simulated: tuple[str, ...]
    """Names of the declared fields that are made up somewhere on this page."""
    pressing: tuple[Pressing, ...]
    running: tuple[JobLine, ...]
    running_all: int
    queue: tuple[JobLine, ...]
    queue_all: int
    quotas: tuple[Quota, ...]
    events: tuple[EventLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NowFacts:
    """What the page is made of."""

    islands: Sequence[Island]
    pools: Sequence[PoolView]
    active: Sequence[Job]
    """Jobs that hold a lease, newest first."""
    waiting: Sequence[Job]
    failed: Sequence[Job]
    tenants: Sequence[Tenant]
    events: Sequence[Event]
    counts_active: int
    counts_waiting: int
    recent: Sequence[Job] = ()
    """Newest jobs in any state, for their names."""
    balances: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Micro-units by (account, currency), as far as the caller may see them."""


def now_view(facts: NowFacts, *, now_ms: int) -> NowView:
    """Return the page."""
    by_island = pools_by_island(facts.pools)
    spots = [island_spot(i, by_island.get(i.id, []), now_ms) for i in facts.islands]
    totals = _totals(facts, spots, now_ms)
    pressing = tuple(_pressing(facts, now_ms))
    active = [j for j in facts.active if j.state in HOLDS_LEASE]
    known = (*facts.recent, *facts.active, *facts.waiting, *facts.failed)
    names = {j.id: j.spec.name for j in known}
    return NowView(
        now_ms=now_ms,
        headline=_headline(totals, pressing),
        totals=totals,
        spots=tuple(_shown(spots)),
        simulated=simulated_names(facts.islands),
        pressing=pressing,
        running=tuple(job_line(j, now_ms) for j in active[:ROWS_MAX]),
        running_all=facts.counts_active,
        queue=tuple(job_line(j, now_ms) for j in facts.waiting[:ROWS_MAX]),
        queue_all=facts.counts_waiting,
        quotas=tuple(q for t in facts.tenants for q in _quotas(t, active)),
        events=story(facts.events, names, limit=EVENT_LINES),
    )


def _headline(totals: Totals, pressing: Sequence[Pressing]) -> str:
    if not totals.islands:
        return "No island has joined yet."
    urgent = sum(1 for p in pressing if p.look.tone in (Tone.FAIL, Tone.BLOCK))
    state = "Nothing is pressing" if not urgent else f"{urgent} to look at"
    return (
        f"{state} · {totals.islands_live} of {totals.islands} islands live, "
        f"{totals.devices_busy} of {totals.devices} devices in use"
    )


def _shown(spots: Sequence[Spot]) -> list[Spot]:
    """Return what the map can hold, in the order given."""
    if len(spots) <= SPOTS_MAX:
        return list(spots)
    ranked = sorted(spots, key=lambda s: (s.look.tone is Tone.RUN, -s.devices, s.name))
    kept = {s.id for s in ranked[:SPOTS_MAX]}
    return [s for s in spots if s.id in kept]


def _totals(facts: NowFacts, spots: Sequence[Spot], now_ms: int) -> Totals:
    fresh = [i for i in facts.islands if not is_stale(i, now_ms) and i.health]
    power = sum(i.health.power_w for i in fresh if i.health)
    carbon = sum(
        i.health.power_w / 1000 * i.profile.pue * i.profile.carbon_g_per_kwh
        for i in fresh
        if i.health
    )
    qualities = [i.inventory.power_quality for i in fresh if i.inventory]
    worst = max(qualities, key=lambda q: q.value, default=EnergyQuality.MODEL)
    stale = {i.id for i in facts.islands if is_stale(i, now_ms)}
    live = [s for s in spots if s.id not in stale]
    simulated = simulated_names(facts.islands)
    return Totals(
        islands_live=len(live),
        islands=sum(1 for i in facts.islands if i.state is not IslandState.LEFT),
        devices_busy=sum(c.busy for c in live),
        devices=sum(c.devices for c in live),
        running=facts.counts_active,
        waiting=facts.counts_waiting,
        spend_per_h=summed(rate(j.current) for j in facts.active if j.current),
        billed=summed(
            Amount(micros=micros, currency=currency)
            for (account, currency), micros in facts.balances.items()
            if account.startswith("receivable:")
        ),
        power_w=power,
        power_quality=QUALITY_WORDS[worst],
        carbon_g_per_h=carbon,
        price_simulated="price_per_device_h" in simulated,
        carbon_simulated="carbon_g_per_kwh" in simulated,
    )


def _pressing(facts: NowFacts, now_ms: int) -> list[Pressing]:
    found = [_island_trouble(i) for i in facts.islands]
    found += [_failed(j) for j in facts.failed if now_ms - j.ended_ms < RECENT_MS]
    found += [_stuck(j) for j in facts.waiting]
    found += [_cut_off(j) for j in facts.active if j.state is JobState.DISCONNECTED]
    found += [_budget(t) for t in facts.tenants]
    kept = [p for p in found if p is not None]
    order = {Tone.FAIL: 0, Tone.BLOCK: 1}
    kept.sort(key=lambda p: (order.get(p.look.tone, 2), -p.at_ms, p.subject))
    return kept[:ROWS_MAX]


def _island_trouble(island: Island) -> Pressing | None:
    name = island.profile.name
    href = island_href(island.id)
    if island.state is IslandState.LOST:
        look = Look(tone=Tone.FAIL, icon="cut", word="island lost")
        message = "Not heard from; its attempts are fenced off and its jobs are placed elsewhere."
    elif island.state is IslandState.SUSPECT:
        look = Look(tone=Tone.BLOCK, icon="warn", word="island suspect")
        message = "Its lease has run out; it may be dead or cut off."
    elif island.health and island.health.problems and island.state is IslandState.LIVE:
        look = Look(tone=Tone.BLOCK, icon="warn", word="island unwell")
        message = "; ".join(island.health.problems)
    else:
        return None
    return Pressing(
        look=look,
        subject=name,
        href=href,
        message=message,
        try_this="causeway islands",
        at_ms=island.heard_ms,
    )


def _failed(job: Job) -> Pressing:
    line = job_line(job, job.ended_ms)
    return Pressing(
        look=Look(tone=Tone.FAIL, icon="cross", word="job failed"),
        subject=job.spec.name,
        href=job_href(job.id),
        message=line.headline,
        try_this=f"causeway logs {short(job.id)}",
        at_ms=job.ended_ms,
    )


def _stuck(job: Job) -> Pressing | None:
    reason = next((r for r in job.reasons if r.severity is Severity.BLOCK), None)
    if reason is None:
        return None
    return Pressing(
        look=Look(tone=Tone.BLOCK, icon="warn", word="job blocked"),
        subject=job.spec.name,
        href=job_href(job.id),
        message=reason.message,
        try_this=reason.try_this or f"causeway explain {short(job.id)}",
        at_ms=job.queued_ms,
    )


def _cut_off(job: Job) -> Pressing:
    return Pressing(
        look=Look(tone=Tone.BLOCK, icon="cut", word="job cut off"),
        subject=job.spec.name,
        href=job_href(job.id),
        message=job.reasons[0].message if job.reasons else "Its island is cut off; it waits.",
        try_this=f"causeway explain {short(job.id)}",
        at_ms=job.queued_ms,
    )


def _budget(tenant: Tenant) -> Pressing | None:
    if tenant.budget_micros is None or tenant.spent_micros < 0.9 * tenant.budget_micros:
        return None
    return Pressing(
        look=Look(tone=Tone.BLOCK, icon="warn", word="budget"),
        subject=tenant.name,
        href="/bill",
        message=f"{figures.money(tenant.spent_micros)} of {figures.money(tenant.budget_micros)} "
        "is spent; new work stops at the budget.",
        try_this="",
        at_ms=0,
    )


def _quotas(tenant: Tenant, active: Sequence[Job]) -> list[Quota]:
    used = sum(j.current.devices for j in active if j.tenant == tenant.name and j.current)
    quotas = []
    if tenant.quota_devices is not None:
        borrowed = max(0, used - tenant.quota_devices)
        more = f", {borrowed} borrowed" if borrowed else ""
        quotas.append(
            Quota(
                name=f"{tenant.name}: devices",
                used=used,
                limit=tenant.quota_devices,
                text=f"{used} of {tenant.quota_devices}{more}",
            )
        )
    if tenant.budget_micros is not None:
        spent, budget = figures.money(tenant.spent_micros), figures.money(tenant.budget_micros)
        quotas.append(
            Quota(
                name=f"{tenant.name}: budget",
                used=tenant.spent_micros,
                limit=tenant.budget_micros,
                text=f"{spent} of {budget}",
            )
        )
    return quotas
