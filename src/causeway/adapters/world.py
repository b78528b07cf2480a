"""The real clock and real chance."""

from __future__ import annotations

import secrets
import time


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


class SystemChance:
    """The operating system's randomness."""

    def bits(self, count: int) -> int:
        return secrets.randbits(count)
