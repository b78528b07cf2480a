"""Jobs that Ray must end or forget. Pure.

Ray keeps every job that ever ended, and lists them all each time that it is asked. So a job that
the agent has forgotten is ended first, if it still goes on, and then removed there. Either request
may be lost with the head, so each is made again until Ray shows that it is so.
"""

from __future__ import annotations

from collections.abc import Mapping

from causeway.adapters.outside import doomed
from causeway.adapters.outside.doomed import AGAIN_MS
from causeway.adapters.ray.values import FINAL, JobRow

AGAIN_MS_MAX = 60_000


class Doomed(doomed.Doomed[str]):
    """What must go, and what is gone, by the names that jobs have in Ray."""

    def __init__(self) -> None:
        super().__init__()
        self._forgotten: set[str] = set()
        """Those that Ray is to forget too."""
        self._final: set[str] = set()
        """Those that Ray has said to be over."""

    def condemn(self, job: str, *, at_ms: int, delete: bool, final: bool = False) -> None:
        """Have Ray end a job at that instant, unless it is over before, and forget it if said."""
        self.sentence(job, at_ms=at_ms)
        if delete:
            self._forgotten.add(job)
        if final and job not in self._final:
            self._final.add(job)
            self._going[job].due_ms = at_ms

    def due(self, now_ms: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the jobs that Ray is to be asked to end now, and those that it is to forget."""
        due = [(job, one) for job, one in self._going.items() if one.due_ms <= now_ms]
        for _, one in due:
            # Ray ends what waits for room only when there is room: it need not hear it each time.
            one.due_ms = now_ms + min(AGAIN_MS << min(one.asked, 8), AGAIN_MS_MAX)
            one.asked += 1
        jobs = [job for job, _ in due]
        ends = tuple(job for job in jobs if job not in self._final)
        return ends, tuple(job for job in jobs if job in self._final & self._forgotten)

    def hear(self, there: Mapping[str, JobRow], *, now_ms: int) -> None:
        """Take in what Ray still knows."""
        for job, sentence in list(self._going.items()):
            row = there.get(job)
            if row is None or (row.state in FINAL and job not in self._forgotten):
                del self._going[job]
                self._forgotten.discard(job)
                self._final.discard(job)
            elif row.state in FINAL and job not in self._final:
                self._final.add(job)
                sentence.due_ms = now_ms
