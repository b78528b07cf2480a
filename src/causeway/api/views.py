"""What the API says of a job, in the words of the page and the CLI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from causeway import price, recover
from causeway.model.jobs import (
    Attempt,
    AttemptState,
    Budget,
    Checkpoint,
    FailureClass,
    Job,
    JobState,
    Product,
)
from causeway.model.reasons import Reason

_HEADLINES: dict[JobState, str] = {
    JobState.PENDING: "Waiting for the jobs that it needs",
    JobState.QUEUED: "Waiting to be placed",
    JobState.PLACED: "Placed; the island has not confirmed yet",
    JobState.STARTING: "Starting",
    JobState.RUNNING: "Running",
    JobState.DISCONNECTED: "Its island is cut off; waiting for it as asked",
    JobState.STOPPING: "Stopping",
    JobState.SUCCEEDED: "Succeeded",
    JobState.FAILED: "Failed",
    JobState.CANCELLED: "Cancelled",
}


_RENTAL_HEADLINES: dict[JobState, str] = {
    JobState.STARTING: "Being made ready",
    JobState.RUNNING: "Handed over",
    JobState.STOPPING: "Being returned and wiped",
    JobState.CANCELLED: "Returned",
}


def headline(job: Job) -> str:
    """Say in one line how a job is doing and, where it is not well, why."""
    text = _HEADLINES[job.state]
    if job.spec.rental is not None:
        text = _RENTAL_HEADLINES.get(job.state, text)
    attempt = job.attempts[-1] if job.attempts else None
    if attempt is not None and job.state in (
        JobState.PLACED,
        JobState.STARTING,
        JobState.RUNNING,
        JobState.STOPPING,
    ):
        text += f" on {attempt.island.rpartition(':')[2]} (attempt {attempt.fence})"
        if attempt.last_step >= 0:
            text += f", step {attempt.last_step}"
    if job.reasons and job.state in (
        JobState.PENDING,
        JobState.QUEUED,
        JobState.FAILED,
        JobState.DISCONNECTED,
    ):
        text += f": {job.reasons[0].message}"
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How one attempt ended badly, and what that left of the retries."""

    fence: int
    island: str
    state: AttemptState
    failure: FailureClass
    exit_code: int | None
    message: str
    cause: Reason | None
    """Why, as far as its last words show."""
    budget: Budget | None
    """Of its class, as this end left it; None where the end was not counted (a cancelled job)."""
    stalled: int
    """Ends in a row without progress, this one included."""


