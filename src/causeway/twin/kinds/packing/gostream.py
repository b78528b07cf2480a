"""The stream of numbers that Go's math/rand gives for a seed, so that published runs can be
replayed.

The simulator whose figures we compare with draws its task order, its extra tasks and its node
names from Go's generator: an additive lagged Fibonacci sequence x[k] = x[k-607] + x[k-273] mod
2^64. For the same seed we draw the same numbers, and so replay its very arrivals instead of ones
that are alike.

Go starts from a table: the state of that sequence 7.8e12 steps after a seeding. The recurrence is
linear, so the table is computed here by raising x to that power modulo its characteristic
polynomial x^607 - x^334 - 1, in some milliseconds, instead of being carried as data.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LENGTH = 607
TAP = 273
_JUMP = 7_800_000_000_000
_LEHMER = 48_271
_MERSENNE = 2**31 - 1
_WORD = 2**64 - 1

Words = NDArray[np.uint64]


class GoStream:
    """Go's `rand.New(rand.NewSource(seed))`, as far as it is needed here.

    >>> one = GoStream(1)
    >>> [one.below(100) for _ in range(10)]
    [81, 87, 47, 59, 81, 18, 25, 40, 56, 0]
    """

    __slots__ = ("_feed", "_state", "_tap")

    def __init__(self, seed: int) -> None:
        words = _seeded(seed, shift=20)
        self._state = [word ^ mask for word, mask in zip(words, _table(), strict=True)]
        self._tap, self._feed = 0, LENGTH - TAP

    def word(self) -> int:
        """Return the next 64 bits."""
        self._tap = (self._tap - 1) % LENGTH
        self._feed = (self._feed - 1) % LENGTH
        value = (self._state[self._feed] + self._state[self._tap]) & _WORD
        self._state[self._feed] = value
        return value

    def below(self, bound: int) -> int:
        """Return a number from 0 to bound - 1 (`Intn`)."""
        if bound & (bound - 1) == 0:
            return (self.word() & (_WORD >> 1)) >> 32 & (bound - 1)
        most = 2**31 - 1 - 2**31 % bound
        while (value := (self.word() & (_WORD >> 1)) >> 32) > most:
            pass
        return value % bound

    def shuffle(self, values: MutableSequence[Any]) -> None:
        """Shuffle in place (`Shuffle`; it draws in another way than `Intn` does)."""
        for last in range(len(values) - 1, 0, -1):
            other = self._scaled(last + 1)
            values[last], values[other] = values[other], values[last]

    def permutation(self, count: int) -> list[int]:
        """Return 0..count-1 in some order (`Perm`)."""
        order = [0] * count
        for index in range(count):
            other = self.below(index + 1)
            order[index] = order[other]
            order[other] = index
        return order

    def _scaled(self, bound: int) -> int:
        product = ((self.word() & (_WORD >> 1)) >> 31) * bound
        if product & 0xFFFFFFFF < bound:
            least = (2**32 - bound) % bound
            while product & 0xFFFFFFFF < least:
                product = ((self.word() & (_WORD >> 1)) >> 31) * bound
        return product >> 32


def _seeded(seed: int, *, shift: int) -> list[int]:
    """Return the words that a seed gives, each of three Lehmer numbers shifted by 2x, 1x and 0x."""
    number = seed % _MERSENNE or 89_482_311
    words = []
    for index in range(-20, LENGTH):
        number = _LEHMER * number % _MERSENNE
        if index >= 0:
            word = number << 2 * shift
            number = _LEHMER * number % _MERSENNE
            word ^= number << shift
            number = _LEHMER * number % _MERSENNE
            words.append((word ^ number) & _WORD)
    return words


@cache
def _table() -> tuple[int, ...]:
    """Return the state 7.8e12 steps after seed 1, by position in Go's ring."""
    # Position p of the ring is written by the steps k with (LENGTH - TAP - 1 - k) mod LENGTH = p.
    place = [(LENGTH - TAP - 1 - step) % LENGTH for step in range(-LENGTH, 0)]
    start = _seeded(1, shift=10)
    series = [start[position] for position in place]
    for index in range(LENGTH, 2 * LENGTH):
        series.append((series[index - LENGTH] + series[index - TAP]) & _WORD)
    power, known = _power(_JUMP), np.array(series, dtype=np.uint64)
    table = [0] * LENGTH
    for index in range(LENGTH):
        value = (power * known[index : index + LENGTH]).sum(dtype=np.uint64)
        table[(LENGTH - TAP - 1 - (_JUMP + index - LENGTH)) % LENGTH] = int(value)
    return tuple(table)


def _power(exponent: int) -> Words:
    """Return x to that power modulo x^607 - x^334 - 1, coefficients modulo 2^64."""
    result = np.zeros(LENGTH, dtype=np.uint64)
    result[0] = 1
    for bit in bin(exponent)[2:]:
        result = _reduced(np.convolve(result, result))
        if bit == "1":
            result = _reduced(np.concatenate([np.zeros(1, dtype=np.uint64), result]))
    return result


def _reduced(polynomial: Words) -> Words:
    # In blocks of 273 from the top, the terms that a block adds lie below it.
    for top in range(len(polynomial), LENGTH, -TAP):
        low = max(LENGTH, top - TAP)
        block = polynomial[low:top].copy()
        polynomial[low - LENGTH : top - LENGTH] += block
        polynomial[low - TAP : top - TAP] += block
    return polynomial[:LENGTH]
