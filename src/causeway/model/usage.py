"""What was used: integers in base units, each interval counted exactly once.

A tick covers a half-open interval of one attempt and carries a unique key, so a doubled or
reordered delivery changes nothing. Energy carries the quality of its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EnergyQuality(StrEnum):
    """How an energy figure was obtained, best first."""

    METER = "q1_meter"
    """Revenue-grade meter."""
    COUNTER = "q2_counter"
    """Device energy counter (RAPL, NVML)."""
    SAMPLED = "q3_sampled"
    """Integrated from sampled power."""
    MODEL = "q4_model"
    """A utilisation model; an estimate."""
    NAMEPLATE = "q5_nameplate"
    """Nameplate power; an upper estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTick:
    """What one attempt used in one interval. `(attempt, seq)` is the unique key."""

    job: str
    fence: int
    seq: int
    """0, 1, 2, ... within the attempt."""
    start_ms: int
    """Milliseconds since the attempt started, by the island's monotonic clock."""
    end_ms: int
    devices: int
    cpu_ms: int = 0
    energy_mj: int = 0
    """IT energy, before PUE."""
    energy_quality: EnergyQuality = EnergyQuality.MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Accepted usage of one attempt so far."""

    ticks: int = 0
    """How many ticks were accepted; the next one must have `seq == ticks`."""
    until_ms: int = 0
    """End of the last accepted interval, since the attempt's start."""
    device_ms: int = 0
    cpu_ms: int = 0
    energy_it_mj: int = 0
    energy_facility_mj: int = 0
    """IT energy times the PUE pinned at the lease."""
    energy_billable_mj: int = 0
    """The part of the facility energy that came from meters or counters (Q1, Q2); only this may
    be billed by the kWh, the rest is an estimate that is shown."""
    carbon_mg: int = 0
    energy_quality: EnergyQuality = EnergyQuality.MODEL
