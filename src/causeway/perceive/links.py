"""Round trip and bandwidth between islands: measured where they can reach each other, else by way
of the centre.

Everything that moves between two islands moves through the centre, since islands only call out. Its
cost is therefore the sum of the two round trips and the smaller of the two bandwidths, and that is
a figure about the real path, not a guess about another one. Where one of the two lets itself be
reached, the round trip between them was measured directly and replaces the sum; the bandwidth stays
the one by way of the centre. A figure that was never measured is 0, and an old one is marked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from causeway.model.islands import Health, Island, IslandState

DIRECT, VIA_CENTRE = "direct", "via centre"
FRESH_MS = 180_000
"""Probes are taken once a minute; two may be missed."""
LINKS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What is known between two islands, in both directions."""

    a: str
    b: str
    rtt_ms: float
    """0: not measured."""
    bandwidth_mbit_s: float
    """By way of the centre; 0: not measured."""
    path: str
    """`direct` or `via centre`: what the round trip was measured on."""
    age_ms: int
    """Of the older figure that the round trip is made from."""
    fresh: bool


def between(
    islands: Sequence[Island], now_ms: int, *, of: str = "", limit: int = LINKS_MAX
) -> tuple[Link, ...]:
    """Return the links of all pairs of islands that have told figures, or those `of` one island."""
    shown = sorted(
        (i for i in islands if i.health is not None and i.state is not IslandState.LEFT),
        key=lambda island: island.id,
    )
    if of:
        pairs = ((x, y) for x, y in combinations(shown, 2) if of in (x.id, y.id))
        return tuple(_link(x, y, now_ms) for x, y in islice(pairs, limit))
    return tuple(_link(x, y, now_ms) for x, y in islice(combinations(shown, 2), limit))


def figures_age_ms(island: Island, now_ms: int) -> int:
    """Return how old the island's live figures are; since joining when it told none."""
    return max(0, now_ms - (island.health_ms or island.joined_ms))


def _link(a: Island, b: Island, now_ms: int) -> Link:
    one, other = a.health or Health(), b.health or Health()
    bandwidths = (one.bandwidth_mbit_s, other.bandwidth_mbit_s)
    direct = [
        (now_ms - x.latency_at_ms.get(y.id, 0), x.latency_ms[y.id])
        for x, y in ((a, b), (b, a))
        if y.id in x.latency_ms
    ]
    measured = one.rtt_ms > 0 and other.rtt_ms > 0
    ages = (
        figures_age_ms(a, now_ms) + one.rtt_age_ms,
        figures_age_ms(b, now_ms) + other.rtt_age_ms,
    )
    age_ms, rtt_ms, path = max(ages), one.rtt_ms + other.rtt_ms if measured else 0.0, VIA_CENTRE
    if direct and min(direct)[0] <= FRESH_MS:
        (age_ms, rtt_ms), path = min(direct), DIRECT
    return Link(
        a=a.id,
        b=b.id,
        rtt_ms=round(rtt_ms, 3),
        bandwidth_mbit_s=min(bandwidths) if all(bandwidths) else 0.0,
        path=path,
        age_ms=max(0, age_ms),
        fresh=rtt_ms > 0 and age_ms <= FRESH_MS,
    )
