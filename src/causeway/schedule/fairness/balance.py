"""Our policy on rounds: what ends soonest goes first, and the longest job never waits.

The order that is best for average JCT, least remaining time first, is nearly best for finish-time
fairness too, because a short job is the one that waiting hurts most. What it ruins is the makespan:
the longest job is always last, and when it runs at last the fleet around it is empty. No schedule
ends before

    max(remaining GPU time of all / GPUs, longest remaining time)

and while the first of the two is larger, the longest job may wait at no cost. Once the second is,
every round that it waits makes the end later by a round. So the round is filled in two classes:

1. jobs on the last path: their remaining time is the longest, to within a round, and reaches what
   all remaining GPU time takes on the whole fleet;
2. all others, least remaining time first.

The only constant is the round. Remaining time is by the job's own plan of batch sizes; `blind` is
the same policy without that plan, by the speed of now. A class for jobs about to be unfair was
tried and left out: on the traces at hand it made the worst case worse, because it holds GPUs that
short jobs would have given back by then.
"""

from __future__ import annotations

from collections.abc import Sequence

from causeway.schedule.fairness.member import Member, Pool, fill


def balance(now_s: float, members: Sequence[Member], pool: Pool) -> list[int]:
    """Return who runs next, by what each job plans to do."""
    return _two_classes([(one.left_s, one) for one in members], pool)


def blind(now_s: float, members: Sequence[Member], pool: Pool) -> list[int]:
    """Return who runs next, by what each job does now."""
    return _two_classes([(one.left_now_s, one) for one in members], pool)


def _two_classes(timed: Sequence[tuple[float, Member]], pool: Pool) -> list[int]:
    longest_s = max((left_s for left_s, _ in timed), default=0.0)
    work_s = sum(left_s * one.gpus for left_s, one in timed) / pool.gpus
    last_path_s = max(work_s, longest_s - pool.round_s)

    def place(timed_one: tuple[float, Member]) -> tuple[int, float, int]:
        left_s, one = timed_one
        if left_s >= last_path_s:
            return (0, -left_s, one.key)
        return (1, left_s, one.key)

    return fill((one for _, one in sorted(timed, key=place)), pool)
