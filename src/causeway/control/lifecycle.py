"""What happens to a job: placed, started, ended, lost, stopped.

Each function takes a command's overlay and writes one job's next state with the event that tells
it. The order of the legal moves is `model.jobs.MOVES`; what a failure leads to is decided by the
`recover` room; money and energy are booked in the same transaction as the end that they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from causeway.control import booking
from causeway.control.state import Tx
from causeway.model.fleet import Candidate, Place, PoolView
from causeway.model.jobs import (
    HOLDS_LEASE,
    TERMINAL,
    Attempt,
    AttemptState,
    FailureClass,
    Job,
    JobKind,
    JobState,
    Move,
    StopIntent,
    moved,
)
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.values import replace
from causeway.recover import after_end, budget, on_disconnect, stalls

ATTEMPTS_KEPT = 500
"""Attempts that a job carries with it. Retry budgets end a batch job long before; a service that is
restarted for years sheds its oldest, which the events and the journal still tell."""
CANDIDATES_KEPT = 12
"""Rows of the placement table that are kept with the event."""
_COLUMNS = tuple(column.name for column in fields(Candidate))
_WHY = tuple(part.name for part in fields(Reason))


def with_attempt(job: Job, attempt: Attempt) -> Job:
    """Return the job with its newest attempt replaced."""
    return replace(job, attempts=(*job.attempts[:-1], attempt))


def place(tx: Tx, job: Job, decision: Place, pool: PoolView) -> Job:
    """Grant a lease: a new attempt with the next fence, price and PUE pinned."""
    fence = job.fence + 1
    resume = job.checkpoint
    attempt = Attempt(
        job=job.id,
        fence=fence,
        island=pool.island,
        pool=pool.pool,
        offer=pool.offer,
        price=pool.price,
        purchase=pool.purchase,
        pue_milli=round(pool.pue * 1000),
        carbon_mg_per_kwh=round(pool.carbon_g_per_kwh * 1000),
        provider=pool.provider,
        devices=job.spec.resources.devices * job.spec.num_nodes,
        leased_ms=tx.now_ms,
        resumed_from=resume.artifact if resume else "",
        resumed_step=resume.step if resume else -1,
        last_step=resume.step if resume else -1,
        on_disconnect=on_disconnect(job.spec, engine=pool.engine),
        reasons=decision.reasons,
    )
    placed = replace(
        job,
        state=moved(job, Move.PLACE),
        fence=fence,
        attempts=(*job.attempts[-(ATTEMPTS_KEPT - 1) :], attempt),
        reasons=decision.reasons,
        promised="",
    )
    return tx.put_job(
        placed,
        "job.placed",
        fence=fence,
        island=pool.island,
        offer=pool.offer,
        price_per_device_h=str(pool.price.amount_per_device_h),
        currency=pool.price.currency,
        resume_step=attempt.resumed_step,
        waited_ms=tx.now_ms - job.queued_ms,
        reason=decision.reasons[0].message if decision.reasons else "",
        candidates=_table(decision),
    )


def _table(decision: Place) -> list[dict[str, object]]:
    """Return the placement table as plain data, so that it can still be read when the job runs."""
    rows = []
    for row in decision.candidates[:CANDIDATES_KEPT]:
        plain = {name: getattr(row, name) for name in _COLUMNS}
        plain["reasons"] = [
            {name: getattr(reason, name) for name in _WHY} for reason in row.reasons[:3]
        ]
        rows.append(plain)
    return rows


def succeed(tx: Tx, job: Job, attempt: Attempt, outputs: dict[str, str]) -> Job:
    """End a job well, with its outputs. A service cannot end well: it runs until it is stopped."""
    if job.spec.kind is JobKind.SERVICE and job.stop_intent is None:
        message = attempt.message or "the service ended by itself; it runs until it is stopped"
        return fail(tx, job, replace(attempt, message=message), FailureClass.USER)
    if job.spec.kind is JobKind.SERVICE:
        return stopped(tx, job, attempt)
    closed = replace(attempt, state=AttemptState.SUCCEEDED, ended_ms=tx.now_ms)
    closed = booking.settle(tx, job, closed)
    done = replace(
        with_attempt(job, closed),
        state=moved(job, Move.END),
        ended_ms=tx.now_ms,
        outputs=outputs,
        reasons=(),
        stop_intent=None,
    )
    tx.put_job(done, "job.succeeded", fence=attempt.fence, outputs=dict(outputs))
    if job.spec.model_name:
        _register_model(tx, done)
    after_terminal(tx, done)
    return done


def _register_model(tx: Tx, job: Job) -> None:
    """Name the job's outputs as a model, with its lineage: job, attempt, and what it was made
    from, the checkpoints it went through included."""
    for path, artifact_id in job.outputs.items():
        artifact = tx.stored_artifact(job.tenant, artifact_id)
        if artifact is None:
            continue
        checkpoint = (job.checkpoint.artifact,) if job.checkpoint else ()
        parents = tuple(dict.fromkeys((*artifact.parents, *checkpoint)))
        model = replace(
            artifact, kind="model", name=job.spec.model_name, job=job.id, parents=parents
        )
        tx.artifacts[(job.tenant, artifact_id)] = model
        tx.fact(
            "model.registered",
            job.id,
            tenant=job.tenant,
            name=job.spec.model_name,
            artifact=artifact_id,
            path=path,
            parents=list(parents),
        )


def fail(tx: Tx, job: Job, attempt: Attempt, failure: FailureClass) -> Job:
    """End an attempt badly; requeue the job or give it up, as the `recover` room says."""
    refused = failure is FailureClass.REFUSED
    closed = replace(
        attempt,
        state=AttemptState.REFUSED if refused else AttemptState.FAILED,
        ended_ms=tx.now_ms,
        failure=failure,
    )
    return _end_badly(tx, job, closed, failure, fact="attempt.failed")


def lose(tx: Tx, job: Job, why: str, failure: FailureClass = FailureClass.ISLAND) -> Job:
    """Fence off the current attempt: its island is lost, or no longer knows it."""
    closed = replace(
        job.attempts[-1],
        state=AttemptState.LOST,
        ended_ms=tx.now_ms,
        failure=failure,
        message=why,
    )
    return _end_badly(tx, job, closed, failure, fact="attempt.lost")


def _end_badly(tx: Tx, job: Job, closed: Attempt, failure: FailureClass, *, fact: str) -> Job:
    closed = booking.settle(tx, job, closed)
    tx.fact(
        fact,
        job.id,
        tenant=job.tenant,
        fence=closed.fence,
        island=closed.island,
        failure=failure.value,
        exit_code=closed.exit_code,
        message=closed.message[:500],
        cause=closed.cause.message if closed.cause else "",
    )
    if job.stop_intent is StopIntent.CANCEL:
        return _cancelled(tx, with_attempt(job, closed))
    progressed = job.checkpoint is not None and job.checkpoint.fence == closed.fence
    counted = replace(
        with_attempt(job, closed),
        failures={**job.failures, failure.value: job.failures.get(failure.value, 0) + 1},
        no_progress=0 if progressed else job.no_progress + 1,
        stop_intent=None,
    )
    counted = with_attempt(counted, _charged(counted, failure))
    verdict = after_end(counted, failure, tx.now_ms)
    reasons = (*verdict.reasons, *((closed.cause,) if closed.cause else ()))
    if verdict.requeue:
        return tx.put_job(
            replace(
                counted,
                state=moved(job, Move.REQUEUE),
                queued_ms=tx.now_ms,
                not_before_ms=verdict.not_before_ms,
                reasons=reasons,
            ),
            "job.requeued",
            after=failure.value,
            not_before_ms=verdict.not_before_ms,
            resume_step=job.checkpoint.step if job.checkpoint else -1,
        )
    return give_up(tx, counted, reasons)


def _charged(job: Job, failure: FailureClass) -> Attempt:
    """Return the job's newest attempt with what its end left of the retry budget."""
    stalled, _ = stalls(job)
    return replace(job.attempts[-1], budget=budget(job, failure), stalled=stalled)


