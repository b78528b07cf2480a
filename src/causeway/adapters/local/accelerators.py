"""Which accelerators each attempt holds, and what they draw.

A host's devices are handed out whole: one belongs to at most one attempt at a time, from its start
until nothing of it is left. Each rank of a gang is a node of its own with its own devices, so it
counts them from zero and `LOCAL_RANK` is 0. Who holds none is shown none, where the host has any.

Two fences keep an attempt to its devices: the vendor's variable, which a program could change, and
in a sandbox or an image the device nodes themselves, of which only the leased ones are there.

Energy is the devices' own: the driver's counter where there is one (quality counter), else sampled
power. A host whose processors cannot be counted adds nothing to a counted attempt: an estimate of a
few watts must not turn a measured figure into a modelled one, so the figure is then the devices'
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from causeway.model.islands import Device
from causeway.model.jobs import JobSpec
from causeway.model.usage import EnergyQuality

VARIABLES: Mapping[str, str] = {
    "nvidia": "CUDA_VISIBLE_DEVICES",
    "amd": "ROCR_VISIBLE_DEVICES",
    "huawei": "ASCEND_RT_VISIBLE_DEVICES",
}
"""By vendor, the variable that its runtime reads."""
BY_UUID = ("nvidia",)
"""Vendors whose variable takes unique names; the others take the driver's index."""
Key = tuple[str, int]
Held = tuple[tuple[Device, ...], ...]
"""The devices of each rank."""


class Counters(Protocol):
    """What the driver says of a device; None where it does not."""

    def energy_mj(self, uuid: str) -> int | None:
        """Return millijoules since the driver started."""

    def power_mw(self, uuid: str) -> int | None:
        """Return what it draws now."""

    def minor(self, uuid: str) -> int | None:
        """Return the number of its device node."""


@dataclass(slots=True, kw_only=True)
class Draw:
    """Measures the devices of one attempt, interval by interval."""

    devices: tuple[Device, ...]
    counters: Counters
    _last_mj: dict[str, int] = field(default_factory=dict)

    def energy_mj(self, *, wall_ms: int) -> tuple[int, EnergyQuality]:
        """Return what they used since the last call, and the worst quality among them.

        The first call only reads. A counter that went back was reset with its driver: what it
        counted since is what it shows. A device that tells nothing is taken at its power limit.
        """
        spent, worst = 0.0, EnergyQuality.COUNTER
        for device in self.devices:
            now = self.counters.energy_mj(device.uuid)
            if now is not None:
                before = self._last_mj.get(device.uuid, now)
                self._last_mj[device.uuid] = now
                spent += now - before if now >= before else now
                continue
            power_mw = self.counters.power_mw(device.uuid)
            quality = EnergyQuality.NAMEPLATE if power_mw is None else EnergyQuality.SAMPLED
            worst = max(worst, quality)
            watts = device.tdp_w if power_mw is None else power_mw / 1000
            spent += watts * wall_ms
        return round(spent), worst


class Accelerators:
    """The devices of one engine."""

    def __init__(self, devices: Sequence[Device], counters: Counters) -> None:
        self.devices = tuple(devices)
        self._counters = counters
        self._held: dict[Key, Held] = {}

    def take(self, key: Key, spec: JobSpec) -> str:
        """Lease an attempt's devices. Return why it cannot be, or nothing."""
        asked = spec.resources.accelerator
        if asked is None or not self.devices or key in self._held:
            return ""
        taken = {device.index for held in self._held.values() for one in held for device in one}
        model = asked.model.upper()
        free = [
            device
            for device in self.devices
            if device.index not in taken
            and device.healthy
            and device.memory_bytes >= asked.memory_bytes_min
            and (not model or model in device.model.upper().replace("-", " ").split())
        ]
        need = asked.count * spec.num_nodes
        if len(free) < need:
            found = f"{len(free)} of {len(self.devices)} are free and fit"
            return f"it needs {need} accelerators; {found}"
        self._held[key] = tuple(
            tuple(free[rank * asked.count : (rank + 1) * asked.count])
            for rank in range(spec.num_nodes)
        )
        return ""

    def held(self, key: Key) -> Held:
        """Return what an attempt holds, rank by rank."""
        return self._held.get(key, ())

    def release(self, key: Key) -> None:
        """Take an attempt's devices back."""
        self._held.pop(key, None)

    def draw(self, key: Key) -> Draw | None:
        """Return a meter over an attempt's devices; None when it holds none."""
        devices = tuple(device for one in self.held(key) for device in one)
        return Draw(devices=devices, counters=self._counters) if devices else None

    def environment(self, key: Key, rank: int) -> dict[str, str]:
        """Return the variables that show a rank its devices; a negative rank sees them all."""
        if not self.devices:
            return {}
        held = self.held(key)
        mine = self._of(held, rank)
        shown: dict[str, str] = {}
        for vendor in {device.vendor for device in self.devices} & VARIABLES.keys():
            names = [_name(device) for device in mine if device.vendor == vendor]
            shown[VARIABLES[vendor]] = ",".join(names) or ("" if vendor in BY_UUID else "-1")
        if held and rank >= 0:
            shown |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
        return shown

    def nodes(self, key: Key, rank: int, every: Sequence[str]) -> tuple[str, ...]:
        """Return those of the host's device nodes that a rank may have.

        Only the numbered nodes of other devices are left out, and only when the driver tells which
        is whose.
        """
        mine = {self._counters.minor(device.uuid) for device in self._of(self.held(key), rank)}
        if not self.devices or not mine or None in mine:
            return tuple(every)
        return tuple(node for node in every if not _foreign(node, mine))

    def _of(self, held: Held, rank: int) -> tuple[Device, ...]:
        if rank < 0:
            return tuple(device for one in held for device in one)
        return held[rank] if rank < len(held) else ()


def _foreign(node: str, mine: set[int | None]) -> bool:
    """Say whether a node is a numbered NVIDIA device that is not among these."""
    number = node.removeprefix("/dev/nvidia")
    return number.isdigit() and int(number) not in mine


def _name(device: Device) -> str:
    return device.uuid if device.vendor in BY_UUID and device.uuid else str(device.index)
