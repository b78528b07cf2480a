"""Offers in order for one shape: who is out and why, who is in and at which score.

A shape is matched once per round. Jobs of the shape that differ in their past (checkpoint to
move, islands where they failed) share the match and get an order of their own. Within a round
room only shrinks, so an offer that no longer holds a shape never will again and the order is
walked once, not once per job.

The placement table is built for jobs that are placed, and shared by the jobs of a shape that go to
the same offer: it shows the room as it was when the first of them was placed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from causeway.model.fleet import Candidate, PoolView, WaitingJob
from causeway.model.reasons import Reason, Severity, Token
from causeway.schedule.ask import Ask, Figures, priced
from causeway.schedule.filters import first_reason, relevant, usable_devices
from causeway.schedule.ledger import Ledger
from causeway.schedule.scores import base_terms, variant_terms
from causeway.schedule.words import amount, duration, held, usd

COMPARED_MAX = 4
"""Next best offers whose row says by how much they lost; the others show their terms only."""

BEFORE_MAX = 16
AFTER_MAX = 48
EXCLUDED_MAX = 64
"""Rows of a placement table: better offers without room, worse offers, excluded offers."""

_HAS_ROOM = Reason(
    token=Token.OUTSCORED,
    severity=Severity.INFO,
    message="It may and can; offers with a lower score go first.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An offer with its figures, as a round holds it."""

    pool: PoolView
    figures: Figures
    on_cores: Figures | None = None
    """The figures of a job without accelerators, where they differ."""

    def seen_by(self, ask: Ask) -> Figures:
        """Return the figures that a job is concerned with."""
        if ask.spec.resources.accelerator is None and self.on_cores is not None:
            return self.on_cores
        return self.figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligible:
    """An offer that may and could hold the shape."""

    offer: Offer
    terms_usd: Mapping[str, float]
    score_usd: float
    unusable: int
    """Accelerators of the pool that do not match the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """An offer that may not or could not hold the shape."""

    offer: Offer
    reasons: tuple[Reason, ...]


@dataclass(slots=True, kw_only=True)
class Ranking:
    """Offers for one shape and variant, best first."""

    ask: Ask
    eligible: tuple[Eligible, ...]
    excluded: tuple[Excluded, ...]
    at: int = 0
    """The first eligible offer that may still have room; those before it are full."""
    rows: dict[int, Candidate] = field(default_factory=dict)
    """Rows of eligible offers, by index, as they were when first shown in this round."""
    passed: dict[int, Candidate] = field(default_factory=dict)
    """Rows of eligible offers that have been passed over since, by index."""
    out: tuple[Candidate, ...] = ()
    """Rows of excluded offers, once a table was asked for."""
    tables: dict[str, tuple[Candidate, ...]] = field(default_factory=dict)
    """Placement tables by chosen offer."""


def match(ask: Ask, offers: Sequence[Offer]) -> Ranking:
    """Filter and score every offer for a shape."""
    eligible: list[Eligible] = []
    excluded: list[Excluded] = []
    checks = relevant(ask)
    wants_accelerator = ask.spec.resources.accelerator is not None
    for offer in offers:
        pool = offer.pool
        reason = first_reason(ask, pool, checks)
        if reason is not None:
            excluded.append(Excluded(offer=offer, reasons=(reason,)))
            continue
        unusable = 0
        if wants_accelerator:
            unusable = max(0, pool.capacity.accelerators - usable_devices(ask, pool))
        terms = base_terms(ask, pool, offer.seen_by(ask))
        score = sum(terms.values())
        eligible.append(Eligible(offer=offer, terms_usd=terms, score_usd=score, unusable=unusable))
    return Ranking(ask=ask, eligible=_sorted(eligible), excluded=tuple(excluded))


def vary(
    ranking: Ranking, job: WaitingJob, more: Callable[[PoolView], float] | None = None
) -> Ranking:
    """Return the ranking for one job's past and data; `more` says what crowding costs there."""
    if job.is_plain:
        return ranking
    eligible: list[Eligible] = []
    for row in ranking.eligible:
        offer = row.offer
        extra = variant_terms(ranking.ask, offer.pool, figures=offer.seen_by(ranking.ask), job=job)
        terms = {**row.terms_usd, **extra}
        if more is not None:
            terms["crowding"] = more(offer.pool)
        score = sum(terms.values())
        eligible.append(
            Eligible(offer=offer, terms_usd=terms, score_usd=score, unusable=row.unusable)
        )
    return Ranking(ask=ranking.ask, eligible=_sorted(eligible), excluded=ranking.excluded)


