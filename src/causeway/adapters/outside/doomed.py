"""What an engine must end, and submissions that are over for good. Pure, but for who calls it.

The engine is asked to end a thing once, and to kill it each time after that, until it shows that
the thing is gone: a request may be lost with the engine's head. Names of submissions that are over
are kept, so that what is still on its way out, or in, is never taken for somebody's.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

AGAIN_MS = 5_000
KEPT = 4_096

N = TypeVar("N", bound=Hashable)


@dataclass(slots=True)
class Sentence:
    """When the engine is asked next about a thing, and how often it was."""

    due_ms: int
    asked: int = 0


class Doomed(Generic[N]):
    """What must go, by the engine's own names; and what is gone."""

    def __init__(self) -> None:
        self._going: dict[N, Sentence] = {}
        self._over: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._going)

    def __contains__(self, name: N) -> bool:
        return name in self._going

    @property
    def over(self) -> tuple[str, ...]:
        """Return the submissions that are over, the oldest first; bounded."""
        return tuple(self._over)

    def is_over(self, submission: str) -> bool:
        """Say whether a submission is over."""
        return submission in self._over

    def bury(self, *submissions: str) -> None:
        """Remember that submissions are over."""
        self._over |= dict.fromkeys(submissions)
        while len(self._over) > KEPT:
            del self._over[next(iter(self._over))]

    def sentence(self, name: N, *, at_ms: int) -> None:
        """Have the engine end a thing at that instant, unless it is seen to be gone before. What it
        was asked for already keeps its time until it is asked again: it may be about to end."""
        known = self._going.setdefault(name, Sentence(at_ms))
        if not known.asked:
            known.due_ms = min(known.due_ms, at_ms)

    def due(self, now_ms: int) -> tuple[tuple[N, ...], tuple[N, ...]]:
        """Return what the engine is to be asked to end now, and what it was asked to end before, in
        vain, so that it is to be killed."""
        due = [(name, one) for name, one in self._going.items() if one.due_ms <= now_ms]
        for _, one in due:
            one.due_ms, one.asked = now_ms + AGAIN_MS, one.asked + 1
        ends = tuple(name for name, one in due if one.asked == 1)
        return ends, tuple(name for name, one in due if one.asked > 1)

    def next_ms(self) -> Iterable[int]:
        """Return when the engine is to be asked next, for each."""
        return (one.due_ms for one in self._going.values())
