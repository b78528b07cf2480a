"""Numbers as people read them: always with a unit, never with more digits than they carry."""

from __future__ import annotations

from datetime import UTC, datetime


def money(micros: object, currency: object = "USD") -> str:
    """Return an amount of micro-units.

    >>> money(1_234_567), money(420), money(None)
    ('1.23 USD', '0.00042 USD', '-')
    """
    if not isinstance(micros, int | float):
        return "-"
    amount = micros / 1_000_000
    digits = 2 if amount == 0 or abs(amount) >= 0.01 else 6
    text = f"{amount:,.{digits}f}"
    return f"{text.rstrip('0') if digits == 6 else text} {currency or 'USD'}"


def seconds(value: object) -> str:
    """Return a duration.

    >>> seconds(0.4), seconds(75), seconds(7300), seconds(200000)
    ('0.4 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    if not isinstance(value, int | float):
        return "-"
    if value < 60:
        return f"{value:.1f} s" if value < 10 and value != int(value) else f"{value:.0f} s"
    whole = int(value)
    for unit, size, below, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")


def size(value: object) -> str:
    """Return an amount of bytes.

    >>> size(512), size(3 * 2**30)
    ('512 B', '3.0 GiB')
    """
    if not isinstance(value, int | float):
        return "-"
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1024 or unit == "PiB":
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    raise AssertionError("unreachable")


def energy(millijoules: object) -> str:
    """Return energy in kWh, or Wh where there is little of it.

    >>> energy(7_200_000_000), energy(3_600_000)
    ('2.00 kWh', '1.00 Wh')
    """
    if not isinstance(millijoules, int | float):
        return "-"
    watt_hours = millijoules / 3_600_000
    return f"{watt_hours / 1000:,.2f} kWh" if watt_hours >= 1000 else f"{watt_hours:.2f} Wh"


def carbon(milligrams: object) -> str:
    """Return an amount of CO2e.

    >>> carbon(1500), carbon(2_500_000)
    ('1.5 gCO2e', '2.50 kgCO2e')
    """
    if not isinstance(milligrams, int | float):
        return "-"
    grams = milligrams / 1000
    return f"{grams / 1000:,.2f} kgCO2e" if grams >= 1000 else f"{grams:.1f} gCO2e"


def instant(ms: object) -> str:
    """Return an instant in the local zone, named; empty when there is none."""
    if not isinstance(ms, int | float) or ms <= 0:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def number(value: object, digits: int = 2, unit: str = "") -> str:
    """Return a plain number, or `-` when it is not known."""
    if isinstance(value, str):
        value = float(value) if value.replace(".", "", 1).isdigit() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return f"{value:,.{digits}f}{' ' + unit if unit else ''}"


def local_id(identifier: object) -> str:
    """Return the part of an identifier that a person types.

    >>> local_id("urn:cpi:demo:job:01abc")
    '01abc'
    """
    return str(identifier or "").rpartition(":")[2]
