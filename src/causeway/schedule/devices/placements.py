"""Every way to place one task on some nodes, as the states that the nodes would be in afterwards.

A task that shares a device may go to any device with enough left, and devices of a node with
equally much left are alike: one way for each amount. A task with whole devices, or none, has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causeway.schedule.devices.fragmentation import State
from causeway.schedule.devices.nodes import (
    DEVICE_MILLI,
    Bools,
    DeviceAsk,
    Floats,
    Ints,
    Nodes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placements:
    """Ways to place a task; columns are equal in length."""

    row: Ints
    """Which of the nodes that were asked about."""
    device: Ints
    """The device for a share; -1 where whole devices, or none, are taken."""
    after: State

    @classmethod
    def of(cls, nodes: Nodes, at: Ints, ask: DeviceAsk) -> Placements:
        """Return all ways, by node and then by device. The task has to fit on each node."""
        free = nodes.free_milli[at]
        if ask.shares:
            row, device = np.nonzero((free >= ask.device_milli) & _first_of_each(free))
            left = free[row]
            left[np.arange(len(row)), device] -= ask.device_milli
        else:
            row, left = np.arange(len(at), dtype=np.int64), free.copy()
            device = np.full(len(at), -1, dtype=np.int64)
            if ask.devices:
                whole = free == DEVICE_MILLI
                left[whole & (np.cumsum(whole, axis=1) <= ask.devices)] = 0
        here = at[row]
        after = State(
            cpu_milli=nodes.cpu_milli[here] - ask.cpu_milli,
            memory_mib=nodes.memory_mib[here] - ask.memory_mib,
            model=nodes.model[here],
            free_milli=left,
        )
        return cls(row=row, device=device, after=after)

    def best_of_each(self, scores: Floats, rows: int) -> Floats:
        """Return the best score of each node."""
        best = np.full(rows, -np.inf)
        np.maximum.at(best, self.row, scores)
        return best


def _first_of_each(free_milli: Ints) -> Bools:
    """Return which devices are the first of their node with that much left: (rows, devices)."""
    first = np.ones(free_milli.shape, dtype=np.bool_)
    for device in range(1, free_milli.shape[1]):
        earlier = free_milli[:, :device] == free_milli[:, device, None]
        first[:, device] = ~earlier.any(axis=1)
    return first
