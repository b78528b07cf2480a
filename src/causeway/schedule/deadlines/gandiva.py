"""Gandiva as ElasticFlow's simulator has it: sets of nodes by job size, and turns within a set.

Xiao et al. (OSDI 2018) share a cluster by time-slicing. The simulator keeps, for every job size,
some sets of whole nodes; a set runs as many jobs at a time as it has room for and the rest wait for
a turn. When a job comes, the GPUs are dealt to the sizes by demand: a size that holds more than its
part gives sets back, all but one at most; one that holds less takes what is free. Two things of it
make its figures as low as they are published, and are kept here for that reason: a size that fits
its demand into partly used nodes counts as holding too much and is squeezed onto fewer, and nothing
is dealt anew when a job ends, only when one comes. Packing and migration are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from causeway.schedule.deadlines.decision import Decision, Fleet
from causeway.schedule.deadlines.training import Training

TURN_S = 60
IDLE_S = 86_400.0
"""After so long without an arrival the jobs that still wait are dealt anew."""


@dataclass(slots=True)
class NodeSet:
    """Some whole nodes for jobs of one size."""

    nodes: int
    room: int
    jobs: list[int] = field(default_factory=list)


class Gandiva:
    """One run's state: which jobs are in which set."""

    def __init__(self) -> None:
        self.sets: dict[int, list[NodeSet]] = {}
        self.waiting: list[int] = []
        self.seen = -1
        self.free = -1
        self.last_s = -math.inf

    def __call__(self, now_s: float, jobs: Sequence[Training], fleet: Fleet) -> Decision:
        """Return the jobs whose turn it is; sets change when a job came."""
        if self.free < 0:
            self.free = fleet.gpus // fleet.node_gpus
        here = {job.key: job for job in jobs}
        fresh = sorted(key for key in here if key > self.seen)
        if fresh or now_s - self.last_s >= IDLE_S:
            self.last_s = now_s
            self._deal(here, fleet, now_s)
            for key in [*fresh, *self.waiting]:
                self._enter(key, here[key].asked, fleet)
            self.seen = max([self.seen, *fresh])
        gpus = {
            key: size
            for size, sets in self.sets.items()
            for one in sets
            for key in one.jobs[: one.room]
            if key in here
        }
        idle = len(gpus) < len(jobs)
        return Decision(gpus=gpus, wake_s=self.last_s + IDLE_S if idle else math.inf)

    def _deal(self, here: dict[int, Training], fleet: Fleet, now_s: float) -> None:
        """Deal the GPUs to the sizes by demand, drop who ended, let the next have a turn."""
        demand = {
            size: size * sum(len(one.jobs) for one in sets) for size, sets in self.sets.items()
        }
        total = sum(demand.values())
        for size in sorted(self.sets):
            if demand[size]:
                part = min(fleet.gpus * demand[size] // total, demand[size])
                held = sum(one.nodes for one in self.sets[size]) * fleet.node_gpus
                if part > held:
                    self._grow(size, math.ceil((part - held) / size), fleet)
                elif part < held:
                    self._shrink(size, math.ceil((held - part) / size))
        for sets in self.sets.values():
            for one in sets:
                one.jobs = [key for key in one.jobs if key in here]
                if now_s % TURN_S == 0 and len(one.jobs) > one.room:
                    one.jobs = one.jobs[one.room :] + one.jobs[: one.room]
                if not one.jobs:
                    self.free += one.nodes
            sets[:] = [one for one in sets if one.jobs]
        self.waiting = [key for key in self.waiting if key in here]

    def _grow(self, size: int, wanted: int, fleet: Fleet) -> None:
        sets = self.sets[size]
        for _ in range(wanted):
            if not self._open(size, fleet):
                break
        jobs = [key for one in sets for key in one.jobs]
        for one in sets:
            one.jobs = []
        _spread(sets, jobs)

    def _shrink(self, size: int, wanted: int) -> None:
        sets = sorted(self.sets[size], key=lambda one: len(one.jobs))
        gone = sets[: min(wanted, len(sets) - 1)]
        kept = sets[len(gone) :]
        self.sets[size] = kept
        self.free += sum(one.nodes for one in gone)
        _spread(kept, [key for one in gone for key in one.jobs])

    def _open(self, size: int, fleet: Fleet) -> NodeSet | None:
        nodes = math.ceil(size / fleet.node_gpus)
        if nodes > self.free:
            return None
        self.free -= nodes
        opened = NodeSet(nodes, nodes * fleet.node_gpus // size)
        self.sets.setdefault(size, []).append(opened)
        return opened

    def _enter(self, key: int, size: int, fleet: Fleet) -> None:
        """Put a job into the emptiest set that stays below its room, a new set, or a queue."""
        if key in self.waiting:
            self.waiting.remove(key)
        sets = self.sets.get(size, [])
        emptiest = min(sets, key=lambda one: len(one.jobs), default=None)
        if emptiest is not None and len(emptiest.jobs) + 1 < emptiest.room:
            emptiest.jobs.append(key)
            return
        opened = self._open(size, fleet)
        if opened is not None:
            opened.jobs.append(key)
        elif emptiest is not None:
            emptiest.jobs.append(key)
        else:
            self.waiting.append(key)


def _spread(sets: Sequence[NodeSet], jobs: Sequence[int]) -> None:
    for key in jobs:
        min(sets, key=lambda one: len(one.jobs)).jobs.append(key)
