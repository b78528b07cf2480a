"""Fair shares of one fleet: who is entitled to how much of it, given what everybody wants.

A share is dominant (Ghodsi et al., DRF, NSDI 2011): the largest part of any one kind of resource.
Fair shares are max-min by weight: nobody is given more than it asks for, and what it leaves is
divided among the others by their weights, again and again (water-filling).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Need = tuple[int, ...]
"""Amount of each kind, in the order of the fleet's columns."""


def dominant(amount: Sequence[int], total: Sequence[int]) -> float:
    """Return the largest part of any one kind; a kind of which there is nothing counts nothing.

    >>> dominant((2, 10), (8, 20))
    0.5
    """
    return max((a / t for a, t in zip(amount, total, strict=True) if t > 0), default=0.0)


def fair_shares(wanted: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Return each queue's fair share; `wanted` is its demand as a dominant share.

    >>> fair_shares({"a": 0.1, "b": 2.0, "c": 2.0}, {"a": 1.0, "b": 1.0, "c": 2.0})
    {'a': 0.1, 'b': 0.3, 'c': 0.6}
    """
    fair: dict[str, float] = {}
    left, weight = 1.0, sum(weights[name] for name in wanted)
    # Who is satisfied first has the least demand for its weight.
    for name in sorted(wanted, key=lambda q: (wanted[q] / weights[q], q)):
        part = left * weights[name] / weight if weight > 0 else 0.0
        fair[name] = min(wanted[name], part)
        left -= fair[name]
        weight -= weights[name]
    return fair