def _sorted(rows: list[Eligible]) -> tuple[Eligible, ...]:
    return tuple(sorted(rows, key=lambda r: (r.score_usd, r.offer.pool.offer)))


def table(ranking: Ranking, ledgers: Mapping[str, Ledger], chosen: int) -> tuple[Candidate, ...]:
    """Build a placement table: the chosen offer first, then others by rank, then those excluded.

    `chosen` is the index among the eligible offers. On a big fleet the table shows the chosen
    offer's neighbours in rank and `EXCLUDED_MAX` of the excluded; the chosen row's evidence counts
    all. Room below the chosen offer is shown as it was when the shape was first placed there.
    """
    ask, eligible = ranking.ask, ranking.eligible
    if not ranking.out:
        ranking.out = tuple(_excluded_row(ask, row) for row in ranking.excluded[:EXCLUDED_MAX])
    winner = eligible[chosen]
    rows = [_row(ask, winner, why=chosen_reason(ranking, winner))]
    for index in range(max(0, chosen - BEFORE_MAX), chosen):
        if index not in ranking.passed:
            row = eligible[index]
            full = shortage_reason(ask, row, ledgers[row.offer.pool.pool])
            # An offer is passed over for room or, where it has room, for the budget.
            ranking.passed[index] = _row(ask, row, why=full or over_budget_now(row))
        rows.append(ranking.passed[index])
    for index in range(chosen + 1, min(len(eligible), chosen + 1 + AFTER_MAX)):
        row = eligible[index]
        if index not in ranking.rows:
            ranking.rows[index] = _row(ask, row, why=_standing(ask, row, ledgers))
        compared = index <= chosen + COMPARED_MAX and ranking.rows[index].feasible
        rows.append(
            _row(ask, row, why=_outscored(row, winner)) if compared else ranking.rows[index]
        )
    return (*rows, *ranking.out)


def whole_table(ranking: Ranking, ledgers: Mapping[str, Ledger]) -> tuple[Candidate, ...]:
    """Build the table of every offer without a choice, best first."""
    ask = ranking.ask
    rows = [_row(ask, row, why=_standing(ask, row, ledgers)) for row in ranking.eligible]
    return (*rows, *(_excluded_row(ask, row) for row in ranking.excluded))


def _standing(ask: Ask, row: Eligible, ledgers: Mapping[str, Ledger]) -> Reason:
    """Say how an eligible offer stands when nothing is chosen."""
    return shortage_reason(ask, row, ledgers[row.offer.pool.pool]) or _HAS_ROOM


def over_budget_now(row: Eligible) -> Reason:
    """Say that what this round placed before leaves too little of the budget."""
    return Reason(
        token=Token.BUDGET,
        severity=Severity.WAIT,
        message=f"What this round has placed leaves too little of the budget for "
        f"{row.offer.pool.name}.",
        try_this="raise the budget",
    )


def _row(ask: Ask, row: Eligible, *, why: Reason) -> Candidate:
    pool, figures, devices = row.offer.pool, row.offer.seen_by(ask), ask.devices
    failed = "failed_here" in row.terms_usd
    return Candidate(
        offer=pool.offer,
        pool=pool.pool,
        island=pool.island,
        name=pool.name,
        feasible=why.severity is Severity.INFO,
        chosen=why.token is Token.CHOSEN,
        score_usd=row.score_usd,
        terms_usd=row.terms_usd,
        price_per_h_micros=priced(pool, devices),
        energy_kwh_per_h=figures.kwh_per_h * devices,
        carbon_g_per_h=figures.carbon_kg_per_h * 1000 * devices,
        wait_s=pool.queue_wait_s,
        reasons=(why, _failed_here(row)) if failed else (why,),
    )


def _excluded_row(ask: Ask, row: Excluded) -> Candidate:
    pool, figures = row.offer.pool, row.offer.seen_by(ask)
    return Candidate(
        offer=pool.offer,
        pool=pool.pool,
        island=pool.island,
        name=pool.name,
        feasible=False,
        price_per_h_micros=priced(pool, ask.devices),
        energy_kwh_per_h=figures.kwh_per_h * ask.devices,
        carbon_g_per_h=figures.carbon_kg_per_h * 1000 * ask.devices,
        wait_s=pool.queue_wait_s,
        reasons=row.reasons,
    )


