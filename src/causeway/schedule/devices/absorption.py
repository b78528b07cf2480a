"""Ours: keep what the coming tasks can still fill, and as many whole sets as will be asked for.

FGD asks what part of a node's idle devices each usual task could touch. Three things make that too
hopeful or too gloomy, and the worth of a node here mends them. With m over the usual tasks of at
most one device, p_m how often m comes, s_m its device-milli and c_m its CPU, a node is worth

    sum over m of  p_m * min( sum over devices g of  [s_m <= free_g] * fill(free_g) / P(free_g),
                              cpu / c_m * s_m,  memory / r_m * s_m )

where fill(f) is the most that tasks of one size can fill of a gap of f milli, and P(f) is how
often a task comes that fits it. A task goes where the fleet's worth falls least.

- *What stays over*: a gap of 530 is worth 470 if tasks of 470 are what fills it best, not 530.
- *Who comes to a gap*: a gap of 190 suits few tasks, yet when the fleet is full these few will
  come to it. So a gap is worth its filling to those that fit, and not less because they are rare.
- *CPU and memory for all of it*: eight idle devices beside the CPU of one task are worth one task.
  The bounds are not rounded down, so that CPU is spent where there is most beyond what the
  devices need.

This spreads tasks over nodes, for then there is most to choose from, and soon no node is left with
all its devices free. So a set of d > 1 whole devices has a worth of its own, d * 1000 times the
chance that it will be needed: that at least as many tasks of d devices come as the fleet has such
sets, when their number is Poisson with the mean that is to be expected until the fleet is full.
While there are many sets that chance is nothing; it rises to 1 when they become as few as are
still to come. A set counts for a shape if there is the CPU for that shape too, and has the mean
worth over the shapes with d devices.

Nothing in it is fitted; the one number below is how stale a chance may be. It knows what FGD
knows, how often each shape comes (all of them, not the commonest 95%: tasks of eight devices are
rare), and can learn it from the tasks that have come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from causeway.schedule.devices.demand import Demand
from causeway.schedule.devices.fragmentation import State
from causeway.schedule.devices.nodes import DEVICE_MILLI, Floats, Ints, Nodes

NOTICED = 0.15
"""How much the chance that a set is needed may change before it is acted upon: acting on it makes
every remembered score void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sets:
    """Tasks of several devices, a column for each shape. Shapes with as many devices compete for
    the same sets where a model will do for both, however much CPU each needs."""

    devices: Ints
    allowed: Floats
    """1 or 0, by (model, column)."""
    cpu_milli: Floats
    often: Floats
    """How often tasks come that compete for these sets, as a part of all tasks."""
    part: Floats
    """Of the tasks with as many devices, that are of this shape."""

    def count(self, state: State) -> Floats:
        """Return how many such sets each row has devices and CPU for: (rows, columns)."""
        whole = (state.free_milli == DEVICE_MILLI).sum(axis=1)[:, None] // self.devices
        by_cpu = np.floor(state.cpu_milli[:, None] / self.cpu_milli)
        count: Floats = np.minimum(whole, by_cpu) * self.allowed[state.model]
        return count


