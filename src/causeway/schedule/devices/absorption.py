"""Ours: keep what the coming tasks can still fill, and as many whole sets as will be asked for.

FGD asks what part of a node's idle devices each usual task could touch. Three things make that too
hopeful or too gloomy, and the worth of a node here mends them. With m over the usual tasks of at
most one device, p_m how often m comes, s_m its device-milli and c_m its CPU, a node is worth

    sum over m of  p_m * min( sum over devices g of  [s_m <= free_g] * fill(free_g) / P(free_g),
                              cpu / c_m * s_m )

where fill(f) is the most that tasks of one size can fill of a gap of f milli, and P(f) is how
often a task comes that fits it. A task goes where the fleet's worth falls least.

- *What stays over*: a gap of 530 is worth 470 if tasks of 470 are what fills it best, not 530.
- *Who comes to a gap*: a gap of 190 suits few tasks, yet when the fleet is full these few will
  come to it. So a gap is worth its filling to those that fit, and not less because they are rare.
- *CPU for all of it*: eight idle devices beside the CPU of one task are worth one task. The bound
  is not rounded down, so that CPU is spent where there is most beyond what the devices need.

This spreads tasks over nodes, for then there is most to choose from, and soon no node is left with
all its devices free. So a set of d > 1 whole devices has a worth of its own, d * 1000 times the
chance that it will be needed: that at least as many tasks of d devices come as the fleet has such
sets, when their number is Poisson with the mean that is to be expected until the fleet is full.
While there are many sets that chance is nothing; it rises to 1 when they become as few as are
still to come.

There is nothing to set. It knows what FGD knows, how often each shape comes (all of them, not the
commonest 95%: tasks of eight devices are rare), and can learn it from the tasks that have come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from causeway.schedule.devices.demand import Demand, Shape
from causeway.schedule.devices.fragmentation import State
from causeway.schedule.devices.nodes import DEVICE_MILLI, Bools, Floats, Ints, Nodes

NOTICED = 0.15
"""How much the chance that a set is needed may change before it is acted upon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """Tasks of several devices, alike in number and models."""

    devices: int
    allowed: Bools
    """By model."""
    often: float
    """Part of all tasks."""
    cpu_milli: float
    """Mean."""


class Absorption:
    """The worth of nodes for one demand. `look` takes the state of the fleet into account."""

    __slots__ = (
        "_by_size",
        "_gap_worth",
        "_milli_per_cpu",
        "_milli_per_task",
        "_needed",
        "_sets",
        "_weights",
    )

    def __init__(self, demand: Demand, nodes: Nodes) -> None:
        pairs = list(zip(demand.shapes, demand.counts, strict=True))
        total = max(1, demand.total)
        one = [(shape, count) for shape, count in pairs if shape.devices == 1]
        milli = np.array([shape.device_milli for shape, _ in one], dtype=np.int64)
        cpu = np.array([shape.cpu_milli for shape, _ in one], dtype=np.float64)
        share = np.array([count for _, count in one], dtype=np.float64)
        allowed = np.array([nodes.allows(shape.models) for shape, _ in one], dtype=np.bool_)
        sizes, self._by_size = np.unique(milli, return_inverse=True)
        often: Floats = share / max(1.0, float(share.sum()))
        self._milli_per_cpu: Floats = milli / np.maximum(1.0, cpu)
        self._weights: Floats = allowed.reshape(len(one), len(nodes.models)).T * often
        self._gap_worth = _gap_worth(sizes, milli, often)
        self._milli_per_task = sum(s.devices * s.device_milli * n for s, n in pairs) / total
        self._sets = _sets(pairs, total, nodes)
        self._needed = [0.0] * len(self._sets)

    def look(self, nodes: Nodes) -> bool:
        """See how scarce whole sets have become; return whether worths are other than before."""
        state = State.of(nodes, np.arange(len(nodes), dtype=np.int64))
        to_come = float(state.free_milli.sum()) / max(1.0, self._milli_per_task)
        needed = [
            poisson_at_least(math.floor(_count(one, state).sum()), mean=to_come * one.often)
            for one in self._sets
        ]
        if all(abs(a - b) <= NOTICED for a, b in zip(needed, self._needed, strict=True)):
            return False
        self._needed = needed
        return True

    def of(self, state: State) -> Floats:
        """Return the worth of each row in milli: (rows,)."""
        gaps = np.take(self._gap_worth[state.free_milli].sum(axis=1), self._by_size, axis=1)
        filled = state.cpu_milli[:, None] * self._milli_per_cpu
        np.minimum(gaps, filled, out=filled)
        filled *= self._weights[state.model]
        # Not a matrix product: the sum of a row must not depend on the rows beside it.
        worth: Floats = filled.sum(axis=1)
        for one, needed in zip(self._sets, self._needed, strict=True):
            if needed:
                worth = worth + needed * one.devices * DEVICE_MILLI * _count(one, state)
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


def _sets(pairs: list[tuple[Shape, int]], total: int, nodes: Nodes) -> list[_Set]:
    """Return the usual tasks of several devices, by number and models."""
    kinds: dict[tuple[int, tuple[str, ...]], list[tuple[Shape, int]]] = {}
    for shape, count in pairs:
        if shape.devices > 1:
            kinds.setdefault((shape.devices, tuple(sorted(shape.models))), []).append(
                (shape, count)
            )
    found = []
    for (devices, models), alike in sorted(kinds.items()):
        tasks = sum(count for _, count in alike)
        found.append(
            _Set(
                devices=devices,
                allowed=nodes.allows(frozenset(models)),
                often=tasks / total,
                cpu_milli=max(1.0, sum(s.cpu_milli * n for s, n in alike) / tasks),
            )
        )
    return found


def _count(one: _Set, state: State) -> Floats:
    """Return how many such sets each row has devices and CPU for."""
    whole = (state.free_milli == DEVICE_MILLI).sum(axis=1) // one.devices
    by_cpu = np.floor(state.cpu_milli / one.cpu_milli)
    count: Floats = np.minimum(whole, by_cpu) * one.allowed[state.model]
    return count
