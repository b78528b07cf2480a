"""Sharing one device's energy among the jobs on it, so that the parts sum to the meter.

Idle energy belongs to whoever holds the lease, by leased share; energy above idle belongs to
whoever was active, by activity (without any activity, by leased share). What nobody leased stays
with the island. With r the leased shares, R the device's capacity, and a the activities:

    E_j = E_idle * r_j / R  +  E_active * a_j / sum(a)

Parts are whole millijoules by largest remainder: jobs + island = meter, exactly. An idle figure
above the meter (sensor skew) is cut to the meter, and the cut is returned, not hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from causeway.model.apportion import apportion
from causeway.model.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One job's hold on a device in an interval."""

    job: str
    leased: int
    """Its part of the device, in the units of the capacity (slices, milli-cores)."""
    active: int
    """What it did, in any one unit for all claims (busy ms, CPU ms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Who used what. `sum(jobs_mj.values()) + island_mj` is the meter."""

    jobs_mj: Mapping[str, int]
    island_mj: int
    """Idle energy of what nobody leased."""
    idle_cut_mj: int = 0
    """By how much the idle figure was above the meter; above zero, a sensor is wrong."""


def allocate(
    meter_mj: int, *, idle_mj: int, claims: Sequence[Claim], capacity: int = 0
) -> Allocation:
    """Share a device's energy. `capacity` 0 takes the sum of the leases (all is leased)."""
    if meter_mj < 0 or idle_mj < 0 or any(c.leased < 0 or c.active < 0 for c in claims):
        raise InvalidInput("energy, leases and activity may not be negative")
    leased = [claim.leased for claim in claims]
    unleased = capacity - sum(leased) if capacity else 0
    if unleased < 0:
        raise InvalidInput(f"{sum(leased)} is leased of a device that has {capacity}")
    if len({claim.job for claim in claims}) != len(claims):
        raise InvalidInput("a job claims the same device twice")
    if not any(leased):
        return Allocation(jobs_mj={claim.job: 0 for claim in claims}, island_mj=meter_mj)
    idle = min(idle_mj, meter_mj)
    idle_parts = apportion(idle, [*leased, unleased])
    active = [claim.active for claim in claims]
    active_parts = apportion(meter_mj - idle, active if any(active) else leased)
    return Allocation(
        jobs_mj={
            claim.job: idle_part + active_part
            for claim, idle_part, active_part in zip(
                claims, idle_parts[:-1], active_parts, strict=True
            )
        },
        island_mj=idle_parts[-1],
        idle_cut_mj=idle_mj - idle,
    )


def residual(node_mj: int, components_mj: Sequence[int]) -> tuple[int, int]:
    """Return (energy of fans, network and supply losses; excess of the components), in mJ.

    The residual is the node's meter less its measured components, never below zero; when the
    components exceed the meter, the excess says by how much the sensors disagree.

    >>> residual(100, (60, 25)), residual(100, (80, 25))
    ((15, 0), (0, 5))
    """
    rest = node_mj - sum(components_mj)
    return max(0, rest), max(0, -rest)
