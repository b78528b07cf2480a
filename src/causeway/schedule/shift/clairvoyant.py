"""The least that a job could have cost, had it known when there would be spot.

Exact, by dynamic programming over ticks. After t ticks, of which w were lost (idle, or owed to a
changeover), t - w units of work are done; so (t, w, where the job is) says all, and

    idle'[w + 1]  = min(idle, spot, demand)[w]
    spot'[w]      = 1 + min(spot[w], min(idle, demand)[w - changeover])    where there is spot
    demand'[w]    = k + min(demand[w], min(idle, spot)[w - changeover])

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
        spot: (jobs, ticks), whether there is spot, from each job's submission on.

    Returns:
        (jobs, ticks + 1): the cost of finishing by tick t, infinite where that cannot be.
    """
    work, change, ticks = terms.work_ticks, terms.changeover_ticks, spot.shape[1]
    slack = ticks - work
    rows = (change + slack + 1, len(spot))
    """Row `change + w`; the rows before stand for a negative w, which nothing can reach."""
    now = [np.full(rows, np.inf, np.float32) for _ in range(3)]
    then = [np.full(rows, np.inf, np.float32) for _ in range(3)]
    now[0][change] = 0.0
    least = np.full((ticks + 1, len(spot)), np.inf, np.float32)
    for tick in range(ticks):
        low = change + max(0, tick + 1 - work)
        high = change + min(tick + 1 + change, slack) + 1
        _sweep(now, then, (low, high, change), terms.price_ratio)
        then[1][low:high, ~spot[:, tick]] = np.inf
        for place in then:
            place[low - change : low] = np.inf  # More work done than there is.
        now, then = then, now
        if tick + 1 >= work:
            at = change + tick + 1 - work
            np.minimum(now[1][at], now[2][at], out=least[tick + 1])
            np.minimum(least[tick + 1], least[tick], out=least[tick + 1])
    return least.T.astype(np.float64)


def _sweep(
    now: list[Floats], then: list[Floats], band: tuple[int, int, int], price_ratio: float
) -> None:
    """Write one tick of the three recurrences for the rows of a band into `then`."""
    low, high, change = band
    idle, run, demand = now
    start = slice(low - change, high - change)
    same = slice(low, high)
    np.minimum(idle[start], demand[start], out=then[1][same])
    np.minimum(then[1][same], run[same], out=then[1][same])
    then[1][same] += np.float32(1)
    np.minimum(idle[start], run[start], out=then[2][same])
    np.minimum(then[2][same], demand[same], out=then[2][same])
    then[2][same] += np.float32(price_ratio)
    before = slice(low - 1, high - 1)
    if change == 0 and low == 0:
        then[0][0] = np.inf
        before, same = slice(0, high - 1), slice(1, high)
    np.minimum(idle[before], run[before], out=then[0][same])
    np.minimum(then[0][same], demand[before], out=then[0][same])
