"""A job's energy over all its attempts, in the units that people read.

Sums are made in integers; the properties convert for display only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from causeway.energy.convert import BILLABLE, MJ_PER_KWH, worst
from causeway.model.usage import EnergyQuality, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySummary:
    """What some work used, with the quality of its worst source."""

    device_ms: int
    cpu_ms: int
    energy_it_mj: int
    energy_facility_mj: int
    carbon_mg: int
    quality: EnergyQuality | None
    """None: nothing was accepted yet."""

    @property
    def device_h(self) -> float:
        """Device-hours."""
        return self.device_ms / 3_600_000

    @property
    def energy_it_kwh(self) -> float:
        """IT energy in kWh."""
        return self.energy_it_mj / MJ_PER_KWH

    @property
    def energy_facility_kwh(self) -> float:
        """Facility energy in kWh."""
        return self.energy_facility_mj / MJ_PER_KWH

    @property
    def carbon_g(self) -> float:
        """Grams of CO2e, location-based."""
        return self.carbon_mg / 1000

    @property
    def power_w_per_device(self) -> float:
        """Mean IT power of one device while it was leased; 0 before any usage."""
        return self.energy_it_mj / self.device_ms if self.device_ms else 0.0

    @property
    def estimated(self) -> bool:
        """Whether some of it was modelled or sampled, not counted by a meter."""
        return self.quality is not None and self.quality not in BILLABLE


def summary(usages: Sequence[Usage]) -> EnergySummary:
    """Sum up attempts; those without an accepted tick do not touch the quality."""
    ticked = [usage for usage in usages if usage.ticks]
    return EnergySummary(
        device_ms=sum(u.device_ms for u in ticked),
        cpu_ms=sum(u.cpu_ms for u in ticked),
        energy_it_mj=sum(u.energy_it_mj for u in ticked),
        energy_facility_mj=sum(u.energy_facility_mj for u in ticked),
        carbon_mg=sum(u.carbon_mg for u in ticked),
        quality=worst(u.energy_quality for u in ticked) if ticked else None,
    )
