"""Quantities as people write them, to integers with units.

Sizes take SI and binary units (`2GB` is 2e9 bytes, `2GiB` is 2 * 2**30); a size without a unit is
refused, because Slurm reads it as megabytes, Kubernetes as bytes and SkyPilot as gibibytes.
Durations are chains (`1h30m`); CPU is cores or thousandths (`500m`). All
arithmetic is in `Decimal`.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from causeway.model.errors import InvalidInput

BYTES_MAX = 1 << 60
CPU_MILLI_MAX = 4_096_000
DURATION_S_MAX = 10 * 365 * 86_400
MONEY_MAX = Decimal(10) ** 12

_SIZES = {
    "B": 1,
    **{p + s: 1000 ** (i + 1) for i, p in enumerate("KMGTP") for s in ("", "B")},
    **{p + s: 1024 ** (i + 1) for i, p in enumerate("KMGTP") for s in ("i", "iB")},
}
_SIZE_BY_FOLD = {name.casefold(): factor for name, factor in _SIZES.items()}
_TIMES = {
    **dict.fromkeys(("ms",), Decimal("0.001")),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), Decimal(1)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), Decimal(3600)),
    **dict.fromkeys(("d", "day", "days"), Decimal(86_400)),
    **dict.fromkeys(("w", "week", "weeks"), Decimal(604_800)),
}
_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,9})?"
_QUANTITY = re.compile(rf"\s*(-?{_NUMBER})\s*([A-Za-z]*)\s*\Z")
_CHAIN = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]+)")


def shown(value: object) -> str:
    """Return a value for an error message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def size_bytes(value: object, where: str) -> int:
    """Parse a size with a unit.

    >>> size_bytes("2GiB", "$"), size_bytes("2 GB", "$")
    (2147483648, 2000000000)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InvalidInput(
            f"{shown(value)} has no unit", where=where, hint=f"write {shown(value)}GiB, MiB or GB"
        )
    match = _QUANTITY.match(value) if isinstance(value, str) else None
    if match is None:
        raise InvalidInput(f"{shown(value)} is not a size", where=where, hint="e.g. 2GiB or 500 MB")
    number, unit = match.groups()
    if not unit:
        raise InvalidInput(
            f"{shown(value)} has no unit", where=where, hint=f"write {number}GiB, MiB or GB"
        )
    factor = _SIZE_BY_FOLD.get(unit.casefold())
    if factor is None:
        near = difflib.get_close_matches(
            unit, ["GB", "GiB", "MB", "MiB", "TB", "TiB", "KiB"], 1, 0.3
        )
        raise InvalidInput(
            f"unit {unit!r} is not a size",
            where=where,
            hint=f"did you mean {number}{near[0] if near else 'GiB'}? "
            "known: KB MB GB TB PB, KiB MiB GiB TiB PiB",
        )
    found = Decimal(number) * factor
    if found < 0:
        raise InvalidInput(f"{shown(value)} is negative", where=where)
    if found > BYTES_MAX:
        raise InvalidInput(f"{shown(value)} is more than the most, 1 EiB", where=where)
    return int(found)


def cpu_milli(value: object, where: str) -> int:
    """Parse cores into thousandths of a core.

    >>> cpu_milli(2, "$"), cpu_milli("500m", "$"), cpu_milli(0.5, "$")
    (2000, 500, 500)
    """
    number = value
    scale = 1000
    if isinstance(value, str) and value.strip().endswith("m"):
        number, scale = value.strip()[:-1], 1
    found = decimal(number, where, what="a number of cores", hint="e.g. 2, 0.5 or 500m") * scale
    if found < 1:
        raise InvalidInput(
            f"{shown(value)} is less than a thousandth of a core", where=where, hint="at least 1m"
        )
    if found > CPU_MILLI_MAX:
        raise InvalidInput(f"{shown(value)} is more than the most, 4096 cores", where=where)
    return int(found)


def decimal(value: object, where: str, *, what: str = "a number", hint: str = "") -> Decimal:
    """Read a finite number exactly, from an integer, a float's shortest text, or a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidInput(f"{shown(value)} is not {what}", where=where, hint=hint)
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        raise InvalidInput(f"{shown(value)} is not {what}", where=where, hint=hint) from None
    if not found.is_finite():
        raise InvalidInput(f"{shown(value)} is not a finite number", where=where, hint=hint)
    if found and abs(found.adjusted()) > 30:
        raise InvalidInput(f"{shown(value)} is out of any sensible range", where=where, hint=hint)
    return found


