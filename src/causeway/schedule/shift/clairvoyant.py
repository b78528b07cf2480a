"""The least that a job could have cost, had it known when there would be spot.

Exact, by dynamic programming over ticks. After t ticks, of which w were lost (idle, or owed to a
changeover), t - w units of work are done; so (t, w, where the job is) says all, and with `any` the
least over all places

    idle'[w + 1]  = any[w]
    spot'[w]      = 1 + min(spot[w], any[w - changeover])      for each zone, where there is spot
    demand'[w]    = k + min(demand[w], any[w - changeover])

A start is charged its whole changeover at once, which only rules out starts that end before it is
over; those lose more than idling does, so no best plan has one. The cost of finishing at t is at
w = t - work; the optimum for a deadline is the least over all t up to it. One sweep therefore
answers every deadline, and many starting points are swept side by side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from causeway.schedule.shift.spot import Terms

Floats = NDArray[np.float32]


def least_cost(terms: Terms, spot: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the least cost, in spot-ticks, of finishing by each tick.

    Args:
        terms: of the jobs; the deadline is not looked at.
        spot: (jobs, zones, ticks), whether there is spot, from each job's submission on; a job
            may be in any of its zones, and pays a changeover to go to another.

    Returns:
        (jobs, ticks + 1): the cost of finishing by tick t, infinite where that cannot be.
    """
    jobs, zones, ticks = spot.shape
    work, change = terms.work_ticks, terms.changeover_ticks
    slack = ticks - work
    rows = (change + slack + 1, jobs)
    """Row `change + w`; the rows before stand for a negative w, which nothing can reach."""
    now = [np.full(rows, np.inf, np.float32) for _ in range(2 + zones)]
    then = [np.full(rows, np.inf, np.float32) for _ in range(2 + zones)]
    now[0][change] = 0.0
    least = np.full((ticks + 1, jobs), np.inf, np.float32)
    for tick in range(ticks):
        low = change + max(0, tick + 1 - work)
        high = change + min(tick + 1 + change, slack) + 1
        _sweep(now, then, (low, high, change), terms.price_ratio)
        for zone in range(zones):
            then[2 + zone][low:high, ~spot[:, zone, tick]] = np.inf
        for place in then:
            place[low - change : low] = np.inf  # More work done than there is.
        now, then = then, now
        if tick + 1 >= work:
            at = change + tick + 1 - work
            np.minimum.reduce([place[at] for place in now[1:]], out=least[tick + 1])
            np.minimum(least[tick + 1], least[tick], out=least[tick + 1])
    return least.T.astype(np.float64)


def _sweep(
    now: list[Floats], then: list[Floats], band: tuple[int, int, int], price_ratio: float
) -> None:
    """Write one tick of the recurrences for the rows of a band into `then`.

    Places are idle, on demand, and spot in each zone.
    """
    low, high, change = band
    first = max(0, low - max(change, 1))
    anywhere = np.minimum.reduce([place[first:high] for place in now])
    start = anywhere[low - change - first : high - change - first]
    same = slice(low, high)
    for place, price in zip(
        range(1, len(now)), (price_ratio, *[1.0] * (len(now) - 2)), strict=True
    ):
        np.minimum(now[place][same], start, out=then[place][same])
        then[place][same] += np.float32(price)
    if low == 0:
        then[0][0] = np.inf
        then[0][1:high] = anywhere[: high - 1]
    else:
        then[0][same] = anywhere[low - 1 - first : high - 1 - first]
