"""The smallest changes that would let a waiting job start, each checked before it is shown.

An option is one edit of the specification, with its amount worked out from the offers (the lowest
price cap that takes one more offer, the most CPU that one offer has free). Single edits are tried
first; when none of them lets the job start now, pairs are. Every edit is put through the same
filters and the same test for room as a placement; what the law forbids stays forbidden, because no
edit here touches what the law looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import combinations

from causeway.model.fleet import PoolView, Snapshot, WaitingJob
from causeway.model.jobs import JobSpec
from causeway.model.resources import Resources
from causeway.schedule.ask import Matches
from causeway.schedule.filters import expected_cost_micros
from causeway.schedule.ranking import Ranking
from causeway.schedule.round import Round
from causeway.schedule.words import cores, counted, duration, gib, names

SHOWN_MAX = 8
PRICES_MAX = 16
"""Price levels above the cap that are tried, cheapest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change (or pair of changes) and what it would do."""

    fields: tuple[str, ...]
    """Fields of the job that are changed; empty for waiting."""
    sentence: str
    """What to do, for a person."""
    offers_now: int
    """Offers on which the job could start now, before those who are ahead in the queue."""
    offers_later: int
    """Offers that would take it once they have room."""
    islands: str
    """Some names of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    field: str
    sentence: str
    edit: Callable[[WaitingJob], WaitingJob]


def changes_for(snapshot: Snapshot, job: WaitingJob, *, matches: Matches) -> tuple[Change, ...]:
    """Return the changes that help, those that let the job start now first, smallest first."""
    trial = Round(replace(snapshot, waiting=()), matches, limit=1)
    before = _reach(trial, job)
    options = list(_options(trial, job))
    helpful = [
        change
        for option in options
        if (change := _tried(trial, job, options=(option,), before=before)) is not None
    ]
    if not any(change.offers_now for change in helpful):
        helpful += [
            change
            for pair in combinations(options, 2)
            if pair[0].field != pair[1].field
            if (change := _tried(trial, job, options=pair, before=before)) is not None
            if change.offers_now
        ]
    ordered = sorted(helpful, key=lambda c: (c.offers_now == 0, len(c.fields), c.fields))
    return (*ordered[:SHOWN_MAX], *_waiting(trial, job))


def _reach(trial: Round, job: WaitingJob) -> tuple[list[str], list[str]]:
    """Return the names of offers where the job could start now, and where it could later."""
    ranking = trial.ranking_of(job)
    return _with_room(trial, ranking), [row.offer.pool.name for row in ranking.eligible]


def _with_room(trial: Round, ranking: Ranking) -> list[str]:
    return [
        row.offer.pool.name
        for row in ranking.eligible
        if trial.ledgers[row.offer.pool.pool].can_place(
            ranking.ask, unusable=row.unusable, speed=row.offer.pool.speed
        )
    ]


def _tried(
    trial: Round,
    job: WaitingJob,
    *,
    options: tuple[_Option, ...],
    before: tuple[list[str], list[str]],
) -> Change | None:
    """Run the filters on the changed job; return None when the change opens nothing."""
    for option in options:
        job = option.edit(job)
    now, later = _reach(trial, job)
    if len(now) <= len(before[0]) and len(later) <= len(before[1]):
        return None
    return Change(
        fields=tuple(option.field for option in options),
        sentence=" and ".join(option.sentence for option in options),
        offers_now=len(now),
        offers_later=len(later),
        islands=names(now or later),
    )


def _options(trial: Round, job: WaitingJob) -> Iterator[_Option]:
    """Yield the single edits that may help; each is worth a check, none is a promise."""
    spec = job.spec
    pools = [offer.pool for offer in trial.offers if offer.pool.fresh and offer.pool.healthy]
    if spec.where:
        yield _of_spec("where", "drop `where`", lambda s: replace(s, where=""))
    if not spec.spot:
        yield _of_spec("spot", "accept spot capacity", lambda s: replace(s, spot=True))
    if spec.isolation:
        sentence = f"accept weaker isolation than {spec.isolation}"
        yield _of_spec("isolation", sentence, lambda s: replace(s, isolation=""))
    if spec.deadline_ms:
        yield _of_spec("deadline", "drop the deadline", lambda s: replace(s, deadline_ms=0))
    if spec.image:
        yield _of_spec("image", "run without a container image", lambda s: replace(s, image=""))
    yield from _price_options(trial, job, pools)
    yield from _budget_options(trial, job, pools)
    yield from _run_options(job, pools)
    yield from _size_options(trial, job, pools)


def _of_spec(field: str, sentence: str, edit: Callable[[JobSpec], JobSpec]) -> _Option:
    return _Option(
        field=field, sentence=sentence, edit=lambda job: replace(job, spec=edit(job.spec))
    )


def _price_options(trial: Round, job: WaitingJob, pools: list[PoolView]) -> Iterator[_Option]:
    """Yield the lowest cap that opens another offer by itself, or the highest price of all."""
    cap = job.spec.price_cap_per_device_h
    if cap is None:
        return
    rates = trial.snapshot.usd_per_unit
    prices = {
        p.price.amount_per_device_h * Decimal(str(rates[p.price.currency]))
        for p in pools
        if p.price.currency in rates
    }
    above = sorted(price for price in prices if price > cap)
    before = _reach(trial, job)
    for price in above[:PRICES_MAX]:
        option = _capped(price)
        if _tried(trial, job, options=(option,), before=before) is not None:
            yield option
            return
    if above:
        yield _capped(above[-1])


