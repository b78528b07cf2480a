"""What one queued job asks for, in the form that filters and scores read; and its shape.

Jobs with an equal *shape* get the same answer from every filter, so a round matches each shape
once (HTCondor calls such a set an autocluster). What differs between jobs of one shape, the
checkpoint and the data that must be moved and the islands where the job failed before, only
changes scores and is kept apart as the *variant*.

Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from causeway.model.fleet import PoolView, Snapshot, WaitingJob
from causeway.model.jobs import JobSpec
from causeway.model.reasons import Reason
from causeway.model.resources import Capacity

RUN_ASSUMED_S = 3600.0
"""Run time that is assumed when the job does not say one."""
USD: Mapping[str, float] = {"USD": 1.0}

Matches = Callable[[str, PoolView], bool]
"""Evaluates a `where` expression on an offer; the shell passes the one of the discover room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One job, with what follows from its specification worked out once."""

    id: str
    tenant: str
    spec: JobSpec
    nodes: int
    devices: int
    """Billable devices of the whole gang."""
    total: Capacity
    """What the whole gang takes."""
    run_s: float
    """Expected run time at speed 1."""
    run_assumed: bool
    """Whether `run_s` is an assumption because the job does not say."""
    now_ms: int
    budget_left_micros: int | None
    """The tighter of the job's and the tenant's budget; None: neither is set."""
    forbidden: Mapping[str, Reason]
    """Pool -> why the law forbids it."""
    matches: Matches
    usd_per_unit: Mapping[str, float]
    siblings: frozenset[str] = frozenset()
    """Islands that hold, or were promised to, another member of a job over several islands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """An offer's figures per device, worked out once per round."""

    usd_per_h: float
    kwh_per_h: float
    """Facility energy of one busy device, PUE included."""
    usd_per_kwh: float
    carbon_kg_per_h: float
    losses_per_h: float
    bytes_per_s: float
    """Measured, or assumed when nothing was measured."""


BANDWIDTH_ASSUMED_MBIT_S = 100.0
"""Used in scores while no transfer with the island has been measured."""


def figures_of(
    pool: PoolView, usd_per_unit: Mapping[str, float], *, power_w: float | None = None
) -> Figures:
    """Work out an offer's figures. A currency without a rate counts as 1; a filter excludes it.

    `power_w` stands for the power of a billable device where it is not the pool's usual one.
    """
    rate = usd_per_unit.get(pool.price.currency, 1.0)
    watts = pool.power_w_per_device if power_w is None else power_w
    kwh_per_h = watts / 1000 * pool.pue
    return Figures(
        usd_per_h=float(pool.price.amount_per_device_h) * rate,
        kwh_per_h=kwh_per_h,
        usd_per_kwh=float(pool.price.per_kwh) * rate,
        carbon_kg_per_h=kwh_per_h * pool.carbon_g_per_kwh / 1000,
        losses_per_h=pool.interruptions_per_day / 24,
        bytes_per_s=(pool.bandwidth_mbit_s or BANDWIDTH_ASSUMED_MBIT_S) * 125_000,
    )


def islands_of_groups(snapshot: Snapshot) -> dict[str, set[str]]:
    """Return where each job over several islands has members already: group -> islands."""
    found: dict[str, set[str]] = {}
    wide = [attempt for attempt in snapshot.running if attempt.spec.islands > 1]
    if wide:
        islands = {pool.pool: pool.island for pool in snapshot.pools}
        for attempt in wide:
            # An island that is out of the picture takes no sibling anyway.
            if attempt.pool in islands:
                found.setdefault(attempt.group, set()).add(islands[attempt.pool])
    return found


def ask_of(
    job: WaitingJob,
    snapshot: Snapshot,
    matches: Matches,
    *,
    siblings: frozenset[str] = frozenset(),
) -> Ask:
    """Work out what a job asks for."""
    spec = job.spec
    run_s = spec.expected_run_s or RUN_ASSUMED_S
    if spec.time_limit_s:
        run_s = min(run_s, spec.time_limit_s)
    budgets = [b for b in (spec.budget_micros, job.tenant_budget_left_micros) if b is not None]
    return Ask(
        id=job.id,
        tenant=job.tenant,
        spec=spec,
        nodes=spec.num_nodes,
        devices=spec.resources.devices * spec.num_nodes,
        total=Capacity().plus(spec.resources, spec.num_nodes),
        run_s=run_s,
        run_assumed=not spec.expected_run_s,
        now_ms=snapshot.now_ms,
        budget_left_micros=min(budgets) if budgets else None,
        forbidden=snapshot.verdicts.get(job.id, {}),
        matches=matches,
        usd_per_unit=snapshot.usd_per_unit,
        siblings=siblings,
    )


def shape_of(job: WaitingJob, forbidden: Hashable) -> Hashable:
    """Return a key that is equal for jobs that every filter treats alike.

    `forbidden` stands for the set of pools that the law forbids this job.
    """
    spec = job.spec
    return (
        job.tenant,
        spec.priority,
        spec.resources,
        spec.num_nodes,
        spec.kind,
        spec.where,
        spec.spot,
        spec.price_cap_per_device_h,
        spec.expected_run_s,
        spec.time_limit_s,
        spec.deadline_ms,
        spec.budget_micros,
        job.tenant_budget_left_micros,
        spec.objective,
        spec.checkpoint.interval_s if spec.checkpoint else None,
        spec.isolation,
        bool(spec.image),
        spec.rental.product if spec.rental else None,
        bool(spec.secrets),
        spec.warm,
        spec.data,
        spec.islands > 1 and job.group,
        forbidden,
    )


def line_of(tenant: str, spec: JobSpec) -> Hashable:
    """Return a key that is equal for fresh jobs which only their turn tells apart."""
    return shape_of(WaitingJob(id="", tenant=tenant, spec=spec, queued_ms=0, submitted_ms=0), None)


def variant_of(job: WaitingJob) -> Hashable:
    """Return a key for what changes scores between jobs of one shape."""
    staging = tuple(sorted((at, s.seconds, s.usd) for at, s in job.staging.items()))
    return (job.checkpoint_bytes, tuple(sorted(job.failed_islands.items())), staging)


def priced(pool: PoolView, devices: int) -> int:
    """Return the hourly price of that many devices in whole micro-units of the price's currency."""
    return int(pool.price.amount_per_device_h * devices * 1_000_000)
