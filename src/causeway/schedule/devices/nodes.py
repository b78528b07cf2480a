"""Nodes with their devices as columns, what is asked of them, and what was chosen.

A fleet of nodes is a handful of NumPy arrays with one row per node, so that a policy scores a
thousand nodes in one expression. Shares are in thousandths of a device ("milli"), CPU in
thousandths of a core, memory in MiB. The order of the rows is the order in which equal nodes are
preferred.

`Nodes` is the only mutable thing of this folder: `take` and `release` keep it true, and refuse what
would make it untrue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from causeway.model.errors import IllegalMove, InvalidInput

DEVICE_MILLI = 1000
"""Thousandths of one device."""
DEVICES_MAX = 64
"""Devices of one node."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAsk:
    """What one task needs of one node. Equal asks are one ask: policies remember by it."""

    cpu_milli: int = 0
    memory_mib: int = 0
    devices: int = 0
    """Devices on the node; 0 for a task that needs none."""
    device_milli: int = DEVICE_MILLI
    """Of each device; below 1000 it is a share, of one device only."""
    models: frozenset[str] = frozenset()
    """Device models that will do; empty for any."""

    def __post_init__(self) -> None:
        if min(self.cpu_milli, self.memory_mib, self.devices) < 0:
            raise InvalidInput("a task cannot ask for less than nothing")
        if not 0 < self.device_milli <= DEVICE_MILLI:
            raise InvalidInput(f"a share of a device is 1 to {DEVICE_MILLI} thousandths")
        if self.devices > 1 and self.device_milli < DEVICE_MILLI:
            raise InvalidInput("a task may share one device, or have several whole ones")
        if self.devices > DEVICES_MAX:
            raise InvalidInput(f"a task may have at most {DEVICES_MAX} devices of one node")

    @property
    def shares(self) -> bool:
        """Whether it asks for a part of one device."""
        return self.devices == 1 and self.device_milli < DEVICE_MILLI

    @property
    def total_milli(self) -> int:
        """Thousandths of devices in all."""
        return self.devices * self.device_milli


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where one task goes."""

    node: int
    """Row of `Nodes`."""
    name: str
    devices: tuple[int, ...]
    """Which devices of the node; empty for a task that needs none."""
    score: float
    """What the policy gave this node; comparable within one decision only."""


@dataclass(slots=True, kw_only=True)
class Nodes:
    """The free resources of a fleet. Build it with `Nodes.of`."""

    names: tuple[str, ...]
    models: tuple[str, ...]
    """The device models that there are; `model` points into it."""
    model: Ints
    cpu_total_milli: Ints
    memory_total_mib: Ints
    devices: Ints
    """How many devices each node has."""
    cpu_milli: Ints
    """Free."""
    memory_mib: Ints
    """Free."""
    free_milli: Ints
    """Free thousandths by node and device, (nodes, most devices of any); 0 where there is none."""
    held: Ints
    """Tasks by node and sort, (nodes, 1 + most devices): 0 those that share, k those with k."""
    _allowed: dict[frozenset[str], Bools] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        *,
        cpu_milli: Sequence[int],
        memory_mib: Sequence[int],
        devices: Sequence[int],
        models: Sequence[str],
    ) -> Nodes:
        """Return empty nodes, in the order in which equal ones are to be preferred."""
        if len({len(names), len(cpu_milli), len(memory_mib), len(devices), len(models)}) != 1:
            raise InvalidInput("the columns of nodes differ in length")
        if not names or len(set(names)) < len(names):
            raise InvalidInput("a fleet has one node at least, and each has a name of its own")
        count = np.array(devices, dtype=np.int64)
        if count.min() < 0 or count.max() > DEVICES_MAX:
            raise InvalidInput(f"a node has 0 to {DEVICES_MAX} devices")
        cpu, memory = np.array(cpu_milli, dtype=np.int64), np.array(memory_mib, dtype=np.int64)
        if cpu.min() < 0 or memory.min() < 0:
            raise InvalidInput("a node cannot have less than no CPU or memory")
        known = tuple(sorted(set(models)))
        there = np.arange(max(1, int(count.max())))[None, :] < count[:, None]
        return cls(
            names=tuple(names),
            models=known,
            model=np.array([known.index(model) for model in models], dtype=np.int64),
            cpu_total_milli=cpu,
            memory_total_mib=memory,
            devices=count,
            cpu_milli=cpu.copy(),
            memory_mib=memory.copy(),
            free_milli=np.where(there, DEVICE_MILLI, 0).astype(np.int64),
            held=np.zeros((len(names), there.shape[1] + 1), dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def total_milli(self) -> int:
        """Thousandths of devices that the fleet has."""
        return int(self.devices.sum()) * DEVICE_MILLI

    @staticmethod
    def sort_of(ask: DeviceAsk) -> int:
        """Return the column of `held` for a task with devices."""
        return 0 if ask.shares else ask.devices

    def fits(self, at: Ints, ask: DeviceAsk) -> Bools:
        """Return, for each of those rows, whether the task could start there now."""
        fits: Bools = (self.cpu_milli[at] >= ask.cpu_milli) & (
            self.memory_mib[at] >= ask.memory_mib
        )
        if ask.devices:
            enough = (self.free_milli[at] >= ask.device_milli).sum(axis=1) >= ask.devices
            fits &= enough & self.allows(ask.models)[self.model[at]]
        return fits

    def allows(self, models: frozenset[str]) -> Bools:
        """Return, for each model that there is, whether it is one of these (any, if empty)."""
        if models not in self._allowed:
            allowed = [not models or model in models for model in self.models]
            self._allowed[models] = np.array(allowed, dtype=np.bool_)
        return self._allowed[models]

    def take(self, node: int, devices: Sequence[int], ask: DeviceAsk) -> None:
        """Give a task its place; IllegalMove if it is not free."""
        self._shift(node, devices, ask, sign=-1)

    def release(self, node: int, devices: Sequence[int], ask: DeviceAsk) -> None:
        """Take a task's place back; IllegalMove if more would be free than there is."""
        self._shift(node, devices, ask, sign=1)

    def _shift(self, node: int, devices: Sequence[int], ask: DeviceAsk, *, sign: int) -> None:
        here = list(devices)
        if len(set(here)) != ask.devices or not all(0 <= d < self.devices[node] for d in here):
            raise IllegalMove(f"{self.names[node]} has no devices {here} for {ask}")
        cpu = int(self.cpu_milli[node]) + sign * ask.cpu_milli
        memory = int(self.memory_mib[node]) + sign * ask.memory_mib
        left = self.free_milli[node, here] + sign * ask.device_milli
        if not (
            0 <= cpu <= self.cpu_total_milli[node]
            and 0 <= memory <= self.memory_total_mib[node]
            and bool(np.all((left >= 0) & (left <= DEVICE_MILLI)))
        ):
            raise IllegalMove(f"{ask} cannot be {'added to' if sign < 0 else 'taken off'} {node}")
        self.cpu_milli[node], self.memory_mib[node] = cpu, memory
        self.free_milli[node, here] = left
        if ask.devices:
            self.held[node, self.sort_of(ask)] -= sign


def tightest_devices(free_milli: Ints, ask: DeviceAsk) -> tuple[int, ...]:
    """Return the devices of a node on which the least stays free; the first of equals.

    >>> tightest_devices(np.array([1000, 300, 500]), DeviceAsk(devices=1, device_milli=200))
    (1,)
    >>> tightest_devices(np.array([1000, 300, 1000]), DeviceAsk(devices=2))
    (0, 2)
    """
    enough = np.flatnonzero(free_milli >= ask.device_milli)
    order = np.argsort(free_milli[enough], kind="stable")[: ask.devices]
    return tuple(int(device) for device in enough[order])
