"""Seconds that a step of data-parallel training takes, as a curve with seven numbers.

The model is that of Pollux (Qiao et al., OSDI 2021, section 3.2): computing grows linearly with
the samples per device, exchanging gradients grows linearly with the devices beyond two and has
its own numbers within a node and across nodes, and the two overlap to a degree g in [1, 10]:

    step_s = (compute_s^g + exchange_s^g)^(1/g)

A step that only accumulates gradients exchanges nothing and takes `compute_s`. The numbers are
learnt from what the job itself measured, by `fit`. What has not been measured yet is taken to be
free, so that a policy will try it: a job that never ran across nodes has, at first, the exchange
that it has within one, and a job that ran on one device only has none.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST = 1e-8
"""Seconds that stand for nothing; the model takes logarithms."""
OVERLAP_MOST = 10.0
"""Beyond it the two terms overlap entirely, for all that a measurement can tell."""
_ROUNDS = 25
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Curve:
    """Seven numbers of one job's speed. All times in seconds, per device."""

    compute_s: float
    compute_s_per_sample: float
    across_s: float
    """Exchange over nodes, between two devices."""
    across_s_per_device: float
    within_s: float
    """Exchange inside a node, between two devices."""
    within_s_per_device: float
    overlap: float


def compute_s(curve: Curve, samples: Floats) -> Floats:
    """Return the seconds of one pass over `samples` per device.

    >>> float(compute_s(Curve(0.1, 0.01, 1, 0, 1, 0, 1), np.array(20.0)))
    0.30000000000000004
    """
    return curve.compute_s + curve.compute_s_per_sample * samples