class Absorption:
    """The worth of nodes for one demand. `look` takes the state of the fleet into account."""

    __slots__ = (
        "_gap_worth",
        "_milli_per_cpu",
        "_milli_per_mib",
        "_milli_per_task",
        "_needed",
        "_sets",
        "_size",
        "_weights",
    )

    def __init__(self, demand: Demand, nodes: Nodes) -> None:
        pairs = list(zip(demand.shapes, demand.counts, strict=True))
        one = [
            (shape, count, memory_mib)
            for (shape, count), memory_mib in zip(pairs, demand.memory_mib, strict=True)
            if shape.devices == 1
        ]
        total_of_one = max(1, sum(count for _, count, _ in one))
        columns = sorted({(shape.device_milli, shape.cpu_milli) for shape, _, _ in one})
        place = {column: index for index, column in enumerate(columns)}
        often, memory = np.zeros(len(columns)), np.zeros(len(columns))
        self._weights: Floats = np.zeros((len(nodes.models), len(columns)))
        for shape, count, memory_mib in one:
            column = place[shape.device_milli, shape.cpu_milli]
            often[column] += count / total_of_one
            memory[column] += count / total_of_one * memory_mib
            self._weights[nodes.allows(shape.models), column] += count / total_of_one
        milli = np.array([milli for milli, _ in columns], dtype=np.int64)
        sizes, self._size = np.unique(milli, return_inverse=True)
        self._milli_per_cpu: Floats = milli / np.array([max(1.0, cpu) for _, cpu in columns])
        self._milli_per_mib: Floats = milli / np.maximum(1.0, memory / often)
        self._gap_worth = _gap_worth(sizes, milli, often)
        total_milli = sum(shape.devices * shape.device_milli * count for shape, count in pairs)
        self._milli_per_task = total_milli / max(1, demand.total)
        self._sets = _sets(demand, nodes)
        self._needed: Floats = np.zeros(len(self._sets.devices))

    def look(self, nodes: Nodes) -> bool:
        """See how scarce whole sets have become; return whether worths are other than before."""
        state = State.of(nodes, np.arange(len(nodes), dtype=np.int64))
        to_come = float(state.free_milli.sum()) / max(1.0, self._milli_per_task)
        there = self._sets.count(state).sum(axis=0).tolist()
        needed = np.array(
            [
                poisson_at_least(math.floor(count), mean=to_come * often)
                for count, often in zip(there, self._sets.often.tolist(), strict=True)
            ]
        )
        if bool((abs(needed - self._needed) <= NOTICED).all()):
            return False
        self._needed = needed
        return True

    def of(self, state: State) -> Floats:
        """Return the worth of each row in milli: (rows,)."""
        gaps = np.take(self._gap_worth[state.free_milli].sum(axis=1), self._size, axis=1)
        filled = state.cpu_milli[:, None] * self._milli_per_cpu
        np.minimum(gaps, filled, out=filled)
        np.minimum(state.memory_mib[:, None] * self._milli_per_mib, filled, out=filled)
        filled *= self._weights[state.model]
        # Not a matrix product: the sum of a row must not depend on the rows beside it.
        worth: Floats = filled.sum(axis=1)
        if self._needed.any():
            kept = self._needed * self._sets.part * self._sets.devices * DEVICE_MILLI
            worth = worth + (self._sets.count(state) * kept).sum(axis=1)
        return worth


def poisson_at_least(count: int, *, mean: float) -> float:
    """Return the chance that a Poisson number is at least that; by the normal curve above 200.

    >>> round(poisson_at_least(1, mean=1.0), 4), poisson_at_least(0, mean=0.0)
    (0.6321, 1.0)
    """
    if count <= 0:
        return 1.0
    if mean > 200:
        return 0.5 * math.erfc((count - 0.5 - mean) / math.sqrt(2 * mean))
    term = below = math.exp(-mean)
    for number in range(1, count):
        term *= mean / number
        below += term
        if number > mean and term < 1e-16:
            break
    return max(0.0, 1.0 - below)


def _gap_worth(sizes: Ints, milli: Ints, share: Floats) -> Floats:
    """Return fill(f) / P(f) where the size fits and 0 where not: (1001, sizes)."""
    gap = np.arange(DEVICE_MILLI + 1)[:, None]
    if not len(sizes):
        return np.zeros((len(gap), 0))
    fill = (gap // sizes * sizes).max(axis=1)
    fits = ((gap >= milli) * share).sum(axis=1)
    each = np.divide(fill, fits, out=np.zeros(len(gap)), where=fits > 0)
    worth: Floats = each[:, None] * (gap >= sizes)
    return worth


def _sets(demand: Demand, nodes: Nodes) -> _Sets:
    """Return the shapes with several devices."""
    shapes = [
        (shape, count)
        for shape, count in zip(demand.shapes, demand.counts, strict=True)
        if shape.devices > 1
    ]
    devices = np.array([shape.devices for shape, _ in shapes], dtype=np.int64)
    counts = np.array([count for _, count in shapes], dtype=float)
    allowed = np.array([nodes.allows(shape.models) for shape, _ in shapes], dtype=float)
    allowed = allowed.reshape(len(shapes), len(nodes.models))
    alike = devices[:, None] == devices
    competing = alike & (allowed @ allowed.T > 0)
    return _Sets(
        devices=devices,
        allowed=allowed.T,
        cpu_milli=np.array([max(1.0, shape.cpu_milli) for shape, _ in shapes], dtype=float),
        often=(competing * counts).sum(axis=1) / max(1, demand.total),
        part=counts / (alike * counts).sum(axis=1),
    )
