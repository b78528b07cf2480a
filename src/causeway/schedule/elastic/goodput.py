"""Progress per second: how fast samples are seen, times how much each of them still teaches.

A larger batch sees more samples per second, and each teaches less. With the squared norm `square`
of the true gradient and the variance `variance` of one first-size batch's estimate (McCandlish et
al. 2018; Pollux, OSDI 2021, section 3.1), a step with a batch `scale` times the first is worth

    gain = (variance + square) / (variance / scale + square)

steps of the first batch size, between 1 (no noise) and `scale` (noise only). Goodput is gain over
the seconds of the step, and the best batch is looked for on a grid of 50 sizes, geometric from
the least to the most that the job allows; what does not fit on a device is split into passes that
accumulate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from causeway.schedule.elastic.curve import Curve, Floats, compute_s, step_s

Ints = NDArray[np.int64]
_SLACK = 1e-8
"""Before rounding up, so that 4.000000001 is 4."""
_SIZES = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """What batches a job allows."""

    batch_first: int
    """The batch size that its author tuned; progress is counted in its steps."""
    batch_most: int
    samples_least: int
    """Per device and pass."""
    samples_most: int
    """What the device's memory holds."""
    batch_fixed: int | None = None
    """The only batch that its author wants, where that is so."""

    @property
    def devices_most(self) -> int:
        """On how many devices each still has the samples that it needs."""
        return max((self.batch_fixed or self.batch_most) // self.samples_least, 1)


@dataclass(frozen=True, slots=True)
class Noise:
    """Of the gradient, at one moment of training."""

    square: float
    variance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How a job cuts its batch: devices x passes x samples."""

    samples: int
    passes: int

    def size(self, devices: int) -> int:
        """Return the samples of a step over all devices."""
        return devices * self.passes * self.samples


def gain(noise: Noise, scale: float) -> float:
    """Return what a step with `scale` times the first batch is worth.

    >>> gain(Noise(square=1.0, variance=0.0), 4.0), gain(Noise(square=0.0, variance=1.0), 4.0)
    (1.0, 4.0)
    """
    below = noise.variance / scale + noise.square
    return (noise.variance + noise.square) / below if below > 0.0 else 1.0


def cut(batch: int, devices: int, limits: Limits) -> Batch:
    """Return how a given batch is cut over devices."""
    each = int(np.ceil(batch / devices - _SLACK))
    passes = int(np.ceil(each / limits.samples_most - _SLACK))
    if devices == 1 and batch > limits.batch_first:
        # One pass on one device measures no variance, and without it no rate can be set.
        passes = max(2, passes)
    samples = int(np.ceil(each / passes - _SLACK))
    return Batch(samples=min(samples, limits.batch_most // (devices * passes)), passes=passes)


@lru_cache(maxsize=4096)
def _cuts(limits: Limits, devices: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
    """Return samples and passes of every size (rows) on every number of devices, and which fit."""
    count = np.array(devices, dtype=np.float64)
    least = np.maximum(limits.batch_first, limits.samples_least * count)
    steps = np.linspace(0.0, 1.0, _SIZES)[:, None]
    size = least * (limits.batch_most / least) ** steps
    if limits.batch_fixed is not None:
        size = np.full((1, count.size), float(limits.batch_fixed))
    each = size / count
    passes = np.ceil(each / limits.samples_most - _SLACK)
    alone = (count == 1) & (each > limits.batch_first + _SLACK)
    passes = np.where(alone, np.maximum(passes, 2.0), passes)
    samples = np.ceil(each / passes - _SLACK)
    fits = (samples >= limits.samples_least) & (samples <= limits.samples_most)
    return samples, passes, fits.astype(np.float64)


def best(
    curve: Curve, noise: Noise, *, limits: Limits, nodes: tuple[int, ...], devices: tuple[int, ...]
) -> tuple[Floats, Ints, Ints]:
    """Return goodput, samples and passes of the best batch for each pair of nodes and devices."""
    samples, passes, fits = _cuts(limits, devices)
    count = np.array(devices, dtype=np.float64)
    computed = compute_s(curve, samples)
    stepped = step_s(curve, nodes=np.array(nodes, dtype=np.float64), devices=count, samples=samples)
    scale = count * samples * passes / limits.batch_first
    if noise.variance + noise.square > 0.0:
        worth = (noise.variance + noise.square) / (noise.variance / scale + noise.square)
    else:
        worth = np.ones_like(scale)
    rate = fits * worth / ((passes - 1.0) * computed + stepped)
    row = np.argmax(rate, axis=0)
    column = np.arange(count.size)
    return (
        rate[row, column],
        samples[row, column].astype(np.int64),
        passes[row, column].astype(np.int64),
    )
