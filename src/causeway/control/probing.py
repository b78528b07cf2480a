"""How islands learn how far they are from one another: whom each probes, and what it measured.

Every island probes a bounded number of others, so that a fleet of thousands costs each of them no
more than a fleet of fifty. The figures are gauges: they live in memory, each with the instant at
which it was taken.
"""

from __future__ import annotations

import bisect

from causeway.control.state import State
from causeway.model.islands import Health, Island
from causeway.model.values import replace

PROBES_MAX = 32
"""Other islands that one is told to probe."""


def forget(state: State) -> None:
    """Look up anew who may be probed: an island joined, or declares something else."""
    state.probes = None


def measured(island: Island, health: Health, now_ms: int) -> Island:
    """Return the island with new figures, each with the instant at which it was taken.

    The agent says how old they were by its own monotonic clock, so that no clock is compared."""
    taken_ms = now_ms - health.age_ms
    return replace(
        island,
        health=health,
        health_ms=taken_ms,
        latency_ms=health.latency_ms,
        latency_at_ms={name: taken_ms - age_ms for name, age_ms in health.latency_age_ms.items()},
    )


def probes(state: State, island: str) -> dict[str, str]:
    """Return the addresses that an island may probe: those that follow it in the order of names,
    so that each is probed by about as many others."""
    if state.probes is None:
        state.probes = {
            one.id: one.profile.probe_address
            for one in sorted(state.islands.values(), key=lambda one: one.id)
            if one.profile.probe_address
        }
    names = list(state.probes)
    start = bisect.bisect_right(names, island)
    around = (*names[start:], *names[:start])
    return {name: state.probes[name] for name in around[:PROBES_MAX] if name != island}