def bad_ends(job: Job) -> tuple[End, ...]:
    """Return the attempts that ended badly, oldest first."""
    return tuple(
        End(
            fence=attempt.fence,
            island=attempt.island,
            state=attempt.state,
            failure=attempt.failure,
            exit_code=attempt.exit_code,
            message=attempt.message,
            cause=attempt.cause,
            budget=attempt.budget,
            stalled=attempt.stalled,
        )
        for attempt in job.attempts
        if attempt.failure is not None and attempt.ended_ms
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a job asked for, as far as lists of jobs show it."""

    num_nodes: int
    cpu_milli: int
    """Of one node."""
    memory_bytes: int
    """Of one node."""
    accelerators: int
    """Of one node."""
    time_limit_s: float
    """0: none."""
    priority: int
    where: str
    depends_on: tuple[str, ...]
    """Jobs that it still waits for."""
    array_index: int
    """-1: it is in no array."""
    at_once: int
    """At most so many of its array run at the same time; 0: no limit."""


def asked(job: Job) -> Asked:
    """Return what a job asked for."""
    spec, resources = job.spec, job.spec.resources
    return Asked(
        num_nodes=spec.num_nodes,
        cpu_milli=resources.cpu_milli,
        memory_bytes=resources.memory_bytes,
        accelerators=resources.accelerator.count if resources.accelerator else 0,
        time_limit_s=spec.time_limit_s,
        priority=spec.priority,
        where=spec.where,
        depends_on=spec.depends_on,
        array_index=spec.array_index,
        at_once=job.at_once,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RentalView:
    """What a rental is, and until when."""

    product: Product
    term_s: float
    handed_over_ms: int
    """When its current or last attempt was; 0: it is not yet."""
    ends_ms: int
    """When its term will be over; 0: it is not handed over now."""


def rental_view(job: Job) -> RentalView | None:
    """Return what a rental is; None for any other job."""
    rental, left_ms = job.spec.rental, price.term_left_ms(job)
    if rental is None or left_ms is None:
        return None
    last = job.attempts[-1] if job.attempts else None
    # An end before the hand-over is booked as a start of no length; nothing was handed over then.
    handed_ms = last.started_ms if last and (last.usage.ticks or job.current) else 0
    runs = job.state is JobState.RUNNING
    return RentalView(
        product=rental.product,
        term_s=rental.term_s,
        handed_over_ms=handed_ms,
        ends_ms=handed_ms + left_ms if runs else 0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as the API returns it. Consumers should ignore fields that they do not know."""

    id: str
    number: int
    """A short name that never changes; 0 for a job from before there were numbers."""
    name: str
    tenant: str
    kind: str
    state: str
    headline: str
    reasons: tuple[Reason, ...]
    submitted_ms: int
    queued_ms: int
    started_ms: int
    """When the current or last attempt began to run; 0: it has not."""
    ended_ms: int
    exit_code: int | None
    """Of the last attempt that has ended."""
    failure: FailureClass | None
    """Why the last attempt ended badly."""
    submitted_by: str
    """Name of the token."""
    asked: Asked
    fence: int
    island: str
    """Of the current or last attempt."""
    step: int
    """Last step that was reported; -1 before the first."""
    attempts: tuple[Attempt, ...]
    checkpoint: Checkpoint | None
    outputs: Mapping[str, str]
    group: str
    group_number: int
    failures: Mapping[str, int]
    retries: recover.Standing | None
    """What each class of failure has used of its retries; not in lists, and not of groups."""
    device_ms: int
    energy_facility_mj: int
    energy_quality: str
    carbon_mg: int
    cost_micros: int
    """Rated on accepted usage so far."""
    currency: str
    rental: RentalView | None
    """What is rented, and until when; null for any other job."""


def job_view(job: Job, *, attempts: bool = True) -> JobView:
    """Return the API's view of a job; lists leave the attempts out."""
    last = job.attempts[-1] if job.attempts else None
    usages = [attempt.usage for attempt in job.attempts]
    costs = price.costs_so_far(job)
    return JobView(
        id=job.id,
        number=job.number,
        name=job.spec.name,
        tenant=job.tenant,
        kind=job.spec.kind.value,
        state=job.state.value,
        headline=headline(job),
        reasons=job.reasons,
        submitted_ms=job.submitted_ms,
        queued_ms=job.queued_ms,
        started_ms=last.started_ms if last else 0,
        ended_ms=job.ended_ms,
        exit_code=last.exit_code if last else None,
        failure=last.failure if last else None,
        submitted_by=job.submitted_by,
        asked=asked(job),
        fence=last.fence if last else 0,
        island=last.island if last else "",
        step=max((a.last_step for a in job.attempts), default=-1),
        attempts=job.attempts if attempts else (),
        checkpoint=job.checkpoint,
        outputs=job.outputs,
        group=job.group,
        group_number=job.group_number,
        failures=job.failures,
        retries=recover.standing(job) if attempts else None,
        device_ms=sum(usage.device_ms for usage in usages),
        energy_facility_mj=sum(usage.energy_facility_mj for usage in usages),
        energy_quality=max((u.energy_quality.value for u in usages if u.ticks), default=""),
        carbon_mg=sum(usage.carbon_mg for usage in usages),
        cost_micros=sum(costs.values()),
        currency=next(iter(costs), "USD"),
        rental=rental_view(job),
    )
