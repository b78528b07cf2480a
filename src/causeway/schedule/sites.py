"""Choosing an island by one figure alone: what brokers without a common scale do.

They are here to be measured against. Each returns the islands that it would try, best first; what
is lawful and has room is the caller's to check, as it is for `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An island as such a broker sees it."""

    name: str
    usd_per_device_h: float
    rtt_ms: Mapping[str, float]
    """Round trip from each other island."""


def at_home(home: str, sites: Sequence[Site]) -> list[int]:
    """Return the job's own island and no other."""
    return [index for index, site in enumerate(sites) if site.name == home]


def nearest_first(home: str, sites: Sequence[Site]) -> list[int]:
    """Return the islands by their round trip from where the job's data lies."""
    return sorted(range(len(sites)), key=lambda i: (sites[i].rtt_ms[home], sites[i].name))


def cheapest_first(home: str, sites: Sequence[Site]) -> list[int]:
    """Return the islands by price; the home goes first among equals."""
    return sorted(
        range(len(sites)),
        key=lambda i: (sites[i].usd_per_device_h, sites[i].name != home, sites[i].name),
    )


SITES: Mapping[str, Callable[[str, Sequence[Site]], list[int]]] = {
    "single-island": at_home,
    "nearest-first": nearest_first,
    "cheapest-first": cheapest_first,
}
