"""After an attempt ended badly: try again, when, or give up; with the reasons.

Each class of failure has its own retry budget (`RetryPolicy`). Beyond the budgets two rules stop
what cannot succeed:

- *No progress*: so many failures in a row of the job's or the machine's making, without a new
  checkpoint in between. Losing an island, giving way and being refused are nobody's failure to make
  progress and do not count.
- *The same end*: the program itself ended twice with the same exit code and the same last words. A
  third time would be the same; the budget is not spent on it. Ends without any message cannot be
  compared, so they only count against the budget.

A *service* is meant to run until it is stopped, so a total of failures says nothing about one that
has run for months. It is started again whatever ended it, with the same back-off, and given up only
after so many short runs in a row; a run of a minute counts as progress, as a checkpoint does.

Back-off doubles from the job's `backoff_s` up to five minutes for failures that may come back at
once; work that lost its island or gave way is placed again without waiting.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from causeway.model.jobs import Attempt, FailureClass, Job, JobKind
from causeway.model.reasons import Reason, Severity, Token

BACKOFF_S_MAX = 300.0
SAME_END_MAX = 2
FINGERPRINT_CHARS = 200
SERVICE_STEADY_MS = 60_000
"""A service that ran for so long has made progress."""
SHORT_RUNS_MAX = 8
"""Short runs in a row after which a service is given up (or its `no_progress_max`, if more): with
the default back-off, some four minutes of trying."""
STALLS = frozenset({FailureClass.USER, FailureClass.LIMIT, FailureClass.ENGINE, FailureClass.NODE})
"""Classes that count against progress."""
BACKS_OFF = STALLS | {FailureClass.REFUSED}
"""Classes that wait before the next try."""

_NUMBERS = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do with a job whose attempt ended badly."""

    requeue: bool
    """False: give it up."""
    not_before_ms: int
    """Earliest next placement; only meant with `requeue`."""
    reasons: tuple[Reason, ...]


def after_end(job: Job, failure: FailureClass, now_ms: int) -> Verdict:
    """Decide what follows. The job's newest attempt is closed and its failure already counted."""
    if job.spec.kind is JobKind.SERVICE and failure is not FailureClass.REFUSED:
        return _after_service(job, failure, now_ms)
    used = job.failures.get(failure.value, 0)
    budget = budget_of(job, failure)
    if same_ends(job) >= SAME_END_MAX:
        return _give_up(_same_end(job))
    if used > budget:
        return _give_up(_budget_used(failure, used=used, budget=budget, job=job))
    stalled = stalled_attempts(job)
    if failure in STALLS and stalled >= job.spec.retry.no_progress_max:
        return _give_up(_no_progress(job, stalled))
    wait_s = backoff_s(job, failure)
    reason = Reason(
        token=Token.BACKOFF if wait_s else Token.ALREADY_FAILED_HERE,
        severity=Severity.WAIT,
        message=f"{_ending(job, failure)}; retry {used} of {budget} for this class"
        + (f" after {wait_s:g} s." if wait_s else ", placed again at once."),
        evidence={
            "failure": failure.value,
            "retries_used": used,
            "retries_allowed": budget,
            "wait_s": wait_s,
            "stalled_attempts": stalled,
        },
    )
    return Verdict(requeue=True, not_before_ms=now_ms + round(wait_s * 1000), reasons=(reason,))


def _after_service(job: Job, failure: FailureClass, now_ms: int) -> Verdict:
    short = short_runs(job)
    most = short_runs_max(job)
    if short >= most:
        return _give_up(_short_runs(job, short))
    wait_s = 0.0
    if failure in STALLS:
        doubled = job.spec.retry.backoff_s * 2.0 ** max(0, short - 1)
        wait_s = min(BACKOFF_S_MAX, max(0.0, doubled))
    reason = Reason(
        token=Token.BACKOFF if wait_s else Token.ALREADY_FAILED_HERE,
        severity=Severity.WAIT,
        message=f"{_ending(job, failure)}; the service is started again"
        + (f" after {wait_s:g} s ({short} of {most} short runs)." if wait_s else " at once."),
        evidence={
            "failure": failure.value,
            "short_runs": short,
            "short_runs_max": most,
            "wait_s": wait_s,
        },
    )
    return Verdict(requeue=True, not_before_ms=now_ms + round(wait_s * 1000), reasons=(reason,))


def short_runs_max(job: Job) -> int:
    """Return after how many short runs in a row a service is given up."""
    return max(SHORT_RUNS_MAX, job.spec.retry.no_progress_max)


def short_runs(job: Job) -> int:
    """Return how many runs of a service in a row, the newest included, failed within a minute by
    their own or their machine's fault. What lost its island or gave way is passed over."""
    count = 0
    for attempt in reversed(job.attempts):
        if attempt.failure not in STALLS:
            continue
        ran_ms = attempt.ended_ms - attempt.started_ms if attempt.started_ms else 0
        if ran_ms >= SERVICE_STEADY_MS:
            break
        count += 1
    return count


def budget_of(job: Job, failure: FailureClass) -> int:
    """Return how many retries the job's policy allows for a class."""
    budget: int = getattr(job.spec.retry, failure.value)
    return budget


