"""Rating: usage and one immutable price version give an amount, exactly.

The exact amount is a fraction; it is rounded once, half to even, to whole micro-units. Work is
rated again and again while it runs, so what is posted is always the difference of two rounded
*totals*, never a rounded difference:

    post_i = R(p * Q_i) - R(p * Q_(i-1))        hence        sum(post) = R(p * Q_n)

whatever the number and size of the steps. Energy counts only when the price has a kWh part, and
callers pass only energy that a meter or counter vouches for.
"""

from __future__ import annotations

from fractions import Fraction

from causeway.model.errors import InvalidInput
from causeway.model.money import Price
from causeway.model.usage import Usage

MICROS = 1_000_000
MS_PER_H = 3_600_000
MJ_PER_KWH = 3_600_000_000


def exact_micros(price: Price, *, device_ms: int, energy_facility_mj: int) -> Fraction:
    """Return the amount in micro-units before rounding."""
    if device_ms < 0 or energy_facility_mj < 0:
        raise InvalidInput("usage may not be negative", where="usage")
    if not price.amount_per_device_h.is_finite() or not price.per_kwh.is_finite():
        raise InvalidInput(f"price {price.id} is not a number", where="price")
    by_time = Fraction(price.amount_per_device_h) * Fraction(device_ms, MS_PER_H)
    by_energy = Fraction(price.per_kwh) * Fraction(energy_facility_mj, MJ_PER_KWH)
    return (by_time + by_energy) * MICROS


def charge_micros(price: Price, *, device_ms: int, energy_facility_mj: int) -> int:
    """Return the amount for a total of usage, in micro-units, rounded half to even.

    >>> from decimal import Decimal
    >>> p = Price(id="p", amount_per_device_h=Decimal("0.05"), per_kwh=Decimal("0.20"))
    >>> charge_micros(p, device_ms=3_600_000, energy_facility_mj=1_800_000_000)
    150000
    """
    return round(exact_micros(price, device_ms=device_ms, energy_facility_mj=energy_facility_mj))


def charge_between_micros(price: Price, *, before: Usage, after: Usage) -> int:
    """Return what the usage between two running totals costs; such steps never drift."""
    return usage_micros(price, after) - usage_micros(price, before)


def usage_micros(price: Price, usage: Usage) -> int:
    """Return the amount for all accepted usage of an attempt."""
    return charge_micros(
        price, device_ms=usage.device_ms, energy_facility_mj=usage.energy_billable_mj
    )
