"""Ours: keep what the coming tasks can still fill.

FGD asks how much of a node's idle device-milli each usual task could touch. Three things make
that too hopeful or too gloomy, and this measure mends them. What a node can absorb of task m is

    A(n, m) = min( sum over devices g of floor(free_g / s_m) * s_m * w(free_g),  cpu_n / c_m * s_m )

with s_m the device-milli that m takes of each device, c_m its CPU, and w(f) = P(1000) / P(f),
where P(f) is the part of the usual tasks with devices that a gap of f milli holds. A task with d
> 1 devices counts floor(whole devices / d) * d * 1000 instead of the sum. The node's worth is the
mean of A(n, m) over the usual tasks; a task goes where the fleet's worth falls least.

- *What is left over after filling*: a gap of 530 is worth 470 to tasks of 470, not 530.
- *CPU for all of it*: eight idle devices beside the CPU of one task are worth one task. The bound
  is not rounded down, so that CPU keeps a worth below one task's need and is spent where there is
  most.
- *Who gets a gap*: a gap of 190 is no use to most tasks, yet when the fleet is full the few that it
  suits will come to it. So a gap counts by those that fit it, not by how rare they are.

There is nothing to set. It knows what FGD knows, the distribution of usual tasks, and may learn it.
"""

from __future__ import annotations

import numpy as np

from causeway.schedule.devices.demand import Demand
from causeway.schedule.devices.fragmentation import State
from causeway.schedule.devices.nodes import DEVICE_MILLI, Bools, Floats, Ints, Nodes


class Absorption:
    """The measure for one demand and one list of device models."""

    __slots__ = ("_cpu", "_devices", "_fill", "_kind", "_milli", "_models", "_share")

    def __init__(self, demand: Demand, nodes: Nodes) -> None:
        pairs = [(s, n) for s, n in zip(demand.shapes, demand.counts, strict=True) if s.devices]
        shapes, counts = [shape for shape, _ in pairs], np.array([n for _, n in pairs], dtype=float)
        kinds = sorted({(shape.device_milli, shape.devices) for shape in shapes})
        self._kind: Ints = np.array(
            [kinds.index((shape.device_milli, shape.devices)) for shape in shapes], dtype=np.int64
        )
        self._devices: Ints = np.array([devices for _, devices in kinds], dtype=np.int64)
        self._milli: Floats = np.array([s.device_milli * s.devices for s in shapes], dtype=float)
        self._cpu: Floats = np.maximum(1.0, np.array([s.cpu_milli for s in shapes], dtype=float))
        self._share: Floats = counts / max(1.0, float(counts.sum()))
        self._models: Bools = (
            np.array([nodes.allows(shape.models) for shape in shapes], dtype=np.bool_)
            .reshape(len(shapes), len(nodes.models))
            .T
        )
        self._fill = _fills(
            np.array([milli for milli, _ in kinds], dtype=np.int64),
            np.array([shape.device_milli for shape in shapes], dtype=np.int64),
            self._share,
        )

    def of(self, state: State) -> Floats:
        """Return how much each row is expected to absorb, in milli: (rows,)."""
        free = state.free_milli
        filled = self._fill[free].sum(axis=1)
        whole = (free == DEVICE_MILLI).sum(axis=1)[:, None] // self._devices * self._devices
        filled = np.where(self._devices > 1, whole * float(DEVICE_MILLI), filled)
        by_cpu = state.cpu_milli[:, None] / self._cpu * self._milli
        absorbed = np.minimum(filled[:, self._kind], by_cpu) * self._models[state.model]
        worth: Floats = absorbed @ self._share
        return worth


def _fills(asked: Ints, by_shape: Ints, share: Floats) -> Floats:
    """Return what tasks of each size fill of a gap, weighed by who fits it: (1001, sizes)."""
    gap = np.arange(DEVICE_MILLI + 1)
    fits = np.array([share[by_shape <= milli].sum() for milli in gap.tolist()])
    weight = np.divide(1.0, fits, out=np.zeros(len(gap)), where=fits > 0)
    filled: Floats = (gap[:, None] // asked * asked) * weight[:, None]
    return filled
