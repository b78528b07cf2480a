"""At the rented machine: stay, or leave and end the lease.

The machine does not ask anybody whether it may go. Its watchman looks at four things and leaves
when one of them says so, whether or not a control plane, a controller or the cloud's own server are
still there. Instants are milliseconds of the machine's monotonic clock, which nobody can set; only
the lease's end comes from outside, and is compared by the machine's wall clock as well as by how
long the watchman itself has run: whichever comes first.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a machine goes."""

    until_ms: int
    """The lease's end, wall clock."""
    lease_ms: int
    """The same as a duration from the watchman's start."""
    drain_ms: int
    """The agent is told to leave so long before, so that checkpoints reach the centre."""
    idle_ms: int
    """Nothing ran here for so long."""
    unreachable_ms: int
    """The centre did not answer, or no agent ran, for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the watchman sees."""

    wall_ms: int
    now_ms: int
    """Monotonic, as are those below."""
    started_ms: int
    busy_ms: int
    """When work was last seen here; its start, when never."""
    heard_ms: int
    """When the centre last answered while an agent ran; its start, when never."""


def watch(limits: Limits, seen: Watched) -> str:
    """Return why the machine has to go, in a sentence; empty: it stays.

    >>> limits = Limits(until_ms=10_000, lease_ms=10_000, drain_ms=1_000, idle_ms=3_000,
    ...     unreachable_ms=2_000)
    >>> watch(limits, Watched(wall_ms=5_000, now_ms=5, started_ms=0, busy_ms=0, heard_ms=0))
    ''
    >>> watch(limits, Watched(wall_ms=9_000, now_ms=5, started_ms=0, busy_ms=0, heard_ms=0))
    'the lease ends in 1 s'
    """
    left_ms = min(limits.until_ms - seen.wall_ms, seen.started_ms + limits.lease_ms - seen.now_ms)
    if left_ms <= limits.drain_ms:
        return f"the lease ends in {max(0, left_ms) / 1000:.0f} s"
    silent_ms = seen.now_ms - seen.heard_ms
    if silent_ms >= limits.unreachable_ms:
        return f"no agent has had an answer from the centre for {silent_ms / 1000:.0f} s"
    idle_ms = seen.now_ms - seen.busy_ms
    if idle_ms >= limits.idle_ms:
        return f"nothing has run here for {idle_ms / 1000:.0f} s"
    return ""
