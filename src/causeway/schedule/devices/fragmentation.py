"""How much of what is idle nobody usual could use: the measure of Weng et al. (USENIX ATC 2023).

For a node n and a usual task m, the part of the node's idle device-milli that m cannot use is

    F_n(m) = all of it, if m does not fit on n (CPU, devices, model) or asks for no device;
             the sum of free_g over devices g with free_g < device_milli(m), otherwise,

and the fragmentation of the node is the mean of F_n(m) over the distribution of usual tasks. All
counts are whole numbers here, so two placements that are equally good compare as equal; the
original adds the same terms as floating-point shares.

Only the free CPU, the free milli of each device and the model matter, so the sums over tasks are
tables: by free milli (1001 rows), and by which of the tasks' CPU needs a node still meets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from causeway.schedule.devices.demand import Demand
from causeway.schedule.devices.nodes import DEVICE_MILLI, Ints, Nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What matters of some nodes: equal columns, a row each."""

    cpu_milli: Ints
    memory_mib: Ints
    model: Ints
    free_milli: Ints
    """(rows, devices)."""

    @classmethod
    def of(cls, nodes: Nodes, at: Ints) -> State:
        """Return the state of those rows."""
        return cls(
            cpu_milli=nodes.cpu_milli[at],
            memory_mib=nodes.memory_mib[at],
            model=nodes.model[at],
            free_milli=nodes.free_milli[at],
        )


class Fragmentation:
    """The measure for one demand and one list of device models."""

    __slots__ = ("_cpu_needs", "_enough", "_needed", "_usable", "_weights", "total")

    def __init__(self, demand: Demand, nodes: Nodes) -> None:
        sized = [shape for shape in demand.shapes if shape.devices]
        kinds = sorted({(s.device_milli, s.devices, tuple(sorted(s.models))) for s in sized})
        place = {kind: index for index, kind in enumerate(kinds)}
        self.total = demand.total
        """Tasks that the counts add up to."""
        self._cpu_needs = np.unique([s.cpu_milli for s in sized]).astype(np.int64)
        self._weights = np.zeros(
            (len(self._cpu_needs) + 1, len(nodes.models), len(kinds)), dtype=np.int64
        )
        for shape, count in zip(demand.shapes, demand.counts, strict=True):
            if shape.devices:
                kind = place[shape.device_milli, shape.devices, tuple(sorted(shape.models))]
                row = int(np.searchsorted(self._cpu_needs, shape.cpu_milli)) + 1
                self._weights[row:, nodes.allows(shape.models), kind] += count
        free = np.arange(DEVICE_MILLI + 1)[:, None]
        asked = np.array([kind[0] for kind in kinds], dtype=np.int64)[None, :]
        self._needed = np.array([kind[1] for kind in kinds], dtype=np.int64)
        self._enough = (free >= asked).astype(np.int64)
        self._usable = free * self._enough

    def of(self, state: State) -> Ints:
        """Return each row's fragmented milli, times `total`: (rows,)."""
        usable = self._usable[state.free_milli].sum(axis=1)
        enough = self._enough[state.free_milli].sum(axis=1) >= self._needed
        met = np.searchsorted(self._cpu_needs, state.cpu_milli, side="right")
        used: Ints = (self._weights[met, state.model] * usable * enough).sum(axis=1)
        idle: Ints = state.free_milli.sum(axis=1) * self.total
        return idle - used

    def milli(self, nodes: Nodes) -> float:
        """Return the fragmented milli of a whole fleet."""
        every = np.arange(len(nodes), dtype=np.int64)
        return float(self.of(State.of(nodes, every)).sum()) / max(1, self.total)
