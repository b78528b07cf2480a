"""Sharing a whole number out so that the parts are whole and add up to it, always.

Money and joules are both integers that several parties share. Rounding each part by itself loses or
invents units; the largest-remainder (Hamilton) method does not: every part is within one unit of
its exact value and the sum is the total. Ties go to the earlier part, so the same input gives the
same parts on every machine, and a negative total gives exactly the mirrored parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from causeway.model.errors import InvalidInput


def apportion(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Return whole parts of `total` in proportion to `weights`, which sum to `total`.

    >>> apportion(100, (1, 1, 1))
    (34, 33, 33)
    >>> apportion(-100, (1, 1, 1))
    (-34, -33, -33)

    `InvalidInput` when a weight is negative or all are zero: then nobody can take the total.
    """
    if any(weight < 0 for weight in weights):
        raise InvalidInput("a weight may not be negative")
    whole = sum(weights)
    if whole == 0:
        raise InvalidInput("at least one weight must be above zero")
    size = abs(total)
    parts = [size * weight // whole for weight in weights]
    remainders = [size * weight % whole for weight in weights]
    left = size - sum(parts)
    by_remainder = sorted(range(len(parts)), key=lambda index: (-remainders[index], index))
    for index in by_remainder[:left]:
        parts[index] += 1
    return tuple(parts if total >= 0 else [-part for part in parts])
