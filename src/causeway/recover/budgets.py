"""What a job's bad ends have used of its retries, as it is shown to people.

The numbers are those that `decide` goes by, so what is shown and what is done cannot differ. Two
counts stop a job: the budget of the class of its last failure, and the row of ends without
progress. A service has no budget by number (it runs until it is stopped), so only its row counts:
runs under a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

from causeway.model.jobs import Budget, FailureClass, Job, JobKind
from causeway.recover.decide import budget_of, short_runs, short_runs_max, stalled_attempts

NO_NUMBER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A job's retries: what each class has used, and how near it is to being given up."""

    budgets: tuple[Budget, ...]
    """One for each class, in the order of `FailureClass`."""
    stalled: int
    """Ends in a row without a new checkpoint; of a service: runs in a row under a minute."""
    stalled_max: int
    """At so many the job is given up."""


def standing(job: Job) -> Standing | None:
    """Return where a job stands. A group runs nothing itself, so it has no retries."""
    if job.spec.kind is JobKind.GROUP:
        return None
    stalled, most = stalls(job)
    return Standing(
        budgets=tuple(budget(job, failure) for failure in FailureClass),
        stalled=stalled,
        stalled_max=most,
    )


def budget(job: Job, failure: FailureClass) -> Budget:
    """Return what one class has used of its retries."""
    ends = job.failures.get(failure.value, 0)
    if job.spec.kind is JobKind.SERVICE and failure is not FailureClass.REFUSED:
        return Budget(failure=failure, ends=ends, allowed=NO_NUMBER, left=NO_NUMBER)
    allowed = budget_of(job, failure)
    return Budget(failure=failure, ends=ends, allowed=allowed, left=max(0, allowed - ends))


def stalls(job: Job) -> tuple[int, int]:
    """Return the row of ends without progress, and the length at which the job is given up."""
    if job.spec.kind is JobKind.SERVICE:
        return short_runs(job), short_runs_max(job)
    return stalled_attempts(job), job.spec.retry.no_progress_max
