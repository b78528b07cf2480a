"""Queues that may stop a running job for a waiting one of better rank.

What is decided is what filling the pool anew would give: all jobs, running or waiting, in the order
of rank and then of arrival, each taking its devices if they are still there. It is found without
filling anew: the best waiting job is compared with the running jobs of worst rank alone, and a job
of which a like one (as many devices, better rank) found no room is not tried.

A job that is stopped and has its very devices again in the same round was never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from causeway.schedule.queueing.levels import Ranks
from causeway.schedule.queueing.room import Held, Room

Key = tuple[float, int]
"""Rank and row; the lower goes first, and rows are in the order of arrival."""

STALE_MOST = 8
"""So many times as many entries as running jobs may be out of date before they are swept out."""


class Ranked:
    """By ranks that change with a job's age. See `lines.Queue` for what it answers."""

    def __init__(
        self,
        room: Room,
        devices: Sequence[int],
        ranks: Ranks,
        *,
        length_s: Sequence[float] | None = None,
        stop_cost_s: float = 0.0,
    ) -> None:
        """With `length_s` it is an oracle: what is left of a job is its rank, and `ranks` is moot.

        What is left is taken without what stopping costs. With `stop_cost_s` a running job gives
        way only to one whose rank is better by the device-seconds that stopping it wastes; that
        has a meaning where ranks are device-seconds.
        """
        self._room = room
        self._devices = devices
        self._ranks = ranks
        self._length_s = length_s
        self._stop_cost_s = stop_cost_s
        count = len(devices)
        self._age_s = [0.0] * count
        """How long a job had run when it last stood still."""
        self._since_s = [0.0] * count
        """When a running job began to run."""
        self._level = [0] * count
        self._rank = [0.0] * count
        """Of an oracle's running job: the instant of its end, which is what is left plus now."""
        self._runs: set[int] = set()
        self._worst: list[Key] = []
        """Running jobs, worst first, as (-hold, -row); entries that are out of date are skipped."""
        self._lines: dict[int, list[Key]] = {}
        """Waiting jobs by devices, best first."""
        self.waiting = 0
        """How many jobs wait."""

    def arrive(self, job: int) -> None:
        """A job came."""
        self._wait(job, 0.0)

    def end(self, job: int, now_s: float) -> None:
        """A running job came to its end."""
        self._room.give(job)
        self._runs.discard(job)
        age_s = self._age_s[job] + now_s - self._since_s[job]
        if self._length_s is None and self._ranks.ended(self._devices[job], age_s):
            self._rank_anew()

    def turn_s(self, job: int, now_s: float) -> float:
        """Return when the rank of a running job changes; infinity: never."""
        if self._length_s is not None:
            return float("inf")
        end_s = self._ranks.end_s(self._devices[job], self._level[job])
        return self._since_s[job] + max(0.0, end_s - self._age_s[job])

    def turn(self, job: int, now_s: float) -> None:
        """A running job has come to the end of its level."""
        self._level[job] += 1
        self._rank[job] = self._ranks.rank(self._devices[job], self._level[job])
        self._enter(job)

    def decide(self, now_s: float) -> tuple[Sequence[int], Sequence[int]]:
        """Return the jobs to start and the running jobs to stop now; a job may be in both."""
        if not self.waiting:
            return [], []
        open_ = self._open(now_s)
        if not open_:
            return [], []
        starts: list[int] = []
        stopped: dict[int, Held] = {}
        full: set[int] = set()
        while open_:
            devices = min(open_, key=lambda d: open_[d][0])
            line = open_[devices]
            if self._placed(line[0][1], now_s, starts, stopped):
                heappop(line)
                self.waiting -= 1
                if not line:
                    del open_[devices]
                continue
            victims = self._victims(line[0], now_s)
            if not victims:
                full.add(devices)
                del open_[devices]
                continue
            for victim in victims:
                stopped[victim] = self._stop(victim, now_s)
                full.discard(self._devices[victim])
            # What gave way may leave more than was needed, to any line that is not known as full.
            open_ = {d: line for d, line in self._lines.items() if line and d not in full}
        self._restore(stopped)
        for job in stopped:
            if job not in self._runs:
                self._age_s[job] += now_s - self._since_s[job]
        return starts, list(stopped)

    def _open(self, now_s: float) -> dict[int, list[Key]]:
        """Return the lines whose first job may start: it fits by count, or betters a running one.

        This is most of the speed: after most events there is none.
        """
        free = self._room.free
        bar = self._worst_now()
        if bar is not None and self._length_s is not None:
            bar = (bar[0] - now_s, bar[1])
        return {
            devices: line
            for devices, line in self._lines.items()
            if line and (devices <= free or (bar is not None and line[0] < bar))
        }

    def _worst_now(self) -> Key | None:
        """Return the running job that another has the least to better, or None."""
        while self._worst:
            hold, job = -self._worst[0][0], -self._worst[0][1]
            if job in self._runs and hold == self._hold(job):
                return hold, job
            heappop(self._worst)
        return None

    def _placed(self, job: int, now_s: float, starts: list[int], stopped: dict[int, Held]) -> bool:
        """Give a waiting job its devices, if they are there."""
        held = stopped.get(job)
        if held is not None and self._room.take_again(job, held):
            del stopped[job]
            self._run(job, self._since_s[job])
            return True
        if not self._room.take(job, self._devices[job]):
            return False
        if held is not None:
            # It goes on elsewhere: a stop and a start.
            self._age_s[job] += now_s - self._since_s[job]
        self._run(job, now_s)
        starts.append(job)
        return True

    def _restore(self, stopped: dict[int, Held]) -> None:
        """Let go on what gave way to a job that then did not fit after all."""
        back = [job for job in stopped if job not in self._runs]
        for job in sorted(back, key=lambda j: (self._rank[j], j)):
            if self._room.take_again(job, stopped[job]):
                line = self._lines[self._devices[job]]
                line.remove((self._rank[job], job))
                heapify(line)
                self.waiting -= 1
                del stopped[job]
                self._run(job, self._since_s[job])

    def _victims(self, key: Key, now_s: float) -> list[int]:
        """Return running jobs of worse rank, worst first, that hold enough; none: they do not."""
        rank, job = key
        best = (rank if self._length_s is None else rank + now_s, job)
        left = self._devices[job] - self._room.free
        found: list[Key] = []
        while self._worst:
            worst = (-self._worst[0][0], -self._worst[0][1])
            stale = worst[1] not in self._runs or worst[0] != self._hold(worst[1])
            # One that stopped and runs again by the same rank has two entries, side by side.
            if stale or (found and found[-1] == self._worst[0]):
                heappop(self._worst)
                continue
            # Where counting says yes and the nodes no, one more has to go.
            if worst <= best or (found and left <= 0):
                break
            found.append(heappop(self._worst))
            left -= self._devices[worst[1]]
        if left > 0:
            for entry in found:
                heappush(self._worst, entry)
            return []
        return [-row for _, row in found]

    def _hold(self, job: int) -> float:
        """Return the rank that another has to better to make a running job stop."""
        return self._rank[job] - self._devices[job] * self._stop_cost_s

    def _stop(self, job: int, now_s: float) -> Held:
        self._runs.discard(job)
        self._wait(job, self._age_s[job] + now_s - self._since_s[job])
        return self._room.give(job)

    def _wait(self, job: int, age_s: float) -> None:
        if self._length_s is None:
            self._rank[job] = self._ranks.rank(self._devices[job], self._level[job])
        else:
            self._rank[job] = self._length_s[job] - age_s
        heappush(self._lines.setdefault(self._devices[job], []), (self._rank[job], job))
        self.waiting += 1

    def _run(self, job: int, since_s: float) -> None:
        self._since_s[job] = since_s
        self._runs.add(job)
        if self._length_s is not None:
            self._rank[job] = since_s + self._length_s[job] - self._age_s[job]
        self._enter(job)

    def _enter(self, job: int) -> None:
        """Put a running job among those that may have to stop, by its present rank."""
        heappush(self._worst, (-self._hold(job), -job))
        if len(self._worst) > STALE_MOST * len(self._runs) + STALE_MOST:
            self._enter_all()

    def _enter_all(self) -> None:
        self._worst = [(-self._hold(job), -job) for job in self._runs]
        heapify(self._worst)

    def _rank_anew(self) -> None:
        """Rank every job again, because what is known of their lengths has changed."""
        for devices, line in self._lines.items():
            for _, job in line:
                self._rank[job] = self._ranks.rank(devices, self._level[job])
            line[:] = [(self._rank[job], job) for _, job in line]
            heapify(line)
        for job in self._runs:
            self._rank[job] = self._ranks.rank(self._devices[job], self._level[job])
        self._enter_all()
