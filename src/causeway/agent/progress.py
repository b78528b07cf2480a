"""What a job writes about its own steps, on its way to the centre.

The progress file is the job's own: a line that is not understood is counted and passed over, never
an error of the agent. Points are thinned evenly, so a job that writes ten thousand a second costs
as much as one that writes two. A point that travels in one sync is not sent in another one until
that sync is known to be lost; points are not journalled (they are a curve, not a ledger).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from causeway.model.protocol import ProgressPoint

POINTS_PER_SYNC = 200
POINTS_KEPT = 400
NAMES_MAX = 16
NAME_CHARS_MAX = 64
LINE_BYTES_MAX = 8_192
STEP_MAX = 2**53


def thin(points: Sequence[ProgressPoint], most: int) -> list[ProgressPoint]:
    """Return at most `most` (2 or more) points, evenly taken, the first and the last among them.

    >>> [p.step for p in thin([ProgressPoint(step=n, at_ms=n) for n in range(9)], 3)]
    [0, 4, 8]
    """
    count = len(points)
    if count <= most:
        return list(points)
    return [points[index * (count - 1) // (most - 1)] for index in range(most)]


def parse_point(line: bytes, at_ms: int) -> ProgressPoint | None:
    """Read one line (`{"step": 7, "loss": 1.5}`); None when it is no progress point."""
    if len(line) > LINE_BYTES_MAX:
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    step = found.pop("step", None)
    if type(step) is not int or not 0 <= step <= STEP_MAX:
        return None
    values: dict[str, float] = {}
    for name, value in found.items():
        if len(values) == NAMES_MAX:
            break
        if type(value) is int and abs(value) > STEP_MAX:
            continue
        if type(value) in (int, float) and math.isfinite(value) and len(name) <= NAME_CHARS_MAX:
            values[name] = float(value)
    return ProgressPoint(step=step, at_ms=max(0, at_ms), values=values)


class Progress:
    """The points of one attempt that the centre does not have yet."""

    __slots__ = ("_in_flight", "_waiting", "ignored_lines", "last_step")

    def __init__(self, last_step: int = -1) -> None:
        self.last_step = last_step
        self.ignored_lines = 0
        self._waiting: list[ProgressPoint] = []
        self._in_flight: dict[int, tuple[ProgressPoint, ...]] = {}

    def add(self, lines: Sequence[bytes], at_ms: int) -> bool:
        """Take new lines in. Say whether a step higher than all before was among them."""
        before = self.last_step
        for line in lines:
            point = parse_point(line, at_ms)
            if point is None:
                self.ignored_lines += 1
                continue
            self.last_step = max(self.last_step, point.step)
            self._waiting.append(point)
            if len(self._waiting) > POINTS_KEPT:
                self._waiting = thin(self._waiting, POINTS_KEPT // 2)
        return self.last_step > before

    def take(self, seq: int) -> tuple[ProgressPoint, ...]:
        """Return what sync `seq` shall carry."""
        if not self._waiting:
            return ()
        points = tuple(thin(self._waiting, POINTS_PER_SYNC))
        self._waiting = []
        self._in_flight[seq] = points
        return points

    def arrived(self, seq: int) -> None:
        """Sync `seq` was answered: its points are at the centre."""
        self._in_flight.pop(seq, None)

    def lost(self, seq: int) -> None:
        """Sync `seq` will not be answered: its points go again."""
        points = self._in_flight.pop(seq, ())
        if points:
            self._waiting = thin([*points, *self._waiting], POINTS_KEPT)

    def __bool__(self) -> bool:
        """Say whether points wait to be sent."""
        return bool(self._waiting)
