"""The clock of a run: steps of a minute, in which serving and training hold devices.

Devices are counted, not placed. In a step, in this order: jobs end, replicas get ready or have
drained, jobs arrive, the policy says what serving gets, victims go, the queue fills what is free.
A job that ended within a step gives its devices back at that instant; they are used from the next
step on. Serving's class in a step is that of `queueing`: as many replicas ready as the closed form
needs for the arrivals of that step, and no queue left from steps in which there were too few.

All policies share everything but two choices: what serving gets, and who gives way to it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from causeway.model.errors import IllegalMove
from causeway.schedule.tidal.division import (
    Division,
    Leave,
    Serving,
    Stop,
    Training,
    Waiting,
    who_grows,
    who_starts,
)
from causeway.twin.kinds import Progress
from causeway.twin.kinds.tidal.load import Load
from causeway.twin.kinds.tidal.options import Options
from causeway.twin.kinds.tidal.work import Work

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The two choices that policies differ in."""

    divide: Callable[[int, Serving], Division]
    """Step, serving -> what it gets. May look at steps before this one only."""
    gives_way: Callable[[Training, Floats, int, bool], list[Stop]]
    """Running jobs, when they started, devices to free, urgent -> who goes."""


@dataclass(slots=True)
class Tally:
    """Device-seconds by what they were, and what happened how often."""

    training_held_s: float = 0.0
    useful_s: float = 0.0
    lost_s: float = 0.0
    """Computed, and to be computed again."""
    still_s: float = 0.0
    """Starting again, or writing a checkpoint to give way."""
    serving_held_s: float = 0.0
    serving_busy_s: float = 0.0
    needed_s: float = 0.0
    """Of what serving held, what its class needed."""
    switched: int = 0
    """Replicas that were brought up."""
    stops: int = 0
    guarded: int = 0
    """Steps in which the class was at stake."""


@dataclass(slots=True)
class _Run:
    """A job that has devices."""

    job: int
    devices: int
    began_s: float
    since_s: float
    """When it computes: after it has started again."""
    ends_s: float
    saving: bool = False
    """Writing its last checkpoint here: it goes when that is done, and is nobody's victim."""


@dataclass(slots=True)
class Played:
    """What a run came to."""

    tally: Tally
    end_s: Floats
    """When a job ended; infinite where it did not."""
    kept: NDArray[np.bool_]
    """Steps in which the class was kept."""
    series: list[tuple[float, int, int, int, int, int]] = field(default_factory=list)
    """By the step: t_s, need, ready, devices of serving, devices of training, queue."""


