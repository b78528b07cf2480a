"""Virtual time: a heap of (instant, number, action), and chance from one seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

START_MS = 1_700_000_000_000
"""The epoch milliseconds at which every simulation begins."""


class Loop:
    """Runs actions in the order of their instants; equal instants in the order of their making."""

    def __init__(self, seed: int) -> None:
        self.now_ms = START_MS
        self.chance = random.Random(seed)
        self.steps = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, instant_ms: int, action: Callable[[], None]) -> None:
        """Do the action at an instant, or now when it has passed."""
        if instant_ms < self.now_ms:
            instant_ms = self.now_ms
        heapq.heappush(self._heap, (instant_ms, next(self._numbers), action))

    def after(self, wait_ms: float, action: Callable[[], None]) -> None:
        """Do the action after a wait."""
        self.at(self.now_ms + round(wait_ms), action)

    def run(self, until_ms: int) -> None:
        """Run until the instant."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until_ms:
            self.now_ms, _, action = pop(heap)
            self.steps += 1
            action()
        self.now_ms = max(self.now_ms, until_ms)


class VirtualClock:
    """A host's clock: a constant offset for people, a constant rate for deadlines."""

    def __init__(self, loop: Loop, *, offset_ms: int = 0, rate: float = 1.0) -> None:
        self.loop = loop
        self.offset_ms = offset_ms
        self.rate = rate

    def now_ms(self) -> int:
        """Return the wall clock, which may be wrong."""
        return self.loop.now_ms + self.offset_ms

    def monotonic_ms(self) -> int:
        """Return the monotonic clock, which may run fast or slow."""
        run_ms = self.loop.now_ms - START_MS
        return (run_ms if self.rate == 1.0 else round(run_ms * self.rate)) + 1

    def true_wait_ms(self, local_wait_ms: int) -> float:
        """Return how long, in true time, the host waits when it means to wait this long."""
        return local_wait_ms / self.rate


class VirtualChance:
    """Chance from the simulation's seed."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def bits(self, count: int) -> int:
        """Return random bits that the seed determines."""
        return self.loop.chance.getrandbits(count)