def backoff_s(job: Job, failure: FailureClass) -> float:
    """Return the wait before the next try: doubles with each failure in a row, at most 300 s."""
    if failure not in BACKS_OFF:
        return 0.0
    in_a_row = stalled_attempts(job) if failure in STALLS else job.failures.get(failure.value, 1)
    doubled = job.spec.retry.backoff_s * 2.0 ** min(max(0, in_a_row - 1), 30)
    return min(BACKOFF_S_MAX, max(0.0, doubled))


def stalled_attempts(job: Job) -> int:
    """Return how many attempts in a row failed by their own or their machine's fault since the
    newest checkpoint. An attempt that made the checkpoint made progress, whatever ended it."""
    newest = job.checkpoint.fence if job.checkpoint else 0
    return sum(attempt.failure in STALLS and attempt.fence > newest for attempt in job.attempts)


def same_ends(job: Job) -> int:
    """Return how many program failures in a row, the newest included, ended in the same way.

    A new checkpoint breaks the row; so does any other end of the program.
    """
    ends = [a for a in job.attempts if a.failure is FailureClass.USER]
    if not ends or ends[-1] is not job.attempts[-1]:
        return 0
    last = ends[-1]
    if not fingerprint(_said(last)):
        return 0
    newest = job.checkpoint.fence if job.checkpoint else 0
    count = 0
    for attempt in reversed(ends):
        if attempt.fence <= newest or _way(attempt) != _way(last):
            break
        count += 1
    return count


def fingerprint(message: str) -> str:
    """Return the message without what changes from run to run: numbers, addresses, spacing.

    >>> fingerprint("KeyError: 17 at 0x7f3a,  line 20") == fingerprint("KeyError: 4 at 0x1, line 9")
    True
    """
    plain = _NUMBERS.sub("#", message[: FINGERPRINT_CHARS * 10].lower())
    return _SPACES.sub(" ", plain).strip()[:FINGERPRINT_CHARS]


def _way(attempt: Attempt) -> tuple[int | None, str]:
    return attempt.exit_code, fingerprint(_said(attempt))


def _said(attempt: Attempt) -> str:
    """What is known of an end: the engine's words, and the program's own last ones."""
    return f"{attempt.message} {attempt.cause.message if attempt.cause else ''}"


def _ending(job: Job, failure: FailureClass) -> str:
    attempt = job.attempts[-1] if job.attempts else None
    code = f", exit code {attempt.exit_code}" if attempt and attempt.exit_code is not None else ""
    return f"{_WORDS[failure]}{code}"


_WORDS = {
    FailureClass.USER: "The program ended with an error",
    FailureClass.LIMIT: "The job went over its own limit",
    FailureClass.ENGINE: "The engine could not run it",
    FailureClass.NODE: "The machine failed under it",
    FailureClass.ISLAND: "Its island was lost",
    FailureClass.PREEMPTION: "It gave way",
    FailureClass.REFUSED: "The island's owner refused it",
}


def _give_up(reason: Reason) -> Verdict:
    return Verdict(requeue=False, not_before_ms=0, reasons=(reason,))


def _budget_used(failure: FailureClass, *, used: int, budget: int, job: Job) -> Reason:
    retries = "no retry" if budget == 0 else f"all {budget} retries used"
    return Reason(
        token=Token.RETRIES_USED,
        severity=Severity.BLOCK,
        message=f"{_ending(job, failure)}; {retries} for this class of failure.",
        evidence={
            "failure": failure.value,
            "retries_used": max(0, used - 1),
            "retries_allowed": budget,
        },
        waiting_helps=False,
        try_this=f"causeway logs {job.id}"
        if failure in (FailureClass.USER, FailureClass.LIMIT)
        else f"set retry.{failure.value} higher",
    )


def _no_progress(job: Job, stalled: int) -> Reason:
    return Reason(
        token=Token.NO_PROGRESS,
        severity=Severity.BLOCK,
        message=f"It failed {stalled} times in a row without a new checkpoint.",
        evidence={
            "stalled_attempts": stalled,
            "no_progress_max": job.spec.retry.no_progress_max,
            "checkpoint_step": job.checkpoint.step if job.checkpoint else -1,
        },
        waiting_helps=False,
        try_this=f"causeway logs {job.id}",
    )


def _short_runs(job: Job, short: int) -> Reason:
    return Reason(
        token=Token.NO_PROGRESS,
        severity=Severity.BLOCK,
        message=f"The service ended {short} times in a row within a minute of its start.",
        evidence={"short_runs": short, "steady_s": SERVICE_STEADY_MS / 1000},
        waiting_helps=False,
        try_this=f"causeway logs {job.id}",
    )


def _same_end(job: Job) -> Reason:
    attempt = job.attempts[-1]
    return Reason(
        token=Token.NO_PROGRESS,
        severity=Severity.BLOCK,
        message=f"The program ended {SAME_END_MAX} times in exactly the same way "
        f"(exit code {attempt.exit_code}); a further try would end so too.",
        evidence={
            "exit_code": -1 if attempt.exit_code is None else attempt.exit_code,
            "fingerprint": fingerprint(_said(attempt)),
        },
        waiting_helps=False,
        try_this=f"causeway logs {job.id}",
    )
