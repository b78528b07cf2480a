"""Ours: devices where they bring the most weighted progress, the weight by rank of what is left.

For jobs of equal, concave speed-up k^p on a divisible fleet the mean completion time is least when
the j-th largest of them (1 = largest) gets a share of the fleet that grows with j in a known way
(heSRPT: Berg, Vesilo and Harchol-Balter, SIGMETRICS 2020). Read backwards, that share is what
maximises the sum of weight x speed with

    weight(j) = (j^q - (j-1)^q)^(1-p),   q = 1/(1-p)

so a small remainder weighs more, but never everything. The weight is all that is taken from it:
speeds are learnt curves, a job has part of one node or whole nodes, the division is exact
(`divide`), and p is what the curves say, the mean elasticity from one device to an equal share.
A job's remainder and its speed are both measured against its goodput on an equal share of the
fleet, so that a job that scales badly counts as the long one that it is.

A change of shape must pay within a horizon: goodput on another share counts for
(horizon - restart) / horizon. A job of which nothing is known yet gets devices first of all,
however few: a minute tells its curve, and nothing else does.

What it has to be told is the work that is left, as a training script knows it (steps or epochs
to go). Where that is not said, only a chance is known: of a job that has had `a` seconds, that it
goes on for more than x is taken to be a / (a + x), the heavy tail that lengths of training jobs
have, with no scale of its own. A job's rank is then one more than the number of others that are
expected to outlast it, and need not be whole (`ranks`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from causeway.schedule.elastic.allot import divide, whole_nodes
from causeway.schedule.elastic.asking import Asking, Fleet
from causeway.schedule.elastic.curve import Floats
from causeway.schedule.elastic.pack import Shape, devices_of, pack

HORIZON_S = 300.0
"""In which a change of shape has to pay for its restart: some rounds, an epoch or two."""
_FIRST_S = 60.0
"""What a job is taken to have had when it has had next to nothing, or nothing is known of it."""


def causeway(askings: Sequence[Asking], fleet: Fleet) -> dict[str, Shape]:
    """Return who runs where."""
    fair = max(fleet.devices // len(askings), 1)
    unit = [float(asking.goodput[min(fair, asking.devices_most)]) for asking in askings]
    left_s = [_left_s(asking, speed) for asking, speed in zip(askings, unit, strict=True)]
    told = np.array([asking.work_left is not None for asking in askings])
    rank, power = ranks(np.array(left_s), told), elasticity(askings, fair)
    weights = (rank ** (1 / (1 - power)) - (rank - 1) ** (1 / (1 - power))) ** (1 - power)
    values = [
        _value(asking, fleet, scale=weight / speed)
        for asking, weight, speed in zip(askings, weights, unit, strict=True)
    ]
    first = 1.0 + sum(float(value.max()) for value in values)
    for asking, value in zip(askings, values, strict=True):
        if not asking.known:
            value[1:] = first
    order = sorted(range(len(askings)), key=left_s.__getitem__)
    shares = divide([values[index] for index in order], fleet.devices)
    return pack(
        {askings[index].name: share for index, share in zip(order, shares, strict=True)},
        {asking.name: asking.held for asking in askings},
        nodes=fleet.nodes,
        per_node=fleet.per_node,
    )


def ranks(left_s: Floats, told: NDArray[np.bool_]) -> Floats:
    """Return each job's rank from the largest remainder: 1 + the chances that others outlast it.

    `left_s` is the remainder where `told`, else what the job has had so far.

    >>> ranks(np.array([9.0, 1.0, 4.0]), np.array([True, True, True]))
    array([1., 3., 2.])
    >>> ranks(np.array([5.0, 5.0]), np.array([False, False]))
    array([1.5, 1.5])
    """
    mine, other = left_s[None, :], left_s[:, None]
    ratio = other / mine
    away = np.abs(ratio - 1.0) > 1e-3
    apart = np.where(away, ratio - 1.0, 1.0)
    both_guessed = np.where(away, ratio * (apart - np.log(ratio)) / apart**2, 0.5)
    both_told = np.where(other > mine, 1.0, np.where(other < mine, 0.0, 0.5))
    one_told = other / (other + mine)
    same = told[:, None] == told[None, :]
    chance = np.where(same, np.where(told[None, :], both_told, both_guessed), one_told)
    np.fill_diagonal(chance, 0.0)
    return np.asarray(1.0 + chance.sum(axis=0))


def elasticity(askings: Sequence[Asking], fair: int) -> float:
    """Return p: the mean over known jobs of log(speed-up) / log(devices) on an equal share."""
    devices = max(fair, 2)
    found = [
        math.log(asking.goodput[at] / asking.goodput[1]) / math.log(at)
        for asking in askings
        if asking.known and (at := min(devices, asking.devices_most)) > 1
    ]
    return min(max(sum(found) / len(found), 0.05), 0.95) if found else 0.5


def _left_s(asking: Asking, speed: float) -> float:
    """Return the seconds to the end on an equal share where it is told, else those behind it."""
    if not asking.known:
        return _FIRST_S
    if asking.work_left is not None:
        return asking.work_left / speed
    return max(asking.work_done / speed, _FIRST_S)


def _value(asking: Asking, fleet: Fleet, *, scale: float) -> Floats:
    held = devices_of(asking.held)
    paid = max(HORIZON_S - fleet.restart_s, 0.0) / HORIZON_S
    shares = np.arange(len(asking.goodput))
    value = scale * asking.goodput * np.where(shares == held, 1.0, paid)
    return whole_nodes(value, fleet.per_node)