def _capped(price: Decimal) -> _Option:
    return _of_spec(
        "price_cap_per_device_h",
        f"raise the price cap to ${price.normalize():f} per device-hour",
        lambda s: replace(s, price_cap_per_device_h=price),
    )


def _budget_options(trial: Round, job: WaitingJob, pools: list[PoolView]) -> Iterator[_Option]:
    """Yield the budget that the cheapest run needs."""
    ask = trial.ranking_of(job).ask
    if ask.budget_left_micros is None or not pools:
        return
    unbounded = replace(
        job, spec=replace(job.spec, budget_micros=None), tenant_budget_left_micros=None
    )
    rows = trial.ranking_of(unbounded).eligible
    least = min((expected_cost_micros(ask, row.offer.pool) for row in rows), default=0)
    if least <= ask.budget_left_micros:
        return

    def edit(old: WaitingJob) -> WaitingJob:
        left = old.tenant_budget_left_micros
        return replace(
            old,
            spec=replace(old.spec, budget_micros=least if old.spec.budget_micros else None),
            tenant_budget_left_micros=None if left is None else max(left, least),
        )

    yield _Option(field="budget", sentence=f"raise the budget to ${least / 1e6:.6g}", edit=edit)


def _run_options(job: WaitingJob, pools: list[PoolView]) -> Iterator[_Option]:
    """Yield a time limit that an owner accepts."""
    most = [p.policy.max_run_s for p in pools if p.policy.max_run_s]
    bound = job.spec.time_limit_s or job.spec.expected_run_s
    if most and (not bound or bound > max(most)):
        limit_s = max(most)
        yield _of_spec(
            "time_limit_s",
            f"set a time limit of {duration(limit_s)}",
            lambda s: replace(s, time_limit_s=limit_s),
        )


def _size_options(trial: Round, job: WaitingJob, pools: list[PoolView]) -> Iterator[_Option]:
    """Yield smaller sizes that fit what some offer has free, the largest such size of each kind."""
    spec, need = job.spec, job.spec.resources
    free = [trial.ledgers[p.pool].free for p in pools if not p.cordoned]
    cpu = _largest(c.cpu_milli // spec.num_nodes for c in free)
    cpu = cpu // 1000 * 1000 or cpu
    if 0 < cpu < need.cpu_milli:
        yield _sized("cpus", f"ask for {cores(cpu)} per node", replace(need, cpu_milli=cpu))
    memory = _largest(c.memory_bytes // spec.num_nodes for c in free)
    if 0 < memory < need.memory_bytes:
        smaller = replace(need, memory_bytes=memory)
        yield _sized("memory", f"ask for {gib(memory)} of memory per node", smaller)
    wanted = need.accelerator
    if wanted is not None:
        if wanted.model or wanted.memory_bytes_min:
            anything = replace(wanted, model="", memory_bytes_min=0)
            sentence = "accept any accelerator model and memory"
            yield _sized("accelerator", sentence, replace(need, accelerator=anything))
        count = _largest(c.accelerators // spec.num_nodes for c in free)
        if 0 < count < wanted.count:
            fewer = replace(need, accelerator=replace(wanted, count=count))
            yield _sized("accelerator", f"ask for {counted(count, 'accelerator')} per node", fewer)
    for nodes in range(spec.num_nodes - 1, 0, -1):
        if any(c.fits(need, nodes) for c in free):
            yield _of_spec("num_nodes", f"use {counted(nodes, 'node')}", _with_nodes(nodes))
            return


def _with_nodes(nodes: int) -> Callable[[JobSpec], JobSpec]:
    return lambda spec: replace(spec, num_nodes=nodes)


def _largest(values: Iterable[int]) -> int:
    return max(values, default=0)


def _sized(field: str, sentence: str, smaller: Resources) -> _Option:
    def edit(spec: JobSpec) -> JobSpec:
        # Only this kind is changed, so that a pair of sizes keeps both of its edits.
        old = spec.resources
        if field == "cpus":
            return replace(spec, resources=replace(old, cpu_milli=smaller.cpu_milli))
        if field == "memory":
            return replace(spec, resources=replace(old, memory_bytes=smaller.memory_bytes))
        return replace(spec, resources=replace(old, accelerator=smaller.accelerator))

    return _of_spec(field, sentence, edit)


def _waiting(trial: Round, job: WaitingJob) -> Iterator[Change]:
    """Yield how long running work with a known end keeps the job from the soonest offer."""
    ranking = trial.ranking_of(job)
    if _with_room(trial, ranking):
        return
    starts: list[tuple[int, str]] = []
    for row in ranking.eligible:
        ledger = trial.ledgers[row.offer.pool.pool]
        found = ledger.reserve(ranking.ask, unusable=row.unusable, job=job.id)
        if found is not None and found.start_ms:
            starts.append((found.start_ms, row.offer.pool.name))
    if starts:
        start_ms, name = min(starts)
        left_s = max(0, start_ms - ranking.ask.now_ms) / 1000
        yield Change(
            fields=(),
            sentence=f"wait about {duration(left_s)}, until running work on {name} should end",
            offers_now=0,
            offers_later=len(ranking.eligible),
            islands=name,
        )