def stopped(tx: Tx, job: Job, attempt: Attempt) -> Job:
    """The island reports that it stopped the attempt, as asked or at its own lease deadline."""
    if job.stop_intent is StopIntent.CANCEL:
        closed = replace(attempt, state=AttemptState.STOPPED, ended_ms=tx.now_ms)
        closed = booking.settle(tx, job, closed)
        return _cancelled(tx, with_attempt(job, closed))
    failure = attempt.failure or FailureClass.PREEMPTION
    # The island only knows that it was asked; why is what people look for.
    why = job.reasons[0].message if job.stop_intent is not None and job.reasons else ""
    closed = replace(
        attempt,
        state=AttemptState.STOPPED,
        ended_ms=tx.now_ms,
        failure=failure,
        message=why or attempt.message,
    )
    return _end_badly(tx, job, closed, failure, fact="attempt.stopped")


def request_stop(tx: Tx, job: Job, intent: StopIntent, why: str) -> Job:
    """Ask the island to stop the attempt. A cancel overrides any other intent."""
    if job.state is JobState.STOPPING:
        if intent is StopIntent.CANCEL and job.stop_intent is not StopIntent.CANCEL:
            return tx.put_job(replace(job, stop_intent=intent), "job.stopping", intent=intent.value)
        return job
    token = Token.PREEMPTED if intent is not StopIntent.CANCEL else Token.CHOSEN
    return tx.put_job(
        replace(
            job,
            state=moved(job, Move.STOP),
            stop_intent=intent,
            reasons=(Reason(token=token, severity=Severity.INFO, message=why),),
        ),
        "job.stopping",
        intent=intent.value,
        why=why,
    )


