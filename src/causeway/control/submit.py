"""Submission: from a checked `Submission` to jobs in the queue, once per idempotency key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from causeway.control import lifecycle
from causeway.control.settings import Settings
from causeway.control.state import Tx
from causeway.model.errors import Conflict, InvalidInput, NotFound, QuotaExceeded, Refused
from causeway.model.identifiers import Kind, Urn, ulid
from causeway.model.jobs import TERMINAL, Job, JobKind, JobSpec, JobState, Submission
from causeway.model.parties import AccessRole, Caller
from causeway.model.values import replace

NO_NAMES: Mapping[str, str] = {}

_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What a submission became."""

    id: str
    """The job, or the group of an array or DAG."""
    members: tuple[str, ...]
    repeated: bool = False
    """Whether the same key had been used with the same body before; nothing new was made."""
    notes: tuple[str, ...] = ()


def submit(
    tx: Tx,
    caller: Caller,
    submission: Submission,
    *,
    key: str,
    known_key: tuple[str, str] | None,
    entropy: Callable[[], int],
    settings: Settings,
    artifacts: Mapping[str, str] = NO_NAMES,
) -> Submitted:
    """Accept a submission durably. The same key with another body is a `Conflict`.

    `artifacts` says what each name in the library stands for now; a job keeps the artefact that
    its name stood for when it was accepted, and the same key is the same body as it was written.
    """
    if caller.role is AccessRole.VIEWER:
        raise Refused("a viewer may not submit jobs", hint="ask for a token with role member")
    digest = hashlib.sha256(_encode(submission)).hexdigest() if key else ""
    recent = tx.keys.get((caller.tenant, key)) or tx.state.recent_keys.get((caller.tenant, key))
    known = recent or known_key
    if known is not None:
        if known[0] != digest:
            raise Conflict(f"idempotency key {key!r} was used with another body before")
        return Submitted(id=known[1], members=(), repeated=True, notes=submission.notes)
    if len(tx.state.jobs) + len(submission.members) > settings.queue_jobs_max:
        raise QuotaExceeded(
            f"{settings.queue_jobs_max:,} jobs are unfinished, which is the most this centre holds",
            hint="wait for some to end, or cancel some",
        )
    _check_tenant(tx, caller, submission)

    def new_id() -> str:
        return str(Urn(settings.issuer, Kind.JOB, ulid(tx.now_ms, entropy())))

    ids = {member.name: new_id() for member in submission.members}
    group = new_id() if len(ids) > 1 else ""
    _put(tx, caller, submission, ids=ids, group=group, artifacts=artifacts)
    result = group or next(iter(ids.values()))
    if key:
        tx.keys[(caller.tenant, key)] = (digest, result)
    return Submitted(id=result, members=tuple(ids.values()), notes=submission.notes)


def _put(
    tx: Tx,
    caller: Caller,
    submission: Submission,
    *,
    ids: Mapping[str, str],
    group: str,
    artifacts: Mapping[str, str],
) -> None:
    """Write the jobs of a submission, its group first."""
    group_number = 0
    if group:
        spec = JobSpec(name=submission.name, run="", kind=JobKind.GROUP)
        parent = _job(tx, caller, group, spec, JobState.PENDING)
        group_number = parent.number
        tx.put_job(parent, "job.submitted", members=len(ids))
    inside = set(ids.values())
    for member in submission.members:
        needs = tuple(ids[name] for name in member.needs) + member.spec.depends_on
        needs = _open_needs(tx, caller, needs, inside)
        ends = _open_needs(tx, caller, member.spec.after, inside, ended=True)
        needs = tuple(dict.fromkeys((*needs, *ends)))
        spec = _with_artifacts(member.spec, artifacts)
        if needs != spec.depends_on:
            spec = replace(spec, depends_on=needs)
        state = JobState.PENDING if needs else JobState.QUEUED
        job = _job(tx, caller, ids[member.name], spec, state, group=group)
        if group:
            job = replace(job, at_once=submission.at_once, group_number=group_number)
        tx.put_job(job, "job.submitted" if needs else "job.queued", name=spec.name)


def _job(
    tx: Tx, caller: Caller, job_id: str, spec: JobSpec, state: JobState, *, group: str = ""
) -> Job:
    return Job(
        group=group,
        id=job_id,
        number=tx.next_event,
        tenant=caller.tenant,
        spec=spec,
        state=state,
        submitted_ms=tx.now_ms,
        queued_ms=tx.now_ms,
        submitted_by=caller.token,
    )


