"""The whole picture: offers, queue, running work and tenants, as one value.

What leases hold is a sum over jobs; `holdings` computes it from nothing, and a shell that sees
every change adds and takes away job by job instead (`Capacity.plus`, `Capacity.less`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from causeway.model.fleet import PoolView, RunningJob, Snapshot, TenantShare, WaitingJob
from causeway.model.jobs import HOLDS_LEASE, AttemptState, Job, JobKind, JobState
from causeway.model.parties import Tenant
from causeway.model.resources import Capacity
from causeway.model.values import replace

UNKNOWN_WAIT_S = 3_600.0
"""Taken as the wait for a full pool when none of its jobs says how long it will run."""
WENT_BADLY = frozenset({AttemptState.FAILED, AttemptState.LOST, AttemptState.REFUSED})


def holdings(jobs: Iterable[Job]) -> dict[str, Capacity]:
    """Return what leases hold, by pool: nodes times resources of every job that holds one."""
    used: dict[str, Capacity] = {}
    for job in jobs:
        if job.state in HOLDS_LEASE and job.attempts:
            pool = job.attempts[-1].pool
            used[pool] = used.get(pool, Capacity()).plus(job.spec.resources, job.spec.num_nodes)
    return used


def snapshot(
    *,
    pools: Sequence[PoolView],
    queued: Iterable[Job],
    held: Iterable[Job],
    tenants: Mapping[str, Tenant],
    now_ms: int,
) -> Snapshot:
    """Return the picture of one round. The queue is in order of submission, then of id."""
    running = tuple(running_job(job) for job in held if job.state in HOLDS_LEASE and job.attempts)
    waiting = [
        waiting_job(job, tenants.get(job.tenant))
        for job in queued
        if job.state is JobState.QUEUED and job.spec.kind is not JobKind.GROUP
    ]
    usable = {pool.pool for pool in pools if pool.fresh and pool.healthy and not pool.cordoned}
    # Room that was made where nothing can be placed any more is no reason to go before others.
    waiting = [
        replace(job, promised="") if job.promised and job.promised not in usable else job
        for job in waiting
    ]
    waiting.sort(key=lambda job: (job.submitted_ms, job.id))
    return Snapshot(
        now_ms=now_ms,
        pools=_with_waits(pools, running, now_ms),
        waiting=tuple(waiting),
        running=running,
        tenants={
            name: TenantShare(
                tenant=name,
                weight=tenant.weight,
                quota_devices=tenant.quota_devices,
                borrow_devices=tenant.borrow_devices,
                parent=tenant.parent,
                lend_devices=tenant.lend_devices,
            )
            for name, tenant in tenants.items()
        },
    )


def waiting_job(job: Job, tenant: Tenant | None) -> WaitingJob:
    """Return a queued job as the scheduler sees it."""
    budget = tenant.budget_micros if tenant else None
    bad = Counter(a.island for a in job.attempts if a.state in WENT_BADLY) if job.attempts else {}
    return WaitingJob(
        id=job.id,
        tenant=job.tenant,
        spec=job.spec,
        queued_ms=job.queued_ms,
        submitted_ms=job.submitted_ms,
        not_before_ms=job.not_before_ms,
        failed_islands=bad,
        checkpoint_bytes=job.checkpoint.bytes if job.checkpoint else 0,
        tenant_budget_left_micros=(
            None if tenant is None or budget is None else budget - tenant.spent_micros
        ),
        promised=job.promised,
        group=job.group,
        at_once=job.at_once,
    )


def running_job(job: Job) -> RunningJob:
    """Return a job that holds a lease as the scheduler sees it.

    Its end is expected after the user's estimate, at the latest at its time limit; unknown (0)
    without either. Work done in earlier attempts is not taken off: how much is not known.
    """
    attempt = job.attempts[-1]
    spec = job.spec
    length_s = min((s for s in (spec.expected_run_s, spec.time_limit_s) if s > 0), default=0.0)
    start_ms = attempt.started_ms or attempt.leased_ms
    return RunningJob(
        id=job.id,
        tenant=job.tenant,
        spec=spec,
        fence=attempt.fence,
        pool=attempt.pool,
        started_ms=attempt.started_ms,
        leased_ms=attempt.leased_ms,
        expected_end_ms=start_ms + round(length_s * 1000) if length_s else 0,
        checkpoint_ms=job.checkpoint.at_ms if job.checkpoint else 0,
        checkpoint_bytes=job.checkpoint.bytes if job.checkpoint else 0,
        stopping=job.state is JobState.STOPPING,
        group=job.group,
        at_once=job.at_once,
    )


def _with_waits(
    pools: Sequence[PoolView], running: Iterable[RunningJob], now_ms: int
) -> tuple[PoolView, ...]:
    """Fill in how long a full pool keeps a job waiting: until its first expected end."""
    first_end_ms: dict[str, int] = {}
    for job in running:
        if job.expected_end_ms:
            known = first_end_ms.get(job.pool, job.expected_end_ms)
            first_end_ms[job.pool] = min(known, job.expected_end_ms)
    return tuple(
        replace(pool, queue_wait_s=_wait_s(first_end_ms.get(pool.pool), now_ms))
        if _is_full(pool)
        else pool
        for pool in pools
    )


def _wait_s(end_ms: int | None, now_ms: int) -> float:
    return UNKNOWN_WAIT_S if end_ms is None else max(0, end_ms - now_ms) / 1000


def _is_full(pool: PoolView) -> bool:
    """Say whether not one device is free: accelerators where there are any, cores elsewhere."""
    if pool.capacity.accelerators:
        return pool.free.accelerators == 0
    return pool.free.cpu_milli < 1000
