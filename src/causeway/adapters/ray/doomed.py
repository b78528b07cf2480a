"""Jobs that Ray must end or forget, and submissions that are over for good. Pure.

Ray keeps every job that ever ended, and lists them all each time that it is asked. So a job that
the agent has forgotten is ended first, if it still goes on, and then removed there. Either request
may be lost with the head, so each is made again until Ray shows that it is so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from causeway.adapters.ray.values import FINAL, JobRow

AGAIN_MS = 5_000
AGAIN_MS_MAX = 60_000
KEPT = 4_096


@dataclass(slots=True)
class Sentence:
    """When Ray is asked next about a job."""

    due_ms: int
    delete: bool
    """Whether Ray is to forget it too."""
    final: bool = False
    """Whether Ray has said that it is over."""
    asked: int = 0
    """How often it was."""


class Doomed:
    """What must go, and what is gone."""

    def __init__(self) -> None:
        self._jobs: dict[str, Sentence] = {}
        self._over: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def over(self) -> tuple[str, ...]:
        """Return the submissions that are over, the oldest first; bounded."""
        return tuple(self._over)

    def is_over(self, job: str) -> bool:
        """Say whether a submission is over."""
        return job in self._over

    def bury(self, *jobs: str) -> None:
        """Remember that submissions are over."""
        self._over |= dict.fromkeys(jobs)
        while len(self._over) > KEPT:
            del self._over[next(iter(self._over))]

    def condemn(self, job: str, *, at_ms: int, delete: bool, final: bool = False) -> None:
        """Have Ray end a job at that instant, unless it is over before, and forget it if said."""
        known = self._jobs.setdefault(job, Sentence(at_ms, delete))
        known.due_ms = min(known.due_ms, at_ms)
        known.delete = known.delete or delete
        known.final = known.final or final

    def due(self, now_ms: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the jobs that Ray is to be asked to end now, and those that it is to forget."""
        due = [(job, one) for job, one in self._jobs.items() if one.due_ms <= now_ms]
        for _, one in due:
            # Ray ends what waits for room only when there is room: it need not hear it each time.
            one.due_ms = now_ms + min(AGAIN_MS << min(one.asked, 8), AGAIN_MS_MAX)
            one.asked += 1
        ends = tuple(job for job, one in due if not one.final)
        return ends, tuple(job for job, one in due if one.final and one.delete)

    def hear(self, there: Mapping[str, JobRow], *, now_ms: int) -> None:
        """Take in what Ray still knows."""
        for job, sentence in list(self._jobs.items()):
            row = there.get(job)
            if row is None or (row.state in FINAL and not sentence.delete):
                del self._jobs[job]
            elif row.state in FINAL and not sentence.final:
                sentence.final, sentence.due_ms = True, now_ms

    def next_ms(self) -> Iterable[int]:
        """Return when Ray is to be asked next, for each."""
        return (one.due_ms for one in self._jobs.values())