def _with_artifacts(spec: JobSpec, artifacts: Mapping[str, str]) -> JobSpec:
    """Put artefacts in the place of names in the library."""
    if all(artifacts.get(name, name) == name for name in (spec.workdir, *spec.inputs.values())):
        return spec
    inputs = {path: artifacts.get(name, name) for path, name in spec.inputs.items()}
    return replace(spec, workdir=artifacts.get(spec.workdir, spec.workdir), inputs=inputs)


def _check_budget(tx: Tx, name: str) -> None:
    tenant = tx.tenant(name)
    if tenant.budget_micros is not None and tenant.spent_micros >= tenant.budget_micros:
        raise QuotaExceeded(
            f"project {tenant.name} has spent its budget of {tenant.budget_micros / 1e6:.2f}",
            hint="ask an operator to raise the budget",
        )


def _check_tenant(tx: Tx, caller: Caller, submission: Submission) -> None:
    _check_budget(tx, caller.tenant)
    for member in submission.members:
        for name in member.spec.secrets:
            if (caller.tenant, name) not in tx.state.secrets:
                raise NotFound(
                    f"project {caller.tenant} has no secret {name!r}",
                    where="$.secrets",
                    hint=f"causeway secrets set {name}",
                )


def _open_needs(
    tx: Tx, caller: Caller, needs: tuple[str, ...], inside: set[str], *, ended: bool = False
) -> tuple[str, ...]:
    """Return the needs that are not met yet; refuse unknown, foreign or failed ones. `ended`: any
    end meets them."""
    left = []
    for needed in needs:
        if needed in inside:
            left.append(needed)
            continue
        job = tx.job(needed) or tx.stored_job(needed)
        if job is None or job.tenant != caller.tenant:
            raise NotFound(f"there is no job {needed} to depend on", where="$.depends_on")
        if ended and job.state in TERMINAL:
            continue
        if job.state in (JobState.FAILED, JobState.CANCELLED):
            raise Conflict(f"job {needed}, which it needs, {job.state.value}")
        if job.state is not JobState.SUCCEEDED:
            left.append(needed)
    return tuple(left)


def cancel(tx: Tx, caller: Caller, job_id: str) -> Job:
    """Cancel a job of the caller's tenant. Cancelling an ended job changes nothing."""
    if caller.role is AccessRole.VIEWER:
        raise Refused("a viewer may not cancel jobs", hint="ask for a token with role member")
    job = owned(tx, caller, job_id)
    return lifecycle.cancel(tx, job, caller.token)


def extend(tx: Tx, caller: Caller, job_id: str, term_s: float) -> Job:
    """Give a rental a longer term, counted from its hand-over. The same term again changes
    nothing, so the call may be repeated."""
    if caller.role is AccessRole.VIEWER:
        raise Refused("a viewer may not extend a rental", hint="ask for a token with role member")
    job = owned(tx, caller, job_id)
    rental = job.spec.rental
    if rental is None:
        raise InvalidInput(f"{job.spec.name} is not a rental", hint="causeway rent ls")
    if job.state in TERMINAL or job.state is JobState.STOPPING:
        raise Conflict(f"{job.spec.name} is returned already", hint="rent anew: causeway rent")
    if term_s == rental.term_s:
        return job
    if term_s < rental.term_s:
        raise Conflict(
            f"its term is {rental.term_s:g} s already, and terms are not shortened",
            hint=f"causeway rent return {job.spec.name}",
        )
    _check_budget(tx, job.tenant)
    attempt = job.current
    if attempt is not None:
        most_s = tx.island(attempt.island).profile.policy.max_run_s
        if most_s and term_s > most_s:
            raise Refused(f"the owner of its island takes runs of at most {most_s:g} s")
    spec = replace(job.spec, rental=replace(rental, term_s=term_s), expected_run_s=term_s)
    return tx.put_job(replace(job, spec=spec), "rental.extended", term_s=term_s, by=caller.token)


def owned(tx: Tx, caller: Caller, job_id: str) -> Job:
    """Return a job that the caller may see; another tenant's is as if it did not exist."""
    job = tx.job(job_id)
    if job is None or (caller.role is not AccessRole.OPERATOR and job.tenant != caller.tenant):
        raise NotFound(f"there is no job {job_id}", hint="causeway ps")
    return job