def chosen_reason(ranking: Ranking, row: Eligible) -> Reason:
    """Say why this offer won, with its largest terms."""
    ask = ranking.ask
    ordered = sorted(row.terms_usd.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name} {usd(value)}" for name, value in ordered[:3] if value > 0)
    assumed = f" A run of {duration(ask.run_s)} is assumed." if ask.run_assumed else ""
    return Reason(
        token=Token.CHOSEN,
        severity=Severity.INFO,
        message=f"{row.offer.pool.name} scores best of the offers with room: "
        f"{usd(row.score_usd)} with time and risk weighed in{f' ({shown})' if shown else ''}."
        f"{assumed}",
        evidence={
            "score_usd": row.score_usd,
            "run_s": ask.run_s,
            "run_assumed": ask.run_assumed,
            "offers_lawful_and_big_enough": len(ranking.eligible),
            "offers_excluded": len(ranking.excluded),
        },
        try_this="state expected_run for a better estimate" if ask.run_assumed else "",
    )


def _outscored(row: Eligible, chosen: Eligible) -> Reason:
    """Say by how much, and mostly in which term, another offer was better."""
    more = {name: value - chosen.terms_usd.get(name, 0.0) for name, value in row.terms_usd.items()}
    term = max(more, key=lambda name: (more[name], name))
    by = row.score_usd - chosen.score_usd
    where = chosen.offer.pool.name
    return Reason(
        token=Token.OUTSCORED,
        severity=Severity.INFO,
        message=f"It scores {usd(by)} worse than {where}, mostly by {term}."
        if by > 0
        else f"It scores the same as {where}; the first by offer identifier is taken.",
        evidence={"more_usd": by, "term": term},
    )


def _failed_here(row: Eligible) -> Reason:
    pool = row.offer.pool
    return Reason(
        token=Token.ALREADY_FAILED_HERE,
        severity=Severity.INFO,
        message=f"An earlier attempt was lost or failed on {pool.name}; others are preferred.",
        evidence={"penalty_usd": row.terms_usd["failed_here"]},
    )


def shortage(ask: Ask, row: Eligible, ledger: Ledger) -> Token | None:
    """Say what kind of shortage keeps the job from starting on an eligible offer now, if any."""
    if ledger.can_place(ask, unusable=row.unusable, speed=row.offer.pool.speed):
        return None
    first = _ahead(ask, ledger)
    if first is not None and first[0] > ask.spec.priority:
        return Token.PRIORITY
    if first is not None and first[1] != ask.tenant:
        return Token.FAIR_SHARE
    return Token.CAPACITY


def _ahead(ask: Ask, ledger: Ledger) -> tuple[int, str] | None:
    """Return priority and tenant of who took room in this round that would have been enough."""
    if not ledger.free_at_start.fits(ask.spec.resources, ask.nodes):
        return None
    held = ledger.reservation
    return (held.priority, held.tenant) if held is not None else ledger.ahead


def shortage_reason(ask: Ask, row: Eligible, ledger: Ledger) -> Reason | None:
    """Return why the job cannot start on an eligible offer now, or None when it can."""
    token = shortage(ask, row, ledger)
    if token is None:
        return None
    pool, need, first = row.offer.pool, ask.spec.resources, _ahead(ask, ledger)
    message = (
        f"It needs {amount(need, ask.nodes)}; {pool.name} has {held(ledger.free, need)} free now."
    )
    if first is not None and token is Token.PRIORITY:
        message = f"Work of priority {first[0]} goes first on {pool.name}."
    elif first is not None and token is Token.FAIR_SHARE:
        message = f"Work of {first[1]}, which is ahead in the queue, goes first on {pool.name}."
    elif first is not None:
        message = f"An older job of {ask.tenant} goes first on {pool.name}."
    return Reason(
        token=token,
        severity=Severity.WAIT,
        message=message,
        evidence={
            "needed_cpu_milli": need.cpu_milli * ask.nodes,
            "free_cpu_milli": ledger.free.cpu_milli,
            "needed_memory_bytes": need.memory_bytes * ask.nodes,
            "free_memory_bytes": ledger.free.memory_bytes,
            "needed_accelerators": need.accelerator.count * ask.nodes if need.accelerator else 0,
            "free_accelerators": ledger.free.accelerators,
            "queue_wait_s": pool.queue_wait_s,
        },
    )
