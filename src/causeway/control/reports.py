"""What an island reports of one attempt, carried into its job: usage, steps, where it is, its end.

A report is taken only from the attempt that holds the job's lease, by its fence and its island; of
any other the island is told to let go. A report may come twice, late or beside others that were
lost, so each part of it is taken once only: ticks by their numbers, steps by how far the attempt
came, moves by the state that the job is in. An end waits until all usage before it is booked.
"""

from __future__ import annotations

from causeway.control import booking, lifecycle
from causeway.control.settings import Settings
from causeway.control.state import Tx
from causeway.model.islands import Island
from causeway.model.jobs import (
    HOLDS_LEASE,
    Attempt,
    AttemptState,
    FailureClass,
    Job,
    JobState,
    Move,
    moved,
)
from causeway.model.protocol import (
    AttemptReport,
    Phase,
    TickAck,
)
from causeway.model.values import replace
from causeway.ports.store import ProgressRow
from causeway.recover import Diagnosis, asks_why


def take(
    tx: Tx,
    island: Island,
    report: AttemptReport,
    *,
    why: Diagnosis | None,
    settings: Settings,
) -> tuple[TickAck | None, bool]:
    """Take one report in; `why` is what the last words of an ended program show.

    Returns which ticks are booked, if any came, and whether the island is to let the attempt go."""
    job = tx.job(report.job)
    attempt = job.current if job is not None else None
    if (
        job is None
        or attempt is None
        or attempt.fence != report.fence
        or attempt.island != island.id
        or job.state not in HOLDS_LEASE
    ):
        return None, True
    before, ack = attempt, None
    attempt = booking.book(tx, job, attempt, report.ticks, slack_ms=settings.skew_ms)
    if report.ticks:
        ack = TickAck(job=job.id, fence=attempt.fence, ticks=attempt.usage.ticks)
    attempt = _progress(tx, job, attempt, report)
    attempt = _described(attempt, report)
    if _ended(tx, job, attempt, report, why=why):
        return ack, True
    job = _advance(tx, job, attempt, report)
    attempt = job.attempts[-1]
    if attempt is not before and attempt != before:
        tx.put_job(job)
    unsettled_ms = attempt.usage.until_ms - attempt.settled_until_ms
    if unsettled_ms >= settings.settle_every_ms:
        attempt = replace(booking.settle(tx, job, attempt), settled_until_ms=attempt.usage.until_ms)
        tx.put_job(lifecycle.with_attempt(job, attempt))
    return ack, False


def _described(attempt: Attempt, report: AttemptReport) -> Attempt:
    isolation = report.isolation or attempt.isolation
    warm = report.warm or attempt.warm
    restarts = max(attempt.restarts, report.restarts)
    # What the engine waits for, while it has not begun; an end brings its own message.
    message = report.message[:2000] if report.phase == Phase.STARTING else ""
    if report.wiped is not None and report.wiped.left:
        message = f"its room is not wiped yet: {report.wiped.left[0]}"[:2000]
    before = (attempt.isolation, attempt.warm, attempt.restarts, attempt.message)
    if (isolation, warm, restarts, message) == before:
        return attempt
    return replace(attempt, isolation=isolation, warm=warm, restarts=restarts, message=message)


def _progress(tx: Tx, job: Job, attempt: Attempt, report: AttemptReport) -> Attempt:
    for point in report.progress:
        if point.step <= attempt.last_step:
            # Sent again after a lost answer, or repeated after a restart in place.
            continue
        tx.progress.append(
            ProgressRow(
                job=job.id,
                fence=attempt.fence,
                step=point.step,
                at_ms=point.at_ms,
                values=point.values,
            )
        )
    if report.last_step <= attempt.last_step:
        return attempt
    first_ms = attempt.first_step_ms
    if not first_ms:
        first_ms = tx.now_ms
        tx.fact(
            "attempt.first_step",
            job.id,
            tenant=job.tenant,
            fence=attempt.fence,
            step=report.last_step,
            since_lease_ms=tx.now_ms - attempt.leased_ms,
        )
    return replace(attempt, last_step=report.last_step, first_step_ms=first_ms)


