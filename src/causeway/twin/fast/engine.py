"""The clock of the fast twin: a pool, a queue, and what happens to columns of jobs in them.

Only instants at which something happens are visited. At one instant, what ends ends first, then
ranks change, then jobs arrive, and then the queue decides, once. Arrivals are a column that is
walked along; only running jobs are in the heap, so its size is bounded by the pool.

A job that is stopped goes on later from its last checkpoint, after a restart that holds devices and
does no work. Both are costs of stopping and are counted apart: devices were allocated and not busy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from causeway.schedule.queueing.lines import Queue
from causeway.schedule.queueing.ranked import Ranked

_END, _TURN = 0, 1
SAMPLES_MAX = 2_000
TELL_EVERY = 20_000
"""Events between two words of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """What it costs to stop a job."""

    restart_s: float = 0.0
    """Devices are held for so long before a stopped job works again."""
    checkpoint_s: float = 0.0
    """Work since the last multiple of this is done again; 0: none is lost."""


@dataclass(slots=True, kw_only=True)
class Played:
    """What happened to each job, a column each, and to the pool."""

    start_s: list[float]
    """When it first had devices; infinity: it never had."""
    end_s: list[float]
    held_s: list[float]
    """How long it had devices, in all."""
    stops: list[int]
    began_s: float = 0.0
    ended_s: float = 0.0
    events: int = 0
    waited_idle_device_s: float = 0.0
    """Device-seconds that were idle while at least one job waited."""
    t_s: list[float] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    """Samples over time: jobs that wait and devices that are held."""


class Engine:
    """One replay. `arrival_s` has to be in order, and every job has to fit the empty pool."""

    def __init__(
        self,
        queue: Queue,
        arrival_s: Sequence[float],
        length_s: Sequence[float],
        devices: Sequence[int],
        *,
        pool_devices: int,
        stopping: Stopping,
    ) -> None:
        self._queue = queue
        self._turning = queue if isinstance(queue, Ranked) else None
        self._arrival_s = arrival_s
        self._devices = devices
        self._pool = pool_devices
        self._stopping = stopping
        count = len(arrival_s)
        self._left_s = list(length_s)
        self._done_s = [0.0] * count
        self._since_s = [0.0] * count
        self._warm_s = [0.0] * count
        """How much of the present run is restart."""
        self._stamp = [0] * count
        """Changes with each start and stop: events of an earlier run are stale."""
        self._heap: list[tuple[float, int, int, int]] = []
        self._held = 0
        self.played = Played(
            start_s=[float("inf")] * count,
            end_s=[float("inf")] * count,
            held_s=[0.0] * count,
            stops=[0] * count,
        )

    def run(self, progress: Callable[[float], None]) -> Played:
        """Play it to the end and return what happened."""
        arrival_s, heap, queue, played = self._arrival_s, self._heap, self._queue, self.played
        count, at, tell = len(arrival_s), 0, TELL_EVERY
        if not count:
            return played
        last_s = played.began_s = arrival_s[0]
        sampler = _Sampler(played, arrival_s[0], arrival_s[-1])
        while at < count or heap:
            now_s = arrival_s[at] if at < count else heap[0][0]
            if heap and heap[0][0] < now_s:
                now_s = heap[0][0]
            if now_s > last_s:
                if queue.waiting:
                    played.waited_idle_device_s += (self._pool - self._held) * (now_s - last_s)
                if now_s >= sampler.next_s:
                    sampler.note(now_s, queue.waiting, self._held)
                last_s = now_s
            while heap and heap[0][0] <= now_s:
                self._happen(now_s)
            while at < count and arrival_s[at] <= now_s:
                queue.arrive(at)
                at += 1
                played.events += 1
            if queue.waiting:
                starts, stops = queue.decide(now_s)
                for job in stops:
                    self._stop(job, now_s)
                for job in starts:
                    self._start(job, now_s)
            if played.events >= tell:
                tell = played.events + TELL_EVERY
                progress(at / count)
        played.ended_s = last_s
        return played

    def _happen(self, now_s: float) -> None:
        _, what, job, stamp = heappop(self._heap)
        if stamp != self._stamp[job]:
            return
        self.played.events += 1
        if what == _TURN:
            assert self._turning is not None
            self._turning.turn(job, now_s)
            self._turn_later(job, now_s)
            return
        self._stamp[job] += 1
        self._held -= self._devices[job]
        self.played.end_s[job] = now_s
        self.played.held_s[job] += now_s - self._since_s[job]
        self._queue.end(job, now_s)

    def _start(self, job: int, now_s: float) -> None:
        self._held += self._devices[job]
        self._stamp[job] += 1
        self._since_s[job] = now_s
        if self.played.start_s[job] > now_s:
            self.played.start_s[job] = now_s
        end_s = now_s + self._warm_s[job] + self._left_s[job]
        heappush(self._heap, (end_s, _END, job, self._stamp[job]))
        if self._turning is not None:
            self._turn_later(job, now_s)

    def _turn_later(self, job: int, now_s: float) -> None:
        assert self._turning is not None
        at_s = self._turning.turn_s(job, now_s)
        # After the end there is nothing to turn.
        end_s = self._since_s[job] + self._warm_s[job] + self._left_s[job]
        if at_s < end_s:
            heappush(self._heap, (max(at_s, now_s), _TURN, job, self._stamp[job]))

    def _stop(self, job: int, now_s: float) -> None:
        ran_s = now_s - self._since_s[job]
        worked_s = max(0.0, ran_s - self._warm_s[job])
        each_s = self._stopping.checkpoint_s
        if each_s > 0.0:
            done_s = self._done_s[job] + worked_s
            worked_s = max(0.0, done_s // each_s * each_s - self._done_s[job])
        self._done_s[job] += worked_s
        self._left_s[job] -= worked_s
        self._warm_s[job] = self._stopping.restart_s
        self._stamp[job] += 1
        self._held -= self._devices[job]
        self.played.held_s[job] += ran_s
        self.played.stops[job] += 1


class _Sampler:
    """Keeps at most `SAMPLES_MAX` instants, evenly: when there are more, every other one goes."""

    def __init__(self, played: Played, first_s: float, last_s: float) -> None:
        self._played = played
        self._step_s = max((last_s - first_s) / (SAMPLES_MAX / 2), 1e-3)
        self.next_s = first_s

    def note(self, now_s: float, queued: int, held: int) -> None:
        """Keep what has been the case up to now since the last event."""
        played = self._played
        played.t_s.append(self.next_s)
        played.queued.append(queued)
        played.held.append(held)
        if len(played.t_s) >= SAMPLES_MAX:
            for column in (played.t_s, played.queued, played.held):
                del column[1::2]
            self._step_s *= 2.0
        steps = (now_s - self.next_s) // self._step_s + 1.0
        self.next_s += steps * self._step_s
