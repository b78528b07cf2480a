"""The cheapest hours of a window, exactly and for every window at once.

A job of `length` hours that may start at hour i and has `slack` hours to spare can be run, at best,

    in one piece     in the cheapest run of `length` hours within [i, i + slack + length)
    interruptibly    in the `length` cheapest hours of it

The first is a minimum over a sliding window of sums. The second asks for the sum of the k least of
a range, for which `Cheapest` keeps a wavelet matrix (Claude and Navarro, 2012) over the hours'
ranks with a prefix sum at each level: a query descends one level for each bit of the rank, taking
the whole low half when it has at most k members. All queries descend together.

Hours can be of anything that adds up: gCO2/kWh, a price, or a weighted sum of both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sums(hours: Floats, length: int) -> Floats:
    """Return the sum of each run of `length` hours, by its first; shape (len - length + 1,)."""
    total = np.concatenate([[0.0], np.cumsum(hours)])
    run: Floats = total[length:] - total[: len(total) - length]
    return run


def sliding_least(values: Floats, reach: int) -> Floats:
    """Return, for each i, the least of values[i : i + reach + 1]; the end is cut short.

    >>> sliding_least(np.array([3.0, 1.0, 2.0, 5.0]), 1).tolist()
    [1.0, 1.0, 2.0, 5.0]
    """
    least, covered = values.astype(np.float64), 1
    while covered < min(reach + 1, len(values)):
        ahead = min(covered, reach + 1 - covered)
        least[: len(least) - ahead] = np.minimum(least[: len(least) - ahead], least[ahead:])
        covered += ahead
    return least


class Cheapest:
    """Answers what the k cheapest hours of any window of one series cost."""

    def __init__(self, hours: Floats) -> None:
        """Index a series; n hours take about 2 n log2(n) numbers."""
        self._bits = max(1, (len(hours) - 1).bit_length())
        order = np.argsort(hours, kind="stable")
        rank = np.empty(len(hours), np.int64)
        rank[order] = np.arange(len(hours))
        self._zeros: list[Ints] = []
        self._low: list[Floats] = []
        values = hours.astype(np.float64)
        for bit in range(self._bits - 1, -1, -1):
            zero = (rank >> bit) & 1 == 0
            self._zeros.append(_prefix(zero).astype(np.int64))
            self._low.append(_prefix(np.where(zero, values, 0.0)))
            place = np.argsort(~zero, kind="stable")
            rank, values = rank[place], values[place]
        self._last = _prefix(values)

    def cost(self, first: Ints, end: Ints, count: Ints | int) -> Floats:
        """Return the sum of the `count` cheapest of hours[first:end]; windows are not empty.

        Where a window has fewer hours than `count`, all of them are summed.
        """
        left, right = np.asarray(first).copy(), np.asarray(end).copy()
        many = np.minimum(np.broadcast_to(count, left.shape), right - left)
        total = np.zeros(left.shape)
        for zeros, low in zip(self._zeros, self._low, strict=True):
            from_zero, to_zero = zeros[left], zeros[right]
            takes_low = many >= to_zero - from_zero
            total += np.where(takes_low, low[right] - low[left], 0.0)
            many = np.where(takes_low, many - (to_zero - from_zero), many)
            left = np.where(takes_low, zeros[-1] + left - from_zero, from_zero)
            right = np.where(takes_low, zeros[-1] + right - to_zero, to_zero)
        right = np.minimum(right, left + many)
        total += self._last[right] - self._last[left]
        return total


def _prefix(values: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([[0], np.cumsum(values)])


def least_in_one_piece(hours: Floats, length: int, slack: int) -> Floats:
    """Return the least sum of a run of `length` hours for each first hour it may start at."""
    return sliding_least(sums(hours, length), slack)


def least_in_pieces(cheapest: Cheapest, count: int, length: int, slack: int) -> Floats:
    """Return the least sum of `length` hours of the window of each possible first hour.

    Args:
        cheapest: of the series.
        count: how many hours the series has.
        length: of the job, in hours.
        slack: hours to spare; windows are cut at the end of the series.
    """
    first = np.arange(count - length + 1)
    return cheapest.cost(first, np.minimum(first + slack + length, count), length)