def _ended(
    tx: Tx, job: Job, attempt: Attempt, report: AttemptReport, *, why: Diagnosis | None
) -> bool:
    """Carry out a terminal report once all its usage is booked."""
    if report.phase == Phase.REFUSED:
        attempt = replace(attempt, message=report.message[:2000])
        lifecycle.fail(tx, job, attempt, FailureClass.REFUSED)
        return True
    if report.phase not in (Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED) or not report.final:
        return False
    if report.ticks and report.ticks[-1].seq >= attempt.usage.ticks:
        return False
    attempt = replace(
        attempt,
        exit_code=report.exit_code,
        failure=report.failure,
        message=report.message[:2000],
        started_ms=attempt.started_ms or attempt.accepted_ms or tx.now_ms,
    )
    if report.wiped is not None:
        tx.fact(
            "rental.wiped",
            job.id,
            tenant=job.tenant,
            fence=attempt.fence,
            island=attempt.island,
            files=report.wiped.files,
            bytes=report.wiped.bytes,
            processes=report.wiped.processes,
        )
    if report.phase == Phase.SUCCEEDED:
        lifecycle.succeed(tx, job, attempt, dict(report.outputs))
    elif report.phase == Phase.STOPPED:
        lifecycle.stopped(tx, job, attempt)
    elif why is not None and asks_why(report):
        lifecycle.fail(tx, job, replace(attempt, cause=why.cause), why.failure)
    else:
        lifecycle.fail(tx, job, attempt, report.failure or FailureClass.USER)
    return True


def _advance(tx: Tx, job: Job, attempt: Attempt, report: AttemptReport) -> Job:
    if attempt is not job.attempts[-1]:
        job = lifecycle.with_attempt(job, attempt)
    if job.state is JobState.DISCONNECTED:
        attempt = replace(
            attempt,
            state=AttemptState.RUNNING,
            accepted_ms=attempt.accepted_ms or tx.now_ms,
            started_ms=attempt.started_ms or max(attempt.leased_ms, tx.now_ms - report.elapsed_ms),
        )
        job = lifecycle.with_attempt(job, attempt)
        job = tx.put_job(
            replace(job, state=moved(job, Move.RETURN), reasons=attempt.reasons), "job.returned"
        )
    if job.state is JobState.PLACED:
        attempt = replace(attempt, state=AttemptState.STARTING, accepted_ms=tx.now_ms)
        job = lifecycle.with_attempt(job, attempt)
        job = tx.put_job(
            replace(job, state=moved(job, Move.ACCEPT)), "job.starting", fence=attempt.fence
        )
    if job.state is JobState.STARTING and report.phase == Phase.RUNNING:
        attempt = replace(
            attempt,
            state=AttemptState.RUNNING,
            started_ms=max(attempt.leased_ms, tx.now_ms - report.elapsed_ms),
        )
        job = lifecycle.with_attempt(job, attempt)
        job = tx.put_job(
            replace(job, state=moved(job, Move.START)),
            "job.running",
            fence=attempt.fence,
            isolation=attempt.isolation,
            warm=attempt.warm,
            since_lease_ms=tx.now_ms - attempt.leased_ms,
        )
        if job.spec.rental is not None:
            tx.fact(
                "rental.handed_over",
                job.id,
                tenant=job.tenant,
                fence=attempt.fence,
                island=attempt.island,
                product=job.spec.rental.product.value,
                prepared_ms=attempt.started_ms - attempt.leased_ms,
            )
    elif job.state is JobState.STOPPING and attempt.state is AttemptState.LEASED:
        attempt = replace(attempt, state=AttemptState.STARTING, accepted_ms=tx.now_ms)
        job = tx.put_job(lifecycle.with_attempt(job, attempt))
    return job


def unreported(tx: Tx, job: Job, *, stop_handled: bool) -> None:
    """Decide about an attempt that the island did not mention. A started one is gone. One that it
    never mentioned may be in an answer that is still on its way, so it is never taken for lost: it
    is offered again, and its stop is done once the island has handled an answer that carried the
    stop (`stop_handled`: it handled the newest), because it begins nothing that it was told to
    stop."""
    attempt = job.attempts[-1]
    if attempt.state is not AttemptState.LEASED:
        lifecycle.lose(tx, job, "the island no longer knows this attempt", FailureClass.ENGINE)
    elif job.state is JobState.DISCONNECTED:
        # The job waits for this island, which begins an attempt once however often it is told to.
        tx.put_job(
            replace(job, state=moved(job, Move.OFFER_AGAIN), reasons=attempt.reasons),
            "job.offered_again",
            fence=attempt.fence,
        )
    elif job.state is JobState.STOPPING:
        told = tx.state.job(job.id)
        stop_told = told is not None and told.state is JobState.STOPPING
        if stop_told and stop_handled:
            lifecycle.stopped(tx, job, attempt)