def cancel(tx: Tx, job: Job, by: str) -> Job:
    """Cancel a job in whatever state it is; members of a group with it."""
    if job.state in TERMINAL:
        return job
    if job.spec.kind is JobKind.GROUP:
        return _cancel_group(tx, job, by)
    if job.state in HOLDS_LEASE:
        return request_stop(tx, job, StopIntent.CANCEL, f"cancelled by {by}")
    return _cancelled(tx, job)


def _cancel_group(tx: Tx, group: Job, by: str) -> Job:
    """Cancel every member. Those that wait for others end first, all of them before any is told:
    otherwise the end of one would fail the next, which nobody asked for."""
    members = [job for job in tx.state.jobs.values() if job.group == group.id]
    waiting = [job for job in members if job.state is JobState.PENDING]
    ended = [_end_cancelled(tx, job) for job in waiting]
    for job in ended:
        after_terminal(tx, job)
    for job in members:
        if job.state is not JobState.PENDING:
            cancel(tx, tx.job(job.id) or job, by)
    return tx.job(group.id) or group


def _cancelled(tx: Tx, job: Job) -> Job:
    done = _end_cancelled(tx, job)
    after_terminal(tx, done)
    return done


def _end_cancelled(tx: Tx, job: Job) -> Job:
    done = replace(
        job, state=moved(job, Move.CANCEL), ended_ms=tx.now_ms, stop_intent=None, reasons=()
    )
    return tx.put_job(done, "job.cancelled")


def give_up(tx: Tx, job: Job, reasons: Sequence[Reason]) -> Job:
    """Fail a job for good."""
    done = replace(
        job,
        state=moved(job, Move.GIVE_UP),
        ended_ms=tx.now_ms,
        reasons=tuple(reasons),
        stop_intent=None,
    )
    tx.put_job(done, "job.failed", why=reasons[0].message if reasons else "")
    after_terminal(tx, done)
    return done


def after_terminal(tx: Tx, job: Job) -> None:
    """Wake or fail the jobs that waited for this one, and close its group when it was the last."""
    for waiting_id in list(tx.state.dependants.get(job.id, ())):
        waiting = tx.job(waiting_id)
        if waiting is None or waiting.state is not JobState.PENDING:
            continue
        if job.state is JobState.SUCCEEDED or job.id in waiting.spec.after:
            left = tuple(needed for needed in waiting.spec.depends_on if needed != job.id)
            waiting = replace(waiting, spec=replace(waiting.spec, depends_on=left))
            if left:
                tx.put_job(waiting)
            else:
                enqueue(tx, waiting)
        else:
            why = Reason(
                token=Token.DEPENDENCY,
                severity=Severity.BLOCK,
                message=f"{job.spec.name} ({job.id}), which it needs, {job.state.value}",
                waiting_helps=False,
            )
            give_up(tx, waiting, (why,))
    if job.group:
        _member_ended(tx, job)


def enqueue(tx: Tx, job: Job) -> Job:
    """Move a job whose dependencies are met into the queue."""
    return tx.put_job(
        replace(job, state=moved(job, Move.READY), queued_ms=tx.now_ms, reasons=()), "job.queued"
    )


def _member_ended(tx: Tx, member: Job) -> None:
    group = tx.job(member.group)
    if group is None or group.state in TERMINAL:
        return
    tally = {**group.failures, member.state.value: group.failures.get(member.state.value, 0) + 1}
    group = replace(group, failures=tally)
    ended_here = sum(
        1 for job in tx.jobs.values() if job.group == group.id and job.state in TERMINAL
    )
    if tx.state.open_members.get(group.id, 0) > ended_here:
        tx.put_job(group)
        return
    if tally.get("failed"):
        message = f"{tally['failed']} of {sum(tally.values())} members failed"
        why = Reason(
            token=Token.DEPENDENCY, severity=Severity.BLOCK, message=message, waiting_helps=False
        )
        give_up(tx, group, (why,))
    elif tally.get("cancelled"):
        _cancelled(tx, group)
    else:
        done = replace(group, state=moved(group, Move.END), ended_ms=tx.now_ms)
        tx.put_job(done, "job.succeeded")
        after_terminal(tx, done)
