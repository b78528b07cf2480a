"""The term of a rental: how much of it is left, whatever has happened to it.

A rental is metered from its hand-over. When its island is lost it is handed over again elsewhere,
and the term goes on with what was not used yet: over all its attempts a person can use, and is
charged for, the whole term and not a millisecond more.
"""

from __future__ import annotations

from causeway.model.jobs import Job


def term_left_ms(job: Job) -> int | None:
    """Return how long the newest attempt may be used, counted from its own hand-over; None for
    what is no rental."""
    rental = job.spec.rental
    if rental is None:
        return None
    used_ms = sum(attempt.usage.until_ms for attempt in job.attempts[:-1])
    return max(0, round(rental.term_s * 1000) - used_ms)
