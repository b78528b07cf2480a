"""What the shells need from the world, named by need. Adapters and the twin provide it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for people, one for deadlines."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump."""

    def monotonic_ms(self) -> int:
        """Milliseconds since some start; never goes back."""


class Chance(Protocol):
    """All randomness of the system."""

    def bits(self, count: int) -> int:
        """Return an integer of `count` random bits; unguessable in production."""
