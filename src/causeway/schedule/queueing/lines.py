"""Queues that start jobs and never stop one.

*First come* is strict: while the first does not fit, nobody starts. *Backfill* is EASY (Lifka, "The
ANL/IBM SP scheduling system", 1995): the first that does not fit is promised the instant at which
enough devices will be free by what running jobs have asked for, and others may start before it if
they are away by then or take what it will not need. *Shortest* knows every job's length (an oracle)
and passes over what does not fit. *Fair* starts the first job of whoever holds the smallest share
that has one that fits.

Jobs that ask for as many devices are one kind here: when one of them found no room, none of the
others will in the same round.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Protocol

from causeway.schedule.queueing.room import Room

DEPTH = 500
"""Waiting jobs that a round of backfill looks at behind the first."""


class Queue(Protocol):
    """What drives a queue tells it what happened, and asks what to do."""

    @property
    def waiting(self) -> int:
        """How many jobs wait."""

    def arrive(self, job: int) -> None:
        """A job came."""

    def end(self, job: int, now_s: float) -> None:
        """A running job came to its end."""

    def decide(self, now_s: float) -> tuple[Sequence[int], Sequence[int]]:
        """Return the jobs to start and the running jobs to stop now."""


class FirstCome:
    """Strictly in the order of arrival."""

    def __init__(self, room: Room, devices: Sequence[int]) -> None:
        self._room = room
        self._devices = devices
        self._line: deque[int] = deque()

    @property
    def waiting(self) -> int:
        """See `Queue`."""
        return len(self._line)

    def arrive(self, job: int) -> None:
        """See `Queue`."""
        self._line.append(job)

    def end(self, job: int, now_s: float) -> None:
        """See `Queue`."""
        self._room.give(job)

    def decide(self, now_s: float) -> tuple[Sequence[int], Sequence[int]]:
        """See `Queue`."""
        starts = []
        line, take, devices = self._line, self._room.take, self._devices
        while line and take(line[0], devices[line[0]]):
            starts.append(line.popleft())
        return starts, ()


class Backfill:
    """First come, with EASY backfill.

    What a job asked for is `asked_s`; one that runs on after that is taken to end any moment. The
    promise to the first is made by counting devices, so where gangs have to lie close together it
    may be kept late.
    """

    def __init__(self, room: Room, devices: Sequence[int], asked_s: Sequence[float]) -> None:
        self._room = room
        self._devices = devices
        self._asked_s = asked_s
        self._line: OrderedDict[int, None] = OrderedDict()
        self._ends: list[tuple[float, int]] = []
        """Running jobs by the instant at which they said they would be done."""
        self._end_of: dict[int, float] = {}

    @property
    def waiting(self) -> int:
        """See `Queue`."""
        return len(self._line)

    def arrive(self, job: int) -> None:
        """See `Queue`."""
        self._line[job] = None

    def end(self, job: int, now_s: float) -> None:
        """See `Queue`."""
        self._room.give(job)
        del self._ends[bisect_left(self._ends, (self._end_of.pop(job), job))]

    def decide(self, now_s: float) -> tuple[Sequence[int], Sequence[int]]:
        """See `Queue`."""
        starts: list[int] = []
        line = self._line
        while line:
            first = next(iter(line))
            if not self._room.take(first, self._devices[first]):
                self._behind(first, now_s, starts)
                break
            del line[first]
            self._start(first, now_s, starts)
        return starts, ()

    def _start(self, job: int, now_s: float, starts: list[int]) -> None:
        end_s = now_s + self._asked_s[job]
        self._end_of[job] = end_s
        insort(self._ends, (end_s, job))
        starts.append(job)

    def _behind(self, first: int, now_s: float, starts: list[int]) -> None:
        """Start what does not make the first wait longer than it has to."""
        if len(self._line) == 1 or not self._room.free:
            return
        promised_s, spare = self._promise(first, now_s)
        full: set[int] = set()
        found = []
        for job in islice(self._line, 1, DEPTH + 1):
            devices = self._devices[job]
            if devices in full:
                continue
            in_time = now_s + self._asked_s[job] <= promised_s
            if not in_time and devices > spare:
                continue
            if not self._room.take(job, devices):
                full.add(devices)
                continue
            if not in_time:
                spare -= devices
            found.append(job)
            if not self._room.free:
                break
        for job in found:
            del self._line[job]
            self._start(job, now_s, starts)

    def _promise(self, first: int, now_s: float) -> tuple[float, int]:
        """Return when the first will have its devices, and how many are over then."""
        left = self._devices[first] - self._room.free
        promised_s = now_s
        for end_s, job in self._ends:
            if left <= 0:
                break
            left -= self._devices[job]
            promised_s = max(end_s, now_s)
        return promised_s, max(0, -left)


class Shortest:
    """The shortest first, of those that fit; an oracle, for it is told every job's length."""

    def __init__(self, room: Room, devices: Sequence[int], length_s: Sequence[float]) -> None:
        self._room = room
        self._devices = devices
        self._length_s = length_s
        self._lines: dict[int, list[tuple[float, int]]] = {}
        self.waiting = 0
        """See `Queue`."""

    def arrive(self, job: int) -> None:
        """See `Queue`."""
        heappush(self._lines.setdefault(self._devices[job], []), (self._length_s[job], job))
        self.waiting += 1

    def end(self, job: int, now_s: float) -> None:
        """See `Queue`."""
        self._room.give(job)

    def decide(self, now_s: float) -> tuple[Sequence[int], Sequence[int]]:
        """See `Queue`."""
        starts: list[int] = []
        free = self._room.free
        open_ = {d: line for d, line in self._lines.items() if line and d <= free}
        while open_:
            devices = min(open_, key=lambda d: open_[d][0])
            line = open_[devices]
            job = line[0][1]
            if not self._room.take(job, devices):
                del open_[devices]
                continue
            heappop(line)
            self.waiting -= 1
            starts.append(job)
            if not line:
                del open_[devices]
        return starts, ()


class Fair:
    """The first job of whoever holds least, of those whose first job fits."""

    def __init__(self, room: Room, devices: Sequence[int], tenant: Sequence[int]) -> None:
        self._room = room
        self._devices = devices
        self._tenant = tenant
        self._lines: dict[int, deque[int]] = {}
        self._holds: dict[int, int] = {}
        self.waiting = 0
        """See `Queue`."""

    def arrive(self, job: int) -> None:
        """See `Queue`."""
        self._lines.setdefault(self._tenant[job], deque()).append(job)
        self.waiting += 1

    def end(self, job: int, now_s: float) -> None:
        """See `Queue`."""
        self._room.give(job)
        self._holds[self._tenant[job]] -= self._devices[job]

    def decide(self, now_s: float) -> tuple[Sequence[int], Sequence[int]]:
        """See `Queue`."""
        if not self.waiting or not self._room.free:
            return (), ()
        starts: list[int] = []
        holds = self._holds
        # One entry for each tenant with waiting jobs: it is put back as its share grows.
        order = [(holds.get(tenant, 0), tenant) for tenant, line in self._lines.items() if line]
        heapify(order)
        while order:
            held, tenant = heappop(order)
            line = self._lines[tenant]
            devices = self._devices[line[0]]
            if not self._room.take(line[0], devices):
                continue
            starts.append(line.popleft())
            self.waiting -= 1
            holds[tenant] = held + devices
            if line:
                heappush(order, (held + devices, tenant))
            else:
                del self._lines[tenant]
        return starts, ()
