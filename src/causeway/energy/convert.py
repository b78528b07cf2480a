"""PUE and carbon, as exact integer arithmetic with one rounding, half to even.

Power usage effectiveness is facility energy over IT energy (ISO/IEC 30134-2), here in thousandths.
Carbon is location-based: facility energy times the grid's mean intensity in mg CO2e per kWh.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from causeway.model.errors import InvalidInput
from causeway.model.usage import EnergyQuality

MJ_PER_KWH = 3_600_000_000
PUE_MILLI_MIN = 1_000
"""No facility uses less than its IT equipment."""
PUE_MILLI_MAX = 10_000

_RANK = {quality: rank for rank, quality in enumerate(EnergyQuality)}
BILLABLE = frozenset({EnergyQuality.METER, EnergyQuality.COUNTER})
"""Only a meter or a counter is good enough to bill by the kWh."""


def facility_mj(it_mj: int, pue_milli: int) -> int:
    """Return the facility energy behind an IT energy.

    >>> facility_mj(1_000, 1_250)
    1250
    """
    if it_mj < 0:
        raise InvalidInput("energy may not be negative", where="energy_mj")
    if not PUE_MILLI_MIN <= pue_milli <= PUE_MILLI_MAX:
        raise InvalidInput(
            f"a PUE of {pue_milli / 1000:g} cannot be",
            hint="PUE is facility energy over IT energy: 1 to 10",
            where="pue_milli",
        )
    return round(Fraction(it_mj * pue_milli, 1000))


def carbon_mg(energy_facility_mj: int, carbon_mg_per_kwh: int) -> int:
    """Return milligrams of CO2e for a facility energy.

    >>> carbon_mg(3_600_000_000, 30_000)  # one kWh at 30 g/kWh
    30000
    """
    if energy_facility_mj < 0 or carbon_mg_per_kwh < 0:
        raise InvalidInput("energy and intensity may not be negative", where="carbon")
    return round(Fraction(energy_facility_mj * carbon_mg_per_kwh, MJ_PER_KWH))


def worst(qualities: Iterable[EnergyQuality]) -> EnergyQuality:
    """Return the worst tier of several; a sum is only as good as its worst part.

    >>> worst([EnergyQuality.COUNTER, EnergyQuality.MODEL]).value
    'q4_model'
    """
    return max(qualities, key=_RANK.__getitem__)
