"""How many tasks go into a job: the ledger of one run's tasks. No clock, no wire, no threads.

Each task is undone, in exactly one portion that is out, or settled. A portion is a range of tasks
that one job runs one after another.

    size      The first portions hold one task each, because nothing is known. From then on one is
              to last a tenth of what the run has lasted so far, from 1 s to 30 s: results come in
              soon after the start, and starting a job (some 0.3 s) weighs little later on.
    evenness  No portion is larger than half of an even share of what is left, so that lanes end
              together (guided self-scheduling: C. Polychronopoulos, D. Kuck, 1987), nor so small
              that it would last less than half a second.
    budget    A portion that takes twice as long as meant ends, and its rest is undone again. So a
              few slow tasks cannot hold up those that share a portion with them.
    lanes     How many portions may be out follows from how many were seen running at once: twice as
              many and two more. A federation that runs them all is soon asked for more.
    deaths    A portion whose job failed is cut into quarters, until the task that did it is alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

SHARE_OF_ELAPSED = 0.1
PORTION_S = (1.0, 30.0)
LEAST_S = 0.5
FIRST_PORTIONS = 4
SINGLES_MAX = 16
"""Up to so many tasks go out one by one at once: there is nothing to be learnt from the first."""
FIRST_RESULT_S = 2.0
"""Without a result for so long, tasks are taken for long ones, and more go out one by one."""
TASKS_MAX = 10_000
BYTES_MAX = 8 * 1024**2
"""Most tasks, and most bytes of inputs, in a portion (a single task may be larger)."""
OUT_MAX = 1_000
WAVE_MAX = 200
"""Most portions that are out, and that go out at once."""
MEMORY_SHARE = 0.5
"""What an earlier measurement still counts when a portion has come back."""
PAIR_S = 10.0
"""As long as only first tasks were measured, and they took less than this, portions hold two: the
first one in a process may import and compile what the next one finds ready."""


@dataclass(frozen=True, slots=True, order=True)
class Portion:
    """Tasks `start` to `stop` (not included)."""

    start: int
    stop: int

    @property
    def indices(self) -> range:
        """The tasks."""
        return range(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    stop: int
    most: int = TASKS_MAX
    """Largest portion that may be cut from it: smaller where something died."""


def portion_s(elapsed_s: float) -> float:
    """Return how long a portion is to last when the run has lasted so long.

    >>> [portion_s(1), portion_s(100), portion_s(10_000)]
    [1.0, 10.0, 30.0]
    """
    return max(PORTION_S[0], min(PORTION_S[1], elapsed_s * SHARE_OF_ELAPSED))


def portion_tasks(*, left: int, lanes: int, task_s: float, elapsed_s: float) -> int:
    """Return how many tasks the next portions hold.

    >>> portion_tasks(left=10_000, lanes=2, task_s=0.001, elapsed_s=1.0)
    1000
    >>> portion_tasks(left=100, lanes=2, task_s=0.001, elapsed_s=1.0)
    100
    >>> portion_tasks(left=100, lanes=2, task_s=60.0, elapsed_s=600.0)
    1
    """
    task_s = max(task_s, 1e-7)
    by_time = portion_s(elapsed_s) / task_s
    even = math.ceil(left / (2 * max(1, lanes)))
    least = LEAST_S / task_s
    return int(max(1, min(max(min(by_time, even), least), left, TASKS_MAX)))


@dataclass(slots=True, kw_only=True)
class Ledger:
    """All tasks of one run."""

    most: int = TASKS_MAX
    """Largest portion that the user allows."""
    sizes: list[int] = field(default_factory=list)
    """Bytes of each task's inputs."""
    out: dict[Portion, bool] = field(default_factory=dict)
    """Portions that are out -> whether they were seen running."""
    lanes: int = 1
    """Most portions seen running at once."""
    task_s: float | None = None
    """What a task takes; None before the first result."""
    began_s: float | None = None
    deaths: int = 0
    returns: int = 0
    _undone: list[_Span] = field(default_factory=list)
    _settled: bytearray = field(default_factory=bytearray)
    _paired: bool = False
    """Whether more than the first task of a process was ever measured."""

    @property
    def tasks(self) -> int:
        """Tasks in all."""
        return len(self.sizes)

    @property
    def settled(self) -> int:
        """Tasks that have their outcome, or need none."""
        return self._settled.count(1)

    @property
    def undone(self) -> int:
        """Tasks that wait to go out."""
        return sum(span.stop - span.start for span in self._undone)

    def is_settled(self, index: int) -> bool:
        """Say whether a task has its outcome."""
        return bool(self._settled[index])

    def add(self, size_bytes: int) -> int:
        """Add a task; return its index."""
        index = self.tasks
        self.sizes.append(size_bytes)
        self._settled.append(0)
        self._undo(index, index + 1, TASKS_MAX)
        return index

    def claim(self, portion: Portion) -> None:
        """Note that a portion is out already: an earlier life of the program sent it."""
        self._undone = [piece for span in self._undone for piece in _without(span, portion)]
        self.out[portion] = False

    def seen(self, running: Iterable[Portion]) -> None:
        """Note which portions run now."""
        at_once = 0
        for portion in running:
            if portion in self.out:
                self.out[portion] = True
                at_once += 1
        self.lanes = max(self.lanes, at_once)

    def elapsed_s(self, now_s: float) -> float:
        """Return how long the run has lasted; 0 before its first wave."""
        return 0.0 if self.began_s is None else now_s - self.began_s

    def budget_s(self, now_s: float) -> float:
        """Return after how long a portion that goes out now begins no further task."""
        return max(2 * portion_s(self.elapsed_s(now_s)), 1.5 * min(self.task_s or 0.0, PAIR_S))

    def next_wave(self, now_s: float) -> list[Portion]:
        """Return the portions that go out now; they are out from here on."""
        left = self.undone
        if not left:
            return []
        if self.began_s is None:
            self.began_s = now_s
        size, number = self._asked(left, self.elapsed_s(now_s))
        wave: list[Portion] = []
        while self._undone and len(wave) < number:
            portion = self._cut(size)
            wave.append(portion)
            self.out[portion] = False
        return wave

    def _asked(self, left: int, elapsed_s: float) -> tuple[int, int]:
        """Return how large the next portions are, and how many of them go out now."""
        if self.task_s is None and left <= SINGLES_MAX:
            return 1, max(0, SINGLES_MAX - len(self.out))
        if self.task_s is None and elapsed_s < FIRST_RESULT_S:
            return 1, max(0, FIRST_PORTIONS - len(self.out))
        room = min(OUT_MAX, 2 * self.lanes + 2) - len(self.out)
        waiting = sum(not running for running in self.out.values())
        # Few portions go out in one go with others: each wave is a few requests of its own.
        if room <= 0 or waiting > self.lanes:
            return 1, 0
        task_s = max(elapsed_s, 1.0) if self.task_s is None else self.task_s
        size = portion_tasks(left=left, lanes=self.lanes, task_s=task_s, elapsed_s=elapsed_s)
        if self.task_s is not None and not self._paired and task_s < PAIR_S:
            size = max(size, 2)
        return min(size, self.most), min(room, WAVE_MAX)

    def _cut(self, size: int) -> Portion:
        span = self._undone[0]
        stop = min(span.stop, span.start + min(size, span.most))
        held = 0
        for index in range(span.start, stop):
            held += self.sizes[index]
            if held > BYTES_MAX and index > span.start:
                stop = index
                break
        if stop == span.stop:
            del self._undone[0]
        else:
            self._undone[0] = replace(span, start=stop)
        return Portion(span.start, stop)

    def come_back(self, portion: Portion, seconds: dict[int, float]) -> None:
        """Take a portion back: those that took so many seconds are settled, the rest is undone."""
        if self.out.pop(portion, None) is None:
            # Another program under the same name has sent the same tasks.
            for index in seconds:
                self.settle(index)
            return
        self.returns += 1
        self._measure([seconds[index] for index in sorted(seconds)])
        for index in seconds:
            self._settled[index] = 1
        self._undo_rest(portion, TASKS_MAX)

    def _measure(self, seconds: list[float]) -> None:
        """Learn what a task takes from those that were not the first in their process."""
        self._paired |= len(seconds) > 1
        later = seconds[1:] or seconds
        if later:
            now_s = sum(later) / len(later)
            before_s = now_s if self.task_s is None else self.task_s
            self.task_s = MEMORY_SHARE * before_s + (1 - MEMORY_SHARE) * now_s

    def die(self, portion: Portion) -> bool:
        """Take a portion back whose job failed; say whether it is to be tried again, in parts."""
        self.deaths += 1
        held = self.out.pop(portion, None) is not None
        size = portion.stop - portion.start
        if held and size > 1:
            self._undo_rest(portion, max(1, size // 4))
        return size > 1

    def give_back(self, portion: Portion) -> None:
        """Take a portion back that never ran."""
        if self.out.pop(portion, None) is not None:
            self._undo_rest(portion, TASKS_MAX)

    def settle(self, index: int) -> Portion | None:
        """Settle one task (it was cancelled, or has failed for good). Return its portion when that
        is out and none of its tasks is wanted any more."""
        self._settled[index] = 1
        one = Portion(index, index + 1)
        self._undone = [piece for span in self._undone for piece in _without(span, one)]
        for portion in self.out:
            if index in portion.indices:
                whole = all(self._settled[other] for other in portion.indices)
                return portion if whole else None
        return None

    def _undo_rest(self, portion: Portion, most: int) -> None:
        start = portion.start
        for index in range(portion.start, portion.stop + 1):
            if index == portion.stop or self._settled[index]:
                if start < index:
                    self._undo(start, index, most)
                start = index + 1

    def _undo(self, start: int, stop: int, most: int) -> None:
        """Put tasks back; neighbours of the same kind become one span."""
        spans = sorted([*self._undone, _Span(start, stop, most)], key=lambda span: span.start)
        merged = spans[:1]
        for span in spans[1:]:
            last = merged[-1]
            if last.stop == span.start and last.most == span.most:
                merged[-1] = replace(last, stop=span.stop)
            else:
                merged.append(span)
        self._undone = merged


def _without(span: _Span, portion: Portion) -> list[_Span]:
    """Return what is left of the span outside of the portion."""
    if portion.stop <= span.start or span.stop <= portion.start:
        return [span]
    before = replace(span, stop=min(span.stop, portion.start))
    after = replace(span, start=max(span.start, portion.stop))
    return [piece for piece in (before, after) if piece.start < piece.stop]
