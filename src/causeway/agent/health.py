"""Live figures of this host, as the centre is told with a heartbeat now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from causeway.agent.attempt import Key
from causeway.model.islands import Health
from causeway.ports.artifacts import Moved, Share
from causeway.ports.engine import Condition, Status

PROBLEMS_MAX = 16
log = logging.getLogger("causeway.agent")
PEERS_MAX = 64
"""Other islands whose transfers are remembered."""
LARGE_BYTES = 1024**2
"""Transfers below this say more about latency than about bandwidth."""


class Gauges:
    """Takes the figures; keeps what only exchanges and transfers can show."""

    def __init__(
        self,
        root: Path,
        now_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        condition: Callable[[], Condition] = Condition,
    ) -> None:
        """`now_ms` is a monotonic clock; each figure keeps the instant at which it was taken.
        `condition` is the engine's."""
        self._root = root
        self._condition = condition
        self._now_ms = now_ms
        self._rtt = (0.0, 0)
        self._bandwidth = (0.0, 0)
        self._latency: dict[str, tuple[float, int]] = {}
        self._peers: dict[str, tuple[float, int]] = {}
        self.others: Mapping[str, str] = {}
        """Other islands that let themselves be probed, with their addresses."""
        self._energy: tuple[int, int] = (0, 0)
        self.power_w = 0.0
        psutil.cpu_percent()

    def exchanged(self, rtt_ms: float) -> None:
        """Note the round trip of a sync, without the time it was held."""
        self._rtt = rtt_ms, self._now_ms()

    def moved(self, moved: Moved) -> None:
        """Note a transfer: of each source what it delivered."""
        whole = Share(source="", bytes=moved.moved_bytes, seconds=moved.seconds)
        for share in moved.shares or (whole,):
            if share.problem:
                log.warning("%s gave no more: %s", share.source or "the centre", share.problem)
            if share.source:
                log.info(
                    "%s: %d bytes from %s, %.1f Mbit/s",
                    moved.artifact,
                    share.bytes,
                    share.source,
                    share.bandwidth_mbit_s,
                )
            if share.bytes < LARGE_BYTES:
                continue
            seen = share.bandwidth_mbit_s, self._now_ms()
            if not share.source:
                self._bandwidth = seen
                continue
            self._peers.pop(share.source, None)
            self._peers[share.source] = seen
            while len(self._peers) > PEERS_MAX:
                del self._peers[next(iter(self._peers))]

    def links(self) -> Mapping[str, tuple[float, int]]:
        """Return other island -> (Mbit/s of the last transfer from it, age in ms)."""
        now_ms = self._now_ms()
        return {name: (mbit_s, now_ms - at_ms) for name, (mbit_s, at_ms) in self._peers.items()}

    def echoed(self, echo_bytes: int, took_s: float) -> None:
        """Note how long it took to send so many bytes to the centre and get them back.

        The round trip of an empty exchange is no part of it; what is left is two transfers. One
        that took longer than the echo itself was of a busier moment, and is not taken off.
        """
        rtt_s = self._rtt[0] / 1000
        moving_s = took_s - rtt_s if took_s > rtt_s else took_s
        self._bandwidth = 2 * 8 * echo_bytes / moving_s / 1e6, self._now_ms()

    def bandwidth_is_due(self, after_ms: int) -> bool:
        """Say whether the bandwidth was never measured, or not for so long."""
        measured, at_ms = self._bandwidth
        return not measured or self._now_ms() - at_ms >= after_ms

    def told(self, others: Mapping[str, str]) -> None:
        """Take over which islands may be probed; what is known of others is forgotten."""
        self.others = dict(others)
        self._latency = {name: seen for name, seen in self._latency.items() if name in others}

    def reached(self, island: str, rtt_ms: float | None) -> None:
        """Note a round trip to another island; None: it did not answer, and has no figure."""
        if rtt_ms is None:
            self._latency.pop(island, None)
        else:
            self._latency[island] = rtt_ms, self._now_ms()

    def polled(self, statuses: Mapping[Key, Status], now_ms: int) -> None:
        """Note the energy of the attempts; the power of the last second or more follows."""
        energy_mj = sum(status.energy_mj for status in statuses.values())
        then_mj, then_ms = self._energy
        if now_ms - then_ms < 1_000:
            return
        self._energy = (energy_mj, now_ms)
        if then_ms:
            self.power_w = max(0, energy_mj - then_mj) / (now_ms - then_ms)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nothing should be placed here now."""
        return self._condition().problems[:PROBLEMS_MAX]

    def read(self) -> Health:
        """Return the present."""
        now_ms = self._now_ms()
        engine = self._condition()
        return Health(
            cpu_share=min(1.0, psutil.cpu_percent() / 100),
            memory_used_bytes=psutil.virtual_memory().used,
            disk_free_bytes=psutil.disk_usage(str(self._root)).free,
            power_w=round(self.power_w, 2),
            rtt_ms=round(self._rtt[0], 3),
            rtt_age_ms=now_ms - self._rtt[1] if self._rtt[0] else 0,
            bandwidth_mbit_s=round(self._bandwidth[0], 2),
            bandwidth_age_ms=now_ms - self._bandwidth[1] if self._bandwidth[0] else 0,
            latency_ms={name: round(seen[0], 3) for name, seen in self._latency.items()},
            latency_age_ms={name: now_ms - seen[1] for name, seen in self._latency.items()},
            occupied=engine.occupied,
            problems=engine.problems[:PROBLEMS_MAX],
        )
