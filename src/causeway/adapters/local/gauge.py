"""Reads what an attempt uses: CPU time, memory, energy. Each interval is counted once."""

from __future__ import annotations

from causeway.adapters.local import census
from causeway.adapters.local.attempt import Running


def read(at: Running, now_ms: int) -> None:
    """Bring the attempt's figures up to `now_ms`."""
    if at.group is not None:
        at.cpu_ms = max(at.cpu_ms, at.group.cpu_ms(), at.gone_cpu_ms)
        at.memory_bytes = at.group.memory_bytes()
    else:
        cpu_ms, at.memory_bytes = census.usage(c.pid for c in at.children.values() if c.pid)
        at.cpu_ms = max(at.cpu_ms, at.gone_cpu_ms + cpu_ms)
    spec = at.launch.spec
    spent_mj, quality = at.meter.energy_mj(
        cpu_ms=at.cpu_ms - at.metered_cpu_ms,
        wall_ms=now_ms - at.metered_ms,
        devices=-(-spec.resources.cpu_milli * spec.num_nodes // 1000),
    )
    if at.draw is not None:
        drawn_mj, drawn = at.draw.energy_mj(wall_ms=now_ms - at.metered_ms)
        # Better figures are not mixed with worse ones: see `accelerators`.
        spent_mj = drawn_mj + (spent_mj if quality <= drawn else 0)
        quality = drawn
    at.energy_mj, at.energy_quality = at.energy_mj + spent_mj, quality
    at.metered_ms, at.metered_cpu_ms = now_ms, at.cpu_ms
