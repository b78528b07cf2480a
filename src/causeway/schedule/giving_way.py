"""Work that gives way for fairness alone: a tenant below its share, others above theirs.

Quotas say what belongs to whom, and priorities what is urgent; among tenants that have neither,
who came first keeps everything until it ends. Where an operator sets a protected share, a round
ends with `shares.refill` over the pools: of a tenant that holds more than this part of its fair
share, work above it gives way to tenants that are below theirs, the cheapest to stop first. What
is stopped is told here, what starts in its place is placed by the rounds that follow; room of
attempts that are stopping already counts as free, so nothing is stopped twice for one job.

Tenants with a quota or a parent are left out, as claimants and as victims: their claims are in
`tenancy` and `preempt`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from causeway.model.fleet import Plan, Preempt, RunningJob, Snapshot, WaitingJob
from causeway.model.jobs import JobKind
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.resources import Capacity, Resources
from causeway.schedule.ledger import Ledger
from causeway.schedule.preempt import EXEMPT_MS, lost_work_s, stop_cost_device_s
from causeway.schedule.ranking import Ranking
from causeway.schedule.shares.fair import Need
from causeway.schedule.shares.refill import Holding, Queued, Refill, refill
from causeway.schedule.tenancy import Tenancy
from causeway.schedule.words import duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A round as it stands before fairness is looked at."""

    snapshot: Snapshot
    plan: Plan
    taken: Mapping[str, str]
    """Job -> pool where the round gave or promised it room."""
    ledgers: Mapping[str, Ledger]
    tenancy: Tenancy
    ranking_of: Callable[[WaitingJob], Ranking]


def fair_stops(decided: Decided) -> tuple[Preempt, ...]:
    """Return whom else a round tells to stop, each with the job that it gives way to."""
    claimants = _claimants(decided)
    if not claimants:
        return ()
    rows = {pool: row for row, pool in enumerate(sorted(decided.ledgers))}
    gone = {(stop.job, stop.fence) for stop in decided.plan.preempts}
    staying = [
        attempt
        for attempt in decided.snapshot.running
        if attempt.pool in rows and not attempt.stopping and (attempt.id, attempt.fence) not in gone
    ]
    running = [_holding(a, decided, rows[a.pool]) for a in staying]
    running += _just_taken(decided, rows)
    capacity = np.array([_amounts(decided.ledgers[pool].settled) for pool in rows], dtype=np.int64)
    for holding in running:
        capacity[holding.nodes[0]] += holding.need
    tenants = {holding.queue for holding in running} | {job.tenant for job in claimants}
    found = refill(
        capacity,
        weights={name: decided.tenancy.share_of(name).weight for name in tenants},
        running=running,
        waiting=_queued(claimants, decided, rows),
        protected_share=decided.snapshot.protected_share,
        classes=np.arange(len(rows), dtype=np.int64),
    )
    return _stops(found, {a.id: a for a in staying}, claimants, decided, rows)


def _claimants(decided: Decided) -> list[WaitingJob]:
    """Return jobs that wait for room and nothing else, of tenants without quotas."""
    short = {
        wait.job
        for wait in decided.plan.waits
        if wait.reasons and wait.reasons[0].token is Token.CAPACITY
    }
    return [
        job
        for job in decided.snapshot.waiting
        if job.id in short
        and job.id not in decided.taken
        and job.spec.islands <= 1
        and not decided.tenancy.may_claim(job.tenant)
    ]


def _holding(attempt: RunningJob, decided: Decided, row: int) -> Holding:
    now_ms = decided.snapshot.now_ms
    return Holding(
        id=attempt.id,
        queue=attempt.tenant,
        need=_need(attempt.spec.resources, attempt.spec.num_nodes),
        nodes=(row,),
        priority=attempt.spec.priority,
        preemptible=attempt.spec.kind is JobKind.BATCH
        and now_ms - attempt.leased_ms >= EXEMPT_MS
        and not decided.tenancy.may_claim(attempt.tenant),
        cost_device_s=stop_cost_device_s(attempt, now_ms),
    )


def _just_taken(decided: Decided, rows: Mapping[str, int]) -> list[Holding]:
    """Return what this round gave or promised, as work that nobody stops."""
    jobs = {job.id: job for job in decided.snapshot.waiting}
    return [
        Holding(
            id=name,
            queue=jobs[name].tenant,
            need=_need(jobs[name].spec.resources, jobs[name].spec.num_nodes),
            nodes=(rows[pool],),
            preemptible=False,
        )
        for name, pool in decided.taken.items()
    ]


def _queued(
    claimants: Iterable[WaitingJob], decided: Decided, rows: Mapping[str, int]
) -> list[Queued]:
    """Put claimants in terms of pools: a gang runs in one pool, and takes its room there whole."""
    pools: dict[int, frozenset[int]] = {}
    found = []
    for job in claimants:
        ranking = decided.ranking_of(job)
        where = pools.get(id(ranking))
        if where is None:
            where = pools[id(ranking)] = frozenset(
                rows[row.offer.pool.pool] for row in ranking.eligible if not row.unusable
            )
        found.append(
            Queued(
                id=job.id,
                queue=job.tenant,
                need=_need(job.spec.resources, job.spec.num_nodes),
                priority=job.spec.priority,
                since_ms=job.submitted_ms,
                classes=where,
            )
        )
    return found


def _stops(
    found: Refill,
    attempts: Mapping[str, RunningJob],
    claimants: Iterable[WaitingJob],
    decided: Decided,
    rows: Mapping[str, int],
) -> tuple[Preempt, ...]:
    """Return the orders, each for one of the jobs that start where the victim is, in turn."""
    starts: dict[int, deque[WaitingJob]] = {}
    for job in claimants:
        if job.id in found.starts:
            starts.setdefault(found.starts[job.id][0], deque()).append(job)
    orders = []
    for name in found.stops:
        victim = attempts[name]
        here = starts.get(rows[victim.pool])
        if here:
            claimant = here[0]
            here.rotate(-1)
            lost_s = lost_work_s(victim, decided.snapshot.now_ms)
            orders.append(
                Preempt(
                    job=victim.id,
                    fence=victim.fence,
                    for_job=claimant.id,
                    lost_work_s=lost_s,
                    reasons=(_why(victim, claimant, found, lost_s),),
                )
            )
    return tuple(orders)


def _why(victim: RunningJob, claimant: WaitingJob, found: Refill, lost_s: float) -> Reason:
    mine, theirs = victim.tenant, claimant.tenant
    return Reason(
        token=Token.PREEMPTED,
        severity=Severity.WAIT,
        message=f"It gives way to a job of {theirs}, whose fair share is "
        f"{100 * found.fair[theirs]:.0f}% of the fleet; {mine} holds more than its "
        f"{100 * found.fair[mine]:.0f}%. {duration(lost_s)} of work since its last checkpoint or "
        "start is lost.",
        evidence={
            "for_job": claimant.id,
            "lost_work_s": lost_s,
            "fair_share": found.fair[mine],
            "claimant_fair_share": found.fair[theirs],
        },
        try_this="checkpoint more often to lose less",
    )


def _need(resources: Resources, nodes: int) -> Need:
    return _amounts(Capacity().plus(resources, nodes))


def _amounts(capacity: Capacity) -> Need:
    return (
        capacity.cpu_milli,
        capacity.memory_bytes,
        capacity.disk_bytes,
        capacity.accelerators,
    )
