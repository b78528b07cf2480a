"""What is on this host: processors, memory, accelerators, and what of it was measured."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from causeway.adapters.local import nvml, power
from causeway.model.islands import Device, Inventory
from causeway.model.resources import Capacity
from causeway.model.usage import EnergyQuality

SPEED = Path(__file__).with_name("speed.py")
"""Measured in a process of its own: NumPy would stay in the agent's memory for good."""
SPEED_S = 20.0


def inventory(
    root: Path, *, capacity: Capacity | None, isolation: tuple[str, ...], warm: tuple[str, ...]
) -> Inventory:
    """Look, measure, and say how each figure was obtained. Takes up to a second or two."""
    devices = nvml.devices()
    found = Capacity(
        cpu_milli=len(os.sched_getaffinity(0)) * 1000,
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=shutil.disk_usage(root).free,
        accelerators=len(devices),
    )
    offered = found if capacity is None else _capped(found, capacity)
    source, quality = power.source()
    if source == "model" and devices and nvml.counts_energy():
        source, quality = "nvml", EnergyQuality.COUNTER
    return Inventory(
        hostname=socket.gethostname(),
        os=_os_name(),
        architecture=platform.machine(),
        cpu_model=_cpu_model(Path("/proc/cpuinfo")),
        capacity=offered,
        devices=devices if capacity is None else devices[: capacity.accelerators],
        isolation=isolation,
        images=False,
        engine="local",
        warm=warm,
        measured_cpu_ncu=measure_cpu_ncu(max(1, offered.cpu_milli // 1000)),
        power_source=source,
        power_quality=quality,
        agent_version=importlib.metadata.version("causeway"),
    )


def offered_devices(capacity: Capacity | None) -> tuple[Device, ...]:
    """Return the accelerators that are here, at most as many as are offered."""
    devices = nvml.devices()
    return devices if capacity is None else devices[: capacity.accelerators]


@functools.lru_cache(maxsize=4)
def measure_cpu_ncu(cores: int) -> float:
    """Return TFLOP/s of FP32 matrix products on so many cores: one core's best, times the cores.

    A product of two n x n matrices is 2 n^3 operations. The matrices are small enough that BLAS
    uses one thread, and the best of many short batches counts: a busy neighbour, such as another
    island on this host, then hardly changes the figure. Measured once: the host does not change.
    """
    try:
        asked = subprocess.run(
            [sys.executable, str(SPEED)],
            capture_output=True,
            timeout=SPEED_S,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired:
        # The host is too busy to tell: its speed is unknown, and the agent starts all the same.
        return 0.0
    if asked.returncode != 0:
        return 0.0
    return round(float(asked.stdout) * cores, 4)


def _capped(found: Capacity, most: Capacity) -> Capacity:
    """Return what is found, at most `most`; a zero in `most` offers nothing of that kind."""
    return Capacity(
        cpu_milli=min(found.cpu_milli, most.cpu_milli),
        memory_bytes=min(found.memory_bytes, most.memory_bytes),
        disk_bytes=min(found.disk_bytes, most.disk_bytes),
        accelerators=min(found.accelerators, most.accelerators),
    )


def _cpu_model(cpuinfo: Path) -> str:
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
