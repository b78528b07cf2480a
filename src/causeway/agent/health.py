"""Live figures of this host, as the centre is told with a heartbeat now and then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psutil

from causeway.agent.attempt import Key
from causeway.model.islands import Health
from causeway.ports.artifacts import Moved
from causeway.ports.engine import Status

LARGE_BYTES = 1024**2
"""Transfers below this say more about latency than about bandwidth."""


class Gauges:
    """Takes the figures; keeps what only exchanges and transfers can show."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rtt_ms = 0.0
        self._bandwidth_mbit_s = 0.0
        self._energy: tuple[int, int] = (0, 0)
        self.power_w = 0.0
        psutil.cpu_percent()

    def exchanged(self, rtt_ms: float) -> None:
        """Note the round trip of a sync, without the time it was held."""
        self._rtt_ms = rtt_ms

    def moved(self, moved: Moved) -> None:
        """Note a transfer."""
        if moved.moved_bytes >= LARGE_BYTES:
            self._bandwidth_mbit_s = moved.bandwidth_mbit_s

    def polled(self, statuses: Mapping[Key, Status], now_ms: int) -> None:
        """Note the energy of the attempts; the power of the last second or more follows."""
        energy_mj = sum(status.energy_mj for status in statuses.values())
        then_mj, then_ms = self._energy
        if now_ms - then_ms < 1_000:
            return
        self._energy = (energy_mj, now_ms)
        if then_ms:
            self.power_w = max(0, energy_mj - then_mj) / (now_ms - then_ms)

    def read(self, problems: tuple[str, ...] = ()) -> Health:
        """Return the present."""
        return Health(
            cpu_share=min(1.0, psutil.cpu_percent() / 100),
            memory_used_bytes=psutil.virtual_memory().used,
            disk_free_bytes=psutil.disk_usage(str(self._root)).free,
            power_w=round(self.power_w, 2),
            rtt_ms=round(self._rtt_ms, 3),
            bandwidth_mbit_s=round(self._bandwidth_mbit_s, 2),
            problems=problems,
        )
