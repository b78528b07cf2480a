"""How much longer a sweep will take: a range that is honest, or nothing while nothing is known.

What has ended tells how long a policy takes, at best and at worst. What runs tells by its own
progress, which need not be even: its estimate is widened by half in both directions until it ends.
What has not begun takes as long as its policy took, and as any did where its policy is new.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

MIN_SHARE = 0.02
"""Below this share of progress a task's own estimate is noise."""
SLACK = 0.5


class Outlook:
    """The estimate of one sweep. Instants are any seconds that only grow."""

    def __init__(self, kinds_of_task: Sequence[Hashable], *, jobs: int) -> None:
        self._kinds = list(kinds_of_task)
        """What a task is like, by its number: tasks that are alike take alike."""
        self._jobs = min(jobs, max(1, len(self._kinds)))
        self._began: dict[int, float] = {}
        self._shares: dict[int, float] = {}
        self._took: dict[int, float] = {}

    @property
    def count(self) -> int:
        """How many tasks there are."""
        return len(self._kinds)

    @property
    def done(self) -> int:
        """How many tasks have ended."""
        return len(self._took)

    def heard(self, index: int, share: float, now_s: float) -> None:
        """Note how far a task is."""
        self._began.setdefault(index, now_s)
        self._shares[index] = min(max(share, 0.0), 1.0)

    def ended(self, index: int, took_s: float) -> None:
        """Note that a task has ended."""
        self._took[index] = took_s
        self._began.pop(index, None)
        self._shares.pop(index, None)

    @property
    def share(self) -> float:
        """How much of the sweep is done, by tasks."""
        return (self.done + sum(self._shares.values())) / max(1, len(self._kinds))

    def left_s(self, now_s: float) -> tuple[float, float] | None:
        """Return the least and the most seconds that are likely left; None: nothing is known."""
        known: dict[Hashable, list[float]] = {}
        for index, took_s in self._took.items():
            known.setdefault(self._kinds[index], []).append(took_s)
        running = {i: self._running(i, now_s) for i in self._shares}
        for index, (low_s, high_s) in running.items():
            if high_s < float("inf"):
                gone_s = now_s - self._began[index]
                known.setdefault(self._kinds[index], []).extend((gone_s + low_s, gone_s + high_s))
        every = [took_s for some in known.values() for took_s in some]
        if not every:
            return None
        work = [0.0, 0.0]
        longest = 0.0
        for index, kind in enumerate(self._kinds):
            if index in self._took:
                continue
            alike = known.get(kind, every)
            low_s, high_s = min(alike), max(alike)
            if index in running:
                gone_s = now_s - self._began[index]
                own = running[index]
                if own[1] < float("inf"):
                    low_s, high_s = own
                else:
                    low_s, high_s = max(0.0, low_s - gone_s), max(0.0, high_s - gone_s)
            work[0] += low_s
            work[1] += high_s
            longest = max(longest, high_s)
        return work[0] / self._jobs, max(work[1] / self._jobs, longest)

    def _running(self, index: int, now_s: float) -> tuple[float, float]:
        """Return a running task's own estimate of what it still takes."""
        share = self._shares[index]
        if share < MIN_SHARE:
            return 0.0, float("inf")
        left_s = (now_s - self._began[index]) * (1.0 - share) / share
        return left_s * (1.0 - SLACK), left_s * (1.0 + SLACK)
