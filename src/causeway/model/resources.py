"""What work asks for and what pools hold, in integers with units."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AcceleratorVendor(StrEnum):
    NVIDIA = "nvidia"
    AMD = "amd"
    INTEL = "intel"
    HUAWEI = "huawei"
    GOOGLE = "google"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorRequest:
    """Accelerators per node that a job needs."""

    count: int
    """Whole devices per node; at least 1."""
    model: str = ""
    """Model name as in the catalogue (`H100`), any case; empty takes any model."""
    memory_bytes_min: int = 0
    """Least memory of each device; 0 takes any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one node of a job needs. A gang of N nodes needs N times this."""

    cpu_milli: int = 1000
    memory_bytes: int = 512 * 1024**2
    disk_bytes: int = 0
    accelerator: AcceleratorRequest | None = None

    @property
    def devices(self) -> int:
        """Billable devices of one node: accelerators, or whole cores (rounded up) without any."""
        if self.accelerator is not None:
            return self.accelerator.count
        return -(-self.cpu_milli // 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """An amount of each kind, free or in all. Never negative."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    accelerators: int = 0

    def fits(self, need: Resources, nodes: int = 1) -> bool:
        """Say whether `nodes` times the need is inside this amount."""
        accelerators = need.accelerator.count if need.accelerator else 0
        return (
            need.cpu_milli * nodes <= self.cpu_milli
            and need.memory_bytes * nodes <= self.memory_bytes
            and need.disk_bytes * nodes <= self.disk_bytes
            and accelerators * nodes <= self.accelerators
        )

    def less(self, need: Resources, nodes: int = 1) -> Capacity:
        """Return what is left after taking `nodes` times the need, floored at zero."""
        accelerators = need.accelerator.count if need.accelerator else 0
        return Capacity(
            cpu_milli=max(0, self.cpu_milli - need.cpu_milli * nodes),
            memory_bytes=max(0, self.memory_bytes - need.memory_bytes * nodes),
            disk_bytes=max(0, self.disk_bytes - need.disk_bytes * nodes),
            accelerators=max(0, self.accelerators - accelerators * nodes),
        )

    def plus(self, need: Resources, nodes: int = 1) -> Capacity:
        """Return this amount with `nodes` times the need given back."""
        accelerators = need.accelerator.count if need.accelerator else 0
        return Capacity(
            cpu_milli=self.cpu_milli + need.cpu_milli * nodes,
            memory_bytes=self.memory_bytes + need.memory_bytes * nodes,
            disk_bytes=self.disk_bytes + need.disk_bytes * nodes,
            accelerators=self.accelerators + accelerators * nodes,
        )
