"""What an island's owner declares, checked for what cannot be.

A profile is a claim, and it comes from outside. A PUE below one, a negative price or a coordinate
off the globe would spread into bills, scores and maps, so such a profile is refused at joining and,
should one be there already, its island is not offered.
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite

from causeway.model.errors import InvalidInput
from causeway.model.islands import Profile, probe_endpoint

NAME_CHARS_MAX = 60
"""Longer names leave no room for what identifiers add to them."""
PRICE_MAX = Decimal(1_000_000)
CARBON_G_PER_KWH_MAX = 5_000.0
"""Several times the dirtiest grid."""
CACHE_BYTES_MAX = 2**50
INTERRUPTIONS_PER_DAY_MAX = 1_440.0
"""One a minute."""


def flaws(profile: Profile) -> tuple[str, ...]:
    """Return what is impossible in a profile, in whole sentences; empty when it can be used."""
    amount = profile.price_per_device_h
    checks = (
        (1 <= len(profile.name) <= NAME_CHARS_MAX, f"name has 1 to {NAME_CHARS_MAX} characters."),
        (bool(profile.provider), "provider names the party that is paid."),
        (_is_country(profile.jurisdiction), "jurisdiction is a country, as `NO`."),
        (
            not profile.operator_country or _is_country(profile.operator_country),
            "operator_country is a country, as `NO`, or empty.",
        ),
        (_between(profile.pue, 1.0, 10.0), "pue is facility over IT energy: 1 to 10."),
        (
            _between(profile.carbon_g_per_kwh, 0.0, CARBON_G_PER_KWH_MAX),
            f"carbon_g_per_kwh is 0 to {CARBON_G_PER_KWH_MAX:g}.",
        ),
        (
            amount.is_finite() and 0 <= amount <= PRICE_MAX,
            f"price_per_device_h is 0 to {PRICE_MAX}.",
        ),
        (
            len(profile.currency) == 3
            and profile.currency.isalpha()
            and profile.currency.isupper(),
            "currency is a code of three capitals, as `USD`.",
        ),
        (
            _between(profile.interruptions_per_day, 0.0, INTERRUPTIONS_PER_DAY_MAX),
            f"interruptions_per_day is 0 to {INTERRUPTIONS_PER_DAY_MAX:g}.",
        ),
        (
            _between(profile.latitude_deg, -90.0, 90.0)
            and _between(profile.longitude_deg, -180.0, 180.0),
            "latitude_deg is -90 to 90 and longitude_deg -180 to 180.",
        ),
        (_is_reachable(profile.probe_address), "probe_address is host:port, or empty."),
        (_is_reachable(profile.content_address), "content_address is host:port, or empty."),
        (
            0 <= profile.content_cache_bytes <= CACHE_BYTES_MAX,
            "content_cache_bytes is 0 to a pebibyte.",
        ),
        (
            not profile.content_address or profile.content_cache_bytes > 0,
            "content_address needs content_cache_bytes: what is not kept cannot be given.",
        ),
    )
    return tuple(sentence for sound, sentence in checks if not sound)


def _is_reachable(address: str) -> bool:
    try:
        return not address or bool(probe_endpoint(address))
    except InvalidInput:
        return False


def _is_country(text: str) -> bool:
    return len(text) == 2 and _is_capitals(text)


def _is_capitals(text: str) -> bool:
    return text.isascii() and text.isalpha() and text.isupper()


def _between(value: float, low: float, high: float) -> bool:
    return isfinite(value) and low <= value <= high
