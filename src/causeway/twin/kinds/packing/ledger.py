"""What a packing run writes down as it goes, and the figures that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from causeway.schedule.devices import DEVICE_MILLI, DeviceAsk, Fragmentation, Nodes
from causeway.twin.kinds.packing.trace import Arrivals
from causeway.twin.outcome import Columns


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Arrivals, and what became of them."""

    measure: Fragmentation
    placed: list[int] = field(default_factory=list)
    """Node of each arrival, or -1."""
    arrived_milli: list[int] = field(default_factory=list)
    allocated_milli: list[int] = field(default_factory=list)
    percent: list[int] = field(default_factory=list)
    fragmented_milli: list[float] = field(default_factory=list)

    def write(self, nodes: Nodes, ask: DeviceAsk, node: int) -> None:
        """Write down one arrival, and the fragmentation at each further percent of demand."""
        arrived = (self.arrived_milli[-1] if self.arrived_milli else 0) + ask.total_milli
        allocated = self.allocated_milli[-1] if self.allocated_milli else 0
        self.placed.append(node)
        self.arrived_milli.append(arrived)
        self.allocated_milli.append(allocated + (ask.total_milli if node >= 0 else 0))
        percent = int(100 * arrived / nodes.total_milli)
        if not self.percent or percent > self.percent[-1]:
            self.percent.append(percent)
            self.fragmented_milli.append(self.measure.milli(nodes))

    def metrics(self, coming: Arrivals, *, at_percent: int) -> dict[str, float]:
        """Return the figures; `allocation_share` is taken as the published one is: the mean over
        the arrivals at which demand, rounded to a percent of the fleet, is the target."""
        nodes = coming.nodes
        arrived = np.array(self.arrived_milli) / nodes.total_milli
        allocated = np.array(self.allocated_milli) / nodes.total_milli
        window = np.round(100 * arrived) == at_percent
        idle = nodes.total_milli - self.allocated_milli[-1]
        fragmented = self.measure.milli(nodes)
        share = float(allocated[window].mean()) if window.any() else float(allocated[-1])
        cpu = float(nodes.cpu_total_milli.sum())
        return {
            "allocation_share": share,
            "allocation_share_last": float(allocated[-1]),
            "fragmentation_share": fragmented / nodes.total_milli,
            "fragmented_idle_share": fragmented / idle if idle else 0.0,
            "cpu_allocation_share": 1.0 - float(nodes.cpu_milli.sum()) / cpu if cpu else 0.0,
            "declined_share": sum(node < 0 for node in self.placed) / len(self.placed),
            "declined_multi_share": self._declined_of_several(coming),
        }

    def _declined_of_several(self, coming: Arrivals) -> float:
        """Return the part turned away of the tasks with several devices."""
        several = [
            node < 0
            for row, node in zip(coming.order, self.placed, strict=True)
            if coming.asks[row].devices > 1
        ]
        return sum(several) / len(several) if several else 0.0

    def series(self) -> Columns:
        """Return fragmentation by percent of demand arrived."""
        return {
            "arrived_percent": np.array(self.percent, dtype=np.int64),
            "fragmented_devices": np.array(self.fragmented_milli) / DEVICE_MILLI,
        }

    def jobs(self, coming: Arrivals) -> Columns:
        """Return a row for each arrival: what it asked for and where it went."""
        asks = [coming.asks[row] for row in coming.order]
        return {
            "cpu_milli": np.array([ask.cpu_milli for ask in asks], dtype=np.int64),
            "devices": np.array([ask.devices for ask in asks], dtype=np.int64),
            "device_milli": np.array([ask.total_milli for ask in asks], dtype=np.int64),
            "node": np.array(self.placed, dtype=np.int64),
            "allocated_devices": np.array(self.allocated_milli) / DEVICE_MILLI,
        }
