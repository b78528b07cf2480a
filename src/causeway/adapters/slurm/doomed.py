"""Jobs of Slurm that must go, and submissions that are over for good. Pure, but for who calls it.

A job is asked to end once, and killed each time after that, until Slurm shows that it is gone: a
request may be lost with the controller. Tags of submissions that are over are kept, so that a job
that is still on its way out, or in, is never taken for somebody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from causeway.adapters.slurm import orders
from causeway.adapters.slurm.values import FINAL, JobRow

AGAIN_MS = 5_000
TAGS_KEPT = 4_096


@dataclass(slots=True)
class Sentence:
    """When Slurm is asked next to end a job, and how often it was."""

    due_ms: int
    tag: str
    """Of the submission: a controller that lost its last seconds gives numbers out again."""
    asked: int = 0


class Doomed:
    """What must go, and what is gone."""

    def __init__(self) -> None:
        self._jobs: dict[int, Sentence] = {}
        self._over: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: int) -> bool:
        return job in self._jobs

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the tags of submissions that are over, the oldest first; bounded."""
        return tuple(self._over)

    def is_over(self, tag: str) -> bool:
        """Say whether a submission is over."""
        return tag in self._over

    def bury(self, *tags: str) -> None:
        """Remember that submissions are over."""
        self._over |= dict.fromkeys(tags)
        while len(self._over) > TAGS_KEPT:
            del self._over[next(iter(self._over))]

    def condemn(self, number: int, tag: str, *, at_ms: int) -> None:
        """Have Slurm end a job at that instant, unless it is seen to be over before."""
        known = self._jobs.setdefault(number, Sentence(at_ms, tag))
        known.due_ms = min(known.due_ms, at_ms)

    def due(self, now_ms: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the jobs that Slurm is to be asked to end now, and those that it was asked to end
        before, in vain, so that they are to be killed."""
        due = [(number, one) for number, one in self._jobs.items() if one.due_ms <= now_ms]
        for _, one in due:
            one.due_ms, one.asked = now_ms + AGAIN_MS, one.asked + 1
        ends = tuple(number for number, one in due if one.asked == 1)
        return ends, tuple(number for number, one in due if one.asked > 1)

    def hear(self, there: Mapping[int, JobRow]) -> None:
        """Take in what Slurm still knows: what it does not, or knows to be over, is gone."""
        for number, sentence in list(self._jobs.items()):
            known = there.get(number)
            if known is None or known.state in FINAL or tag_of(known) != sentence.tag:
                del self._jobs[number]

    def next_ms(self) -> Iterable[int]:
        """Return when Slurm is to be asked next, for each."""
        return (one.due_ms for one in self._jobs.values())


def tag_of(row: JobRow) -> str:
    """Return the tag of a job's submission; nothing when it is not ours."""
    mark = orders.parse_mark(row.comment)
    return mark.tag if mark is not None else ""
