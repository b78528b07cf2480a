"""Submissions whose objects must go, and those that are over for good. Pure.

Deleting is asked for again and again until Kubernetes shows that nothing is there any more: a
request may be lost with the API server. Tags of submissions that are over are kept, so that what is
still on its way out is never taken for somebody's.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

AGAIN_MS = 5_000
TAGS_KEPT = 4_096


@dataclass(slots=True)
class Sentence:
    """When Kubernetes is asked next to delete, and how often it was."""

    due_ms: int
    asked: int = 0


class Doomed:
    """What must go, and what is gone."""

    def __init__(self) -> None:
        self._going: dict[str, Sentence] = {}
        self._over: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._going)

    def __contains__(self, tag: str) -> bool:
        return tag in self._going

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

    def condemn(self, tag: str, *, at_ms: int) -> None:
        """Have everything of a submission deleted at that instant."""
        known = self._going.setdefault(tag, Sentence(at_ms))
        known.due_ms = min(known.due_ms, at_ms)

    def due(self, now_ms: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return whose objects are to be deleted now, and whose were asked for before, in vain, so
        that their pods are to be killed."""
        due = [(tag, one) for tag, one in self._going.items() if one.due_ms <= now_ms]
        for _, one in due:
            one.due_ms, one.asked = now_ms + AGAIN_MS, one.asked + 1
        ends = tuple(tag for tag, one in due if one.asked == 1)
        return ends, tuple(tag for tag, one in due if one.asked > 1)

    def hear(self, there: Container[str]) -> None:
        """Take in whose objects there still are."""
        for tag, sentence in list(self._going.items()):
            if tag not in there and sentence.asked:
                del self._going[tag]

    def next_ms(self) -> Iterable[int]:
        """Return when Kubernetes is to be asked next, for each."""
        return (one.due_ms for one in self._going.values())
