"""What a job's own attempts say about reliability: MTBF, MTTR, goodput. Measured, never modelled.

Times are by the centre's clock. An attempt's failure is dated when the centre closed it, so the
silence before an island was given up counts as run time, not as repair; with leases of seconds the
difference is small, and it is stated here because it flatters MTTR.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from causeway.model.jobs import Attempt, AttemptState, FailureClass, Job

PLANNED = frozenset({FailureClass.PREEMPTION, FailureClass.REFUSED})
"""Ends that were decided by somebody; they cost time but are no failures of equipment or code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One job's record. None: there is not enough to say."""

    attempts: int
    failures: int
    """Unplanned ends of attempts that had started."""
    interruptions: int
    """All ends that made another attempt necessary, planned ones too."""
    run_s: float
    """Time in which its processes ran, over all attempts."""
    wall_s: float
    """From its first start to its end, or to now."""
    mtbf_s: float | None
    mttr_s: float | None
    """Mean from an attempt's end to the next attempt's first new step (its start without steps)."""
    availability: float | None
    """Run time over wall time."""
    steps_done: int
    """Steps executed in all, repeated ones included."""
    steps_lost: int
    """Steps that had to be done again."""
    goodput: float | None
    """Useful steps times the mean step time, over wall time (DLRover's definition)."""


def measured(job: Job, now_ms: int) -> Measured:
    """Return the record of a job at an instant."""
    ran = [attempt for attempt in job.attempts if attempt.started_ms]
    run_s = sum(_run_s(attempt, now_ms) for attempt in ran)
    end_ms = job.ended_ms or now_ms
    wall_s = max(0, end_ms - ran[0].started_ms) / 1000 if ran else 0.0
    failures = sum(_failed(attempt) for attempt in ran)
    repairs = [
        repair_s for old, new in pairwise(ran) if (repair_s := _repair_s(old, new)) is not None
    ]
    done, lost = _steps(ran)
    step_s = run_s / done if done else 0.0
    return Measured(
        attempts=len(job.attempts),
        failures=failures,
        interruptions=max(0, len(ran) - 1),
        run_s=run_s,
        wall_s=wall_s,
        mtbf_s=run_s / failures if failures else None,
        mttr_s=sum(repairs) / len(repairs) if repairs else None,
        availability=min(1.0, run_s / wall_s) if wall_s else None,
        steps_done=done,
        steps_lost=lost,
        goodput=min(1.0, (done - lost) * step_s / wall_s) if done and wall_s else None,
    )


def _run_s(attempt: Attempt, now_ms: int) -> float:
    return max(0, (attempt.ended_ms or now_ms) - attempt.started_ms) / 1000


def _failed(attempt: Attempt) -> bool:
    bad = attempt.state in (AttemptState.FAILED, AttemptState.LOST)
    return bad and attempt.failure not in PLANNED


def _repair_s(old: Attempt, new: Attempt) -> float | None:
    """Return how long the job stood still between two attempts; None while that is not known."""
    back_ms = new.first_step_ms or (new.started_ms if new.last_step <= new.resumed_step else 0)
    if not old.ended_ms or not back_ms:
        return None
    return max(0, back_ms - old.ended_ms) / 1000


def _steps(ran: list[Attempt]) -> tuple[int, int]:
    """Return (steps executed, steps executed again after a resume from an older one)."""
    done = sum(max(0, attempt.last_step - attempt.resumed_step) for attempt in ran)
    reached, lost = -1, 0
    for attempt in ran:
        again = min(reached, attempt.last_step) - attempt.resumed_step
        lost += max(0, again)
        reached = max(reached, attempt.last_step)
    return done, lost
