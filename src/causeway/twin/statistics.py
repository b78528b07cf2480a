"""What a handful of seeds may be said to show: a mean, how far it may be off, and no more.

A seed is one draw. Over n of them a mean is given with its 95% interval by Student's t with n - 1
degrees of freedom (Student, "The probable error of a mean", Biometrika 6, 1908). Two policies that
were given the same seeds are compared by their differences, seed by seed, which takes out what the
seeds have in common. One seed has a value and no interval; a kind without chance has the same
value at every seed, and then the interval is zero wide and says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A mean over seeds."""

    mean: float
    half_width: float | None
    """Half of the 95% interval; None where one seed, or a value that is not finite, allows none."""
    count: int

    @property
    def low(self) -> float:
        """The lower end of the interval, or the mean where there is none."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """The upper end of the interval, or the mean where there is none."""
        return self.mean + (self.half_width or 0.0)

    @property
    def apart_from_zero(self) -> bool:
        """Whether an interval exists and leaves zero outside."""
        return self.half_width is not None and not self.low <= 0.0 <= self.high


def summarise(values: Sequence[float]) -> Summary:
    """Return the mean of the values with its interval.

    >>> summarise([1.0, 2.0, 3.0])
    Summary(mean=2.0, half_width=2.484137712637127, count=3)
    """
    count = len(values)
    if count == 0:
        return Summary(mean=math.nan, half_width=None, count=0)
    mean = math.fsum(values) / count
    if count == 1 or not math.isfinite(mean):
        return Summary(mean=mean, half_width=None, count=count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = t_quantile(count - 1) * math.sqrt(variance / count)
    return Summary(mean=mean, half_width=half, count=count)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Summary:
    """Return the mean of `second - first` over the seeds that both have."""
    both = sorted(first.keys() & second.keys())
    return summarise([second[seed] - first[seed] for seed in both])


def t_quantile(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Return t such that a share `confidence` of Student's distribution lies within -t..t.

    >>> [round(t_quantile(n), 3) for n in (1, 2, 9, 1000)]
    [12.706, 4.303, 2.262, 1.962]
    """
    high = 1.0
    while _within(high, freedom) < confidence:
        high *= 2.0
    low = 0.0
    for _ in range(200):
        middle = (low + high) / 2.0
        if _within(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return high


def _within(t: float, freedom: int) -> float:
    """Return the share of Student's distribution within -t..t.

    The finite sums of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and
    26.7.4, which are exact for whole degrees of freedom.
    """
    theta = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    # Each term is the one before it times cos^2 and a ratio of whole numbers.
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return (theta + sine * total) * 2.0 / math.pi if odd else sine * total