class Fleet:
    """The state of a run."""

    def __init__(self, options: Options, load: Load, work: Work, devices: int) -> None:
        self.options, self.load, self.work = options, load, work
        self.free, self.devices = devices, devices
        self.tally = Tally()
        self.left_s = work.run_s.copy()
        self.end_s = np.full(len(work.run_s), np.inf)
        self.again = np.zeros(len(work.run_s), bool)
        self.running: dict[int, _Run] = {}
        self.queue: dict[int, list[Waiting]] = {}
        self.ready = 0
        self.coming: deque[tuple[float, int]] = deque()
        self.leaving: deque[tuple[float, int]] = deque()
        self.promised: list[tuple[float, int]] = []
        """When a job has written its checkpoint, and which."""
        self.owed = 0
        """Replicas that wait for devices of jobs that write a checkpoint."""
        self._ends: list[tuple[float, int]] = []
        self._shrunk: set[int] = set()
        """Jobs that run with fewer devices than they asked for."""

    def advance(self, now_s: float) -> None:
        """Let happen what was due: ends, checkpoints, replicas ready and drained."""
        while self._ends and self._ends[0][0] <= now_s:
            ends_s, job = heapq.heappop(self._ends)
            run = self.running.get(job)
            if run is not None and run.ends_s == ends_s:
                self._leave(run, ends_s, ended=True)
        while self.promised and self.promised[0][0] <= now_s:
            saved_s, job = heapq.heappop(self.promised)
            if job in self.running:
                self._leave(self.running[job], saved_s, keeps_all=True)
        while self.leaving and self.leaving[0][0] <= now_s:
            _, replicas = self.leaving.popleft()
            self.free += replicas * self.options.replica_devices
        self._bring(now_s)
        while self.coming and self.coming[0][0] <= now_s:
            self.ready += self.coming.popleft()[1]

    def arrive(self, job: int) -> None:
        """Put a job into the queue, where its seniority has it."""
        waiting = self._queued(job)
        insort(self.queue.setdefault(waiting.devices, []), waiting, key=_seniority)

    def training(self, now_s: float) -> tuple[Training, Floats]:
        """Return the running jobs that may be stopped, and when they started."""
        runs = [run for run in self.running.values() if not run.saving]
        at = np.array([run.job for run in runs], np.int64)
        return Training(
            job=at,
            devices=np.array([run.devices for run in runs], np.int64),
            least=self.work.least[at],
            unsaved_s=np.array([self._unsaved_s(run, now_s) for run in runs]),
        ), np.array([run.began_s for run in runs])

    def carry_out(self, now_s: float, division: Division, policy: Policy) -> None:
        """Give serving what the division says, taking it from training where it has to be."""
        size = self.options.replica_devices
        have = self.ready + sum(count for _, count in self.coming) + self.owed
        more = division.replicas - have
        if more < 0:
            self._release(now_s, -more)
            return
        # Those who were promised devices later may need them now.
        missing = (more + self.owed) * size - self.free
        if not division.urgent:
            missing -= sum(self.running[job].devices for _, job in self.promised)
        self.owed += more
        if missing > 0:
            training, began_s = self.training(now_s)
            for stop in policy.gives_way(training, began_s, missing, division.urgent):
                self._stop(now_s, stop)
        self._bring(now_s)

    def start(self, now_s: float) -> None:
        """Let the queue fill what is free and not owed to serving."""
        spare = self.free - self.owed * self.options.replica_devices
        if spare <= 0:
            return
        for waiting, devices in who_starts(self.queue, spare):
            self._unqueue(waiting)
            self._start(now_s, waiting.job, devices)
            spare -= devices
        if spare > 0 and self._shrunk:
            training, _ = self.training(now_s)
            asked = self.work.devices[training.job]
            grown = who_grows(training, asked, spare, saved_s=self.options.step_s)
            if grown is not None:
                self._stop(now_s, grown)

    def account(self, step: int) -> None:
        """Add up what serving holds in this step."""
        tally, options, load = self.tally, self.options, self.load
        held = self.serving_devices * options.step_s
        needed = int(load.need[step]) * options.replica_devices * options.step_s
        work = float(load.rate_per_s[step]) / load.saturated_per_s
        ready = self.ready * options.replica_devices * options.step_s
        tally.serving_held_s += held
        tally.needed_s += min(needed, held)
        tally.serving_busy_s += min(work * options.replica_devices * options.step_s, ready)

    @property
    def serving_devices(self) -> int:
        """Ready, loading and draining."""
        replicas = self.ready + sum(count for _, count in self.coming)
        return (replicas + sum(count for _, count in self.leaving)) * self.options.replica_devices

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return sum(len(line) for line in self.queue.values())

    def close(self, end_s: float) -> None:
        """Account for those who run when the clock stops; what they did counts."""
        for run in list(self.running.values()):
            self._leave(run, end_s, keeps_all=True)

    def _bring(self, now_s: float) -> None:
        """Load replicas that were owed devices, as far as there are some."""
        count = min(self.owed, self.free // self.options.replica_devices)
        if count > 0:
            self.owed -= count
            self.free -= count * self.options.replica_devices
            self.coming.append((now_s + self.options.load_s, count))
            self.tally.switched += count

    def _release(self, now_s: float, replicas: int) -> None:
        """Take back what is only owed, then drain what is ready; what loads goes on loading."""
        owed = min(self.owed, replicas)
        self.owed -= owed
        drained = min(self.ready, replicas - owed)
        if drained:
            self.ready -= drained
            self.leaving.append((now_s + self.options.drain_s, drained))

    def _start(self, now_s: float, job: int, devices: int) -> None:
        size = int(self.work.devices[job])
        since_s = now_s + (self.options.restart_s if self.again[job] else 0.0)
        ends_s = since_s + float(self.left_s[job]) * size / devices
        self.free -= devices
        if self.free < 0:
            raise IllegalMove(f"job {job} was given {devices} devices that are not there")
        self.running[job] = _Run(
            job=job, devices=devices, began_s=now_s, since_s=since_s, ends_s=ends_s
        )
        heapq.heappush(self._ends, (ends_s, job))
        if devices < size:
            self._shrunk.add(job)

    def _stop(self, now_s: float, stop: Stop) -> None:
        self.tally.stops += 1
        run = self.running[stop.job]
        if stop.leave is Leave.CHECKPOINTED:
            run.saving = True
            saved_s = now_s + self.options.checkpoint_s
            if run.ends_s > saved_s:
                run.ends_s = np.inf
                self._halt(run, now_s)
                heapq.heappush(self.promised, (saved_s, stop.job))
            return
        self._leave(run, now_s)
        if stop.keeps:
            self._unqueue(self._queued(stop.job))
            self._start(now_s, stop.job, stop.keeps)

    def _halt(self, run: _Run, now_s: float) -> None:
        """Credit what a job did before it began to write its last checkpoint."""
        did_s = max(0.0, now_s - run.since_s)
        self.left_s[run.job] -= did_s * run.devices / self.work.devices[run.job]
        self.tally.useful_s += did_s * run.devices
        self.tally.training_held_s += (now_s - run.began_s) * run.devices
        self.tally.still_s += (now_s - run.began_s - did_s) * run.devices
        run.began_s = now_s
        run.since_s = np.inf

    def _unqueue(self, waiting: Waiting) -> None:
        line = self.queue[waiting.devices]
        del line[bisect_left(line, waiting.job, key=_seniority)]
        if not line:
            del self.queue[waiting.devices]

    def _queued(self, job: int) -> Waiting:
        size = int(self.work.devices[job])
        return Waiting(job=job, devices=size, least=int(self.work.least[job]))

    def _unsaved_s(self, run: _Run, now_s: float) -> float:
        return max(0.0, now_s - run.since_s) % self.options.checkpoint_every_s

    def _leave(
        self, run: _Run, now_s: float, *, ended: bool = False, keeps_all: bool = False
    ) -> None:
        """Take a job's devices back, and credit it with what is not lost."""
        did_s = max(0.0, now_s - run.since_s)
        lost_s = 0.0 if ended or keeps_all else self._unsaved_s(run, now_s)
        tally, held_s = self.tally, (now_s - run.began_s) * run.devices
        tally.training_held_s += held_s
        tally.useful_s += (did_s - lost_s) * run.devices
        tally.lost_s += lost_s * run.devices
        tally.still_s += held_s - did_s * run.devices
        job = run.job
        del self.running[job]
        self._shrunk.discard(job)
        self.free += run.devices
        if ended:
            self.left_s[job], self.end_s[job] = 0.0, now_s
            return
        self.left_s[job] -= (did_s - lost_s) * run.devices / self.work.devices[job]
        self.again[job] = True
        self.arrive(job)


def _seniority(waiting: Waiting) -> int:
    return waiting.job


def play(fleet: Fleet, policy: Policy, progress: Progress) -> Played:
    """Run the clock to the end of the load."""
    options, load, work = fleet.options, fleet.load, fleet.work
    steps, arrivals = len(load.need), work.arrival_s.tolist()
    arrived, backlog = 0, 0.0
    kept = np.zeros(steps, bool)
    played = Played(tally=fleet.tally, end_s=fleet.end_s, kept=kept)
    fleet.ready = int(load.need[0])
    fleet.free -= fleet.ready * options.replica_devices
    for step in range(steps):
        now_s = step * options.step_s
        fleet.advance(now_s)
        while arrived < len(arrivals) and arrivals[arrived] <= now_s:
            fleet.arrive(arrived)
            arrived += 1
        division = policy.divide(
            step, _serving(fleet, step, backlog=backlog, was_kept=bool(step == 0 or kept[step - 1]))
        )
        fleet.tally.guarded += division.urgent
        fleet.carry_out(now_s, division, policy)
        fleet.start(now_s)
        fleet.account(step)
        need = int(load.need[step])
        limit = fleet.ready * load.saturated_per_s
        backlog = max(0.0, backlog + (float(load.rate_per_s[step]) - limit) * options.step_s)
        kept[step] = fleet.ready >= need and backlog <= limit * options.backlog_s
        played.series.append(
            (
                now_s,
                need,
                fleet.ready,
                fleet.serving_devices,
                fleet.devices - fleet.free - fleet.serving_devices,
                fleet.waiting,
            )
        )
        if step % 1440 == 0:
            progress(step / steps)
    fleet.advance(steps * options.step_s)
    fleet.close(steps * options.step_s)
    return played


def _serving(fleet: Fleet, step: int, *, backlog: float, was_kept: bool) -> Serving:
    coming = sum(count for _, count in fleet.coming) + fleet.owed
    return Serving(
        bounds=(),
        need=float(fleet.load.need[step - 1]) if step else float(fleet.load.need[0]),
        queue=backlog / (fleet.load.saturated_per_s * fleet.options.step_s),
        kept=was_kept,
        ready=fleet.ready,
        coming=coming,
        most=fleet.load.most,
    )
