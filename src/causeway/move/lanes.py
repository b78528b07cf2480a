"""How many connections one source is asked over.

On a path that loses packets at random, one connection is bounded by what its congestion control
makes of the losses, not by the line: a `cubic` connection of 1,500-byte packets carried 11 Mbit/s
of 100 at 100 ms and 0.1% loss (measured, `bench/wan_transfer.py`). The bound falls with the round
trip, so far sources get more connections. Near ones get few: there one connection fills the line,
and more only take memory.
"""

from __future__ import annotations

_STEPS = ((2.0, 4), (10.0, 8), (40.0, 16))
"""(round trip below this in ms, connections)."""
LANES_MAX = 24


def lanes_for(rtt_ms: float) -> int:
    """Return how many connections suit a path; a round trip of 0 is one that is not known.

    >>> lanes_for(0.3), lanes_for(100.0), lanes_for(0.0)
    (4, 24, 8)
    """
    if rtt_ms <= 0:
        return _STEPS[1][1]
    return next((lanes for below_ms, lanes in _STEPS if rtt_ms < below_ms), LANES_MAX)