def step_s(curve: Curve, *, nodes: Floats, devices: Floats, samples: Floats) -> Floats:
    """Return the seconds of a step that ends with an exchange of gradients."""
    computed = compute_s(curve, samples)
    beyond = np.maximum(devices - 2.0, LEAST)
    exchanged = np.where(
        nodes > 1,
        curve.across_s + curve.across_s_per_device * beyond,
        np.where(devices > 1, curve.within_s + curve.within_s_per_device * beyond, LEAST),
    )
    longer = np.maximum(computed, exchanged)
    ratio = np.minimum(computed, exchanged) / longer
    return np.asarray(longer * (1.0 + ratio**curve.overlap) ** (1.0 / curve.overlap))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Steps of one job that were timed; arrays of one length."""

    nodes: Floats
    devices: Floats
    samples: Floats
    """Per device and pass."""
    compute_s: Floats
    step_s: Floats


def fit(measured: Measured, before: Curve | None = None) -> Curve:
    """Return the curve that lies nearest to what was measured.

    `before` is a curve of fewer measurements to start from, which saves most of the work.

    Nearest means the least sum of the root mean squares of the two logarithmic errors (passes and
    steps), of 1e-3 (overlap - 1)^2 and of 1e-2 times the squared ratios of growth to start of
    both exchanges, as Pollux has it. Found by Gauss-Newton steps on the logarithms of the numbers,
    damped (Levenberg), the two error blocks weighted anew each time by what is left of them.
    """
    point, free = _start(measured, before)
    if free.any():
        point = _descend(measured, point, free)
    numbers = np.exp(point[:6])
    if not (measured.nodes > 1).any():
        # Never seen across nodes: not cheaper than within one.
        numbers[2] = max(numbers[2], numbers[4] * 1.1)
        numbers[3] = max(numbers[3], numbers[5] * 1.1)
    return Curve(*(float(number) for number in (*numbers, point[6])))


def _start(measured: Measured, before: Curve | None) -> tuple[Floats, NDArray[np.bool_]]:
    """Return where to start, and which of the seven the measurements can tell at all."""
    point = np.array([np.log(0.1), np.log(0.01)] * 3 + [1.001])
    if before is not None:
        earlier = np.array(astuple(before))
        known = np.concatenate([earlier[:6] > 2.0 * LEAST, [True]])
        earlier[:6] = np.log(earlier[:6])
        point = np.where(known, earlier, point)
    free = np.ones(7, dtype=bool)
    if np.unique(measured.samples).size == 1:
        # One batch size says nothing of how the time divides; half and half is hopeful enough.
        point[0] = np.log(measured.compute_s.mean() / 2.0)
        free[0] = False
    across = measured.nodes > 1
    within = ~across & (measured.devices > 1)
    more = measured.devices > 2
    told = {2: bool(across.any()), 3: bool(across.any() and more.any())}
    told |= {4: bool(within.any()), 5: bool(within.any() and more.any())}
    for index, is_told in told.items():
        if not is_told:
            point[index], free[index] = np.log(LEAST), False
    return point, free


def _descend(measured: Measured, point: Floats, free: NDArray[np.bool_]) -> Floats:
    damping = 1e-2
    residual, slope, blocks = _errors(measured, point)
    for _ in range(_ROUNDS):
        weight = _weights(residual, blocks)
        wanted = (slope * weight[:, None])[:, free]
        square = wanted.T @ wanted
        square.flat[:: len(square) + 1] *= 1.0 + damping
        square.flat[:: len(square) + 1] += 1e-9 * damping
        move = np.zeros(7)
        move[free] = np.linalg.solve(square, -wanted.T @ (residual * weight))
        tried = point + np.clip(move, -2.0, 2.0)
        tried[:6] = np.maximum(tried[:6], np.log(LEAST))
        tried[6] = min(max(tried[6], 1.0), OVERLAP_MOST)
        found = _errors(measured, tried)
        better = _cost(found[0], blocks) < (cost := _cost(residual, blocks))
        if not better:
            damping *= 8.0
            if damping > 1e6:
                break
            continue
        gained = cost - _cost(found[0], blocks)
        point, (residual, slope, blocks), damping = tried, found, damping / 4.0
        if gained < _TOLERANCE * cost:
            break
    return point


def _cost(residual: Floats, count: int) -> float:
    passes, steps, rules = residual[:count], residual[count : 2 * count], residual[2 * count :]
    of_passes, of_steps = float(passes @ passes), float(steps @ steps)
    return math.sqrt(of_passes / count) + math.sqrt(of_steps / count) + float(rules @ rules)


def _weights(residual: Floats, count: int) -> Floats:
    """Return weights that make a sum of squares touch the sum of root mean squares here."""
    weight = np.ones(residual.size)
    for block in (slice(0, count), slice(count, 2 * count)):
        root = max(float(residual[block] @ residual[block]) / count, 1e-8) ** 0.5
        weight[block] = (2.0 * root * count) ** -0.5
    return weight


def _errors(measured: Measured, point: Floats) -> tuple[Floats, Floats, int]:
    """Return residuals, their slopes by the seven numbers, and the length of an error block."""
    numbers = np.exp(point[:6])
    count = measured.samples.size
    across = measured.nodes > 1
    within = ~across & (measured.devices > 1)
    beyond = np.maximum(measured.devices - 2.0, LEAST)
    terms = np.zeros((6, count))
    terms[0] = numbers[0]
    terms[1] = numbers[1] * measured.samples
    terms[2] = across * numbers[2]
    terms[3] = across * numbers[3] * beyond
    terms[4] = within * numbers[4]
    terms[5] = within * numbers[5] * beyond
    computed = terms[0] + terms[1]
    exchanged = np.maximum(terms[2:].sum(axis=0), LEAST)
    overlap = point[6]
    log_c, log_x = np.log(computed), np.log(exchanged)
    top = np.maximum(log_c, log_x)
    of_c, of_x = np.exp(overlap * (log_c - top)), np.exp(overlap * (log_x - top))
    total = of_c + of_x
    share_c, share_x = of_c / total, of_x / total
    log_step = top + np.log(total) / overlap
    slope = np.zeros((2 * count + 3, 7))
    of_computed = terms[:2] / computed
    slope[:count, :2] = of_computed.T
    slope[count : 2 * count, :2] = (of_computed * share_c).T
    slope[count : 2 * count, 2:6] = (terms[2:] * (share_x / exchanged)).T
    mixed = share_c * log_c + share_x * log_x
    slope[count : 2 * count, 6] = (mixed - log_step) / overlap
    growth = 0.1 * np.array([numbers[3] / numbers[2], numbers[5] / numbers[4]])
    rules = np.concatenate([[1e-3**0.5 * (overlap - 1.0)], growth])
    slope[2 * count, 6] = 1e-3**0.5
    slope[2 * count + 1, 2:4] = -growth[0], growth[0]
    slope[2 * count + 2, 4:6] = -growth[1], growth[1]
    residual = np.concatenate(
        [log_c - np.log(measured.compute_s), log_step - np.log(measured.step_s), rules]
    )
    return residual, slope, count
