"""How figures are said in reasons: with units, short, the same everywhere in this room.

Only text lives here. A decision never reads these strings back; the figures themselves travel in a
reason's evidence.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from causeway.model.resources import Capacity, Resources

NAMES_MAX = 3
"""How many names a sentence lists before it says how many more there are."""


def cores(cpu_milli: int) -> str:
    """Say an amount of CPU.

    >>> cores(1500), cores(1000)
    ('1.5 cores', '1 core')
    """
    return f"{cpu_milli / 1000:g} core{'' if cpu_milli == 1000 else 's'}"


def gib(size_bytes: int) -> str:
    """Say an amount of memory or disk.

    >>> gib(3 * 2**29)
    '1.5 GiB'
    """
    return f"{size_bytes / 2**30:.3g} GiB"


def usd(amount: float) -> str:
    """Say an amount of dollars with four significant digits.

    >>> usd(0.05), usd(12), usd(0.00005)
    ('$0.05', '$12', '$0.00005')
    """
    text = f"{amount:.4g}"
    return f"${Decimal(text):f}" if "e" in text else f"${text}"


def counted(count: int, noun: str) -> str:
    """Say how many there are of something.

    >>> counted(1, "device"), counted(3, "device")
    ('1 device', '3 devices')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Say a duration in its largest fitting unit.

    >>> duration(90), duration(5400), duration(12)
    ('1.5 min', '1.5 h', '12 s')
    """
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.3g} days"
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    if seconds >= 60:
        return f"{seconds / 60:.3g} min"
    return f"{seconds:.3g} s"


def names(values: Iterable[str]) -> str:
    """List distinct names in order, at most `NAMES_MAX` of them.

    >>> names(["b", "a", "b"]), names("abcde")
    ('a and b', 'a, b, c and 2 more')
    """
    distinct = sorted(set(values))
    shown, more = distinct[:NAMES_MAX], len(distinct) - NAMES_MAX
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def amount(need: Resources, nodes: int) -> str:
    """Say what a whole job needs.

    >>> amount(Resources(cpu_milli=2000, memory_bytes=2**30), 2)
    '4 cores and 2 GiB'
    """
    parts = [cores(need.cpu_milli * nodes), gib(need.memory_bytes * nodes)]
    if need.disk_bytes:
        parts.append(f"{gib(need.disk_bytes * nodes)} of disk")
    if need.accelerator is not None:
        model = f" {need.accelerator.model}" if need.accelerator.model else ""
        parts.append(counted(need.accelerator.count * nodes, f"{model} accelerator".strip()))
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def held(capacity: Capacity, need: Resources) -> str:
    """Say what a pool holds, of the kinds that the need is about."""
    parts = [cores(capacity.cpu_milli), gib(capacity.memory_bytes)]
    if need.disk_bytes:
        parts.append(f"{gib(capacity.disk_bytes)} of disk")
    if need.accelerator is not None:
        parts.append(counted(capacity.accelerators, "accelerator"))
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
