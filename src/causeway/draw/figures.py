"""Numbers as people read them: exact, with unit and period, never rounded into a lie.

Money, energy and carbon arrive as integers (micro-units, millijoules, milligrams). Money keeps
every digit that matters; energy and carbon say their unit. A missing figure is a dash, not a zero.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

DASH = "–"
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "CN¥", "JPY": "¥"}


def money(micros: int, currency: str = "USD", *, digits_min: int = 2) -> str:
    """Return the exact amount: at least two decimals, and more only where they are not zero.

    >>> money(1_500_000), money(12_345), money(-7, "EUR"), money(2_310_000, "XAU")
    ('$1.50', '$0.012345', '−€0.000007', '2.31 XAU')
    """
    sign = "−" if micros < 0 else ""
    whole, part = divmod(abs(micros), 1_000_000)
    digits = f"{part:06d}".rstrip("0").ljust(digits_min, "0")
    amount = f"{whole:,}.{digits}" if digits else f"{whole:,}"
    symbol = _SIGNS.get(currency)
    return f"{sign}{symbol}{amount}" if symbol else f"{sign}{amount} {currency}"


def price(amount: Decimal, currency: str = "USD") -> str:
    """Return a price with its period; a price without a period says nothing.

    >>> price(Decimal("2.31"))
    '$2.31/device·h'
    >>> price(Decimal("0.00000005"), "XAU")
    '0.00000005 XAU/device·h'
    """
    digits = f"{amount.normalize():f}"
    if -amount.normalize().as_tuple().exponent < 2:  # type: ignore[operator]
        digits = f"{amount:.2f}"
    symbol = _SIGNS.get(currency)
    return (f"{symbol}{digits}" if symbol else f"{digits} {currency}") + "/device·h"


def energy(mj: int) -> str:
    """Return energy in Wh or kWh.

    >>> energy(0), energy(3_600_000), energy(1_800_000_000), energy(9_000_000_000)
    ('0 Wh', '1 Wh', '500 Wh', '2.5 kWh')
    """
    wh = mj / 3_600_000
    return f"{_short(wh / 1000)} kWh" if wh >= 1000 else f"{_short(wh)} Wh"


def carbon(mg: int) -> str:
    """Return carbon in grams or kilograms of CO2e.

    >>> carbon(1_500), carbon(2_500_000)
    ('1.5 gCO₂e', '2.5 kgCO₂e')
    """
    grams = mg / 1000
    return f"{_short(grams / 1000)} kgCO₂e" if grams >= 1000 else f"{_short(grams)} gCO₂e"


def span(ms: int) -> str:
    """Return a length of time in its two largest units.

    >>> span(350), span(8_200), span(125_000), span(7_260_000), span(200_000_000)
    ('350 ms', '8.2 s', '2 min 5 s', '2 h 1 min', '2 d 7 h')
    """
    if ms < 1000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{_short(ms / 1000)} s"
    units = (
        (86_400_000, "d", 3_600_000, "h"),
        (3_600_000, "h", 60_000, "min"),
        (0, "min", 1000, "s"),
    )
    for large, name, small, name_small in units:
        step = large or 60_000
        if ms >= large:
            first, rest = divmod(ms, step)
            second = rest // small
            return f"{first} {name} {second} {name_small}" if second else f"{first} {name}"
    raise AssertionError("the last row takes every length")


def ago(at_ms: int, now_ms: int) -> str:
    """Return how long ago an instant was, coarse enough to read at a glance.

    >>> ago(0, 5), ago(1_000, 1_500), ago(1_000, 200_000), ago(9_000, 4_000)
    ('–', 'now', '3 min ago', 'in 5 s')
    """
    if at_ms <= 0:
        return DASH
    gap = now_ms - at_ms
    text = _coarse(abs(gap))
    if abs(gap) < 1000:
        return "now"
    return f"{text} ago" if gap > 0 else f"in {text}"


def _coarse(ms: int) -> str:
    for unit_ms, name in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min")):
        if ms >= unit_ms:
            return f"{ms // unit_ms} {name}"
    return f"{ms // 1000} s"


def instant(at_ms: int) -> str:
    """Return an absolute instant with its zone.

    >>> instant(1_700_000_000_123)
    '2023-11-14 22:13:20 UTC'
    """
    if at_ms <= 0:
        return DASH
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at_ms: int) -> str:
    """Return an instant for machines (ISO 8601, UTC, milliseconds)."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def size(count: int) -> str:
    """Return bytes in binary units.

    >>> size(512), size(2 * 1024**3), size(1536)
    ('512 B', '2 GiB', '1.5 KiB')
    """
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{_short(value)} {unit}"
        value /= 1024
    raise AssertionError("the last unit takes every size")


def cores(milli: int) -> str:
    """Return thousandths of a core as cores.

    >>> cores(1500), cores(4000)
    ('1.5', '4')
    """
    return _short(milli / 1000)


def percent(value: float) -> str:
    """Return a ratio as a percentage.

    >>> percent(0.123), percent(1)
    ('12%', '100%')
    """
    return f"{value * 100:.0f}%"


def plain(value: float) -> str:
    """Return a float with three significant digits and no exponent."""
    return _short(value)


def _short(value: float) -> str:
    """Three significant digits below 100, whole numbers with separators above."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:,.0f}"
    digits = 1 if magnitude >= 10 else 2 if magnitude >= 1 else 3 if magnitude >= 0.1 else 5
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")