def duration_s(value: object, where: str) -> float:
    """Parse a duration with units.

    >>> duration_s("1h30m", "$"), duration_s("90 s", "$")
    (5400.0, 90.0)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InvalidInput(
            f"{shown(value)} has no unit", where=where, hint="write e.g. 30s, 20m, 2h or 1h30m"
        )
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{shown(value)} is not a duration", where=where, hint="e.g. 30s or 2h")
    total, at = Decimal(0), 0
    while at < len(value.rstrip()):
        match = _CHAIN.match(value, at)
        if match is None:
            raise InvalidInput(
                f"{shown(value)} is not a duration",
                where=where,
                hint="numbers with units, e.g. 30s, 20m, 2h or 1h30m",
            )
        number, unit = match.groups()
        if unit.casefold() not in _TIMES:
            raise InvalidInput(
                f"unit {unit!r} is not a time", where=where, hint="known: ms s m h d w"
            )
        total += Decimal(number) * _TIMES[unit.casefold()]
        at = match.end()
    if total > DURATION_S_MAX:
        raise InvalidInput(f"{shown(value)} is more than ten years", where=where)
    return float(total)


def money(value: object, where: str) -> Decimal:
    """Parse an amount of US dollars: `5`, `"5.00 USD"`, `"$5"`."""
    number = value
    if isinstance(value, str):
        text = value.strip().removeprefix("$").strip()
        match = re.match(r"(.*[0-9])\s*([A-Za-z]{3})\Z", text)
        if match:
            text, currency = match[1], match[2].upper()
            if currency != "USD":
                raise InvalidInput(
                    f"currency {currency} is not supported",
                    where=where,
                    hint="budgets and caps are in USD, e.g. 5.00 USD",
                )
        number = text
    found = decimal(number, where, what="an amount of money", hint="e.g. 5.00 USD")
    if found < 0:
        raise InvalidInput(f"{shown(value)} is negative", where=where)
    if found > MONEY_MAX:
        raise InvalidInput(f"{shown(value)} is more than the most, {MONEY_MAX:,} USD", where=where)
    return found


def micros(value: object, where: str) -> int:
    """Parse an amount of US dollars into micro-dollars, exactly."""
    found = money(value, where) * 1_000_000
    if found != int(found):
        raise InvalidInput(
            f"{shown(value)} has more than six decimal places", where=where, hint="e.g. 5.00 USD"
        )
    return int(found)


def since_ms(value: str, where: str, *, now_ms: int) -> int:
    """Parse what `since` takes: a span that ends now, or an instant with a zone.

    >>> since_ms("10m", "$", now_ms=1_000_000)
    400000
    """
    if "-" in value or "T" in value:
        return instant_ms(value, where)
    return max(0, now_ms - round(duration_s(value, where) * 1000))


def instant_ms(value: object, where: str) -> int:
    """Parse an ISO 8601 instant with a zone into milliseconds since the Unix epoch."""
    hint = "ISO 8601 with a zone, e.g. 2027-03-01T18:00:00+01:00 or ...Z"
    if not isinstance(value, str):
        raise InvalidInput(f"{shown(value)} is not an instant", where=where, hint=hint)
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        raise InvalidInput(f"{shown(value)} is not an instant", where=where, hint=hint) from None
    if found.tzinfo is None:
        raise InvalidInput(f"{shown(value)} has no time zone", where=where, hint=hint)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    since = found - epoch
    ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if ms <= 0:
        raise InvalidInput(f"{shown(value)} is before 1970", where=where, hint=hint)
    return ms
