"""What a decision on deadlines has to know of a training job that may be resized while it runs.

Work is counted in iterations. A job's global batch is fixed, so an iteration is worth the same on
any number of GPUs and only its speed changes; that speed is a measured curve, never a formula.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from causeway.model.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Iterations per second by GPU count, measured.

    `counts` and `rates` hold only counts that are faster than every smaller one, so that both grow
    and a larger level never slows a job down. `widest` is the largest count that was measured at
    all, useful or not: what a policy without a curve would take.
    """

    counts: tuple[int, ...]
    rates: tuple[float, ...]
    widest: int
    widest_rate: float

    @staticmethod
    def measured(points: Iterable[tuple[int, float]]) -> Curve:
        """Return the curve through (GPUs, iterations per second).

        >>> Curve.measured([(1, 2.0), (2, 3.5), (4, 3.0), (8, 0.0)]).counts
        (1, 2)
        """
        known = sorted((count, rate) for count, rate in points if rate > 0)
        if not known or known[0][0] < 1 or not all(math.isfinite(rate) for _, rate in known):
            raise InvalidInput("a scaling curve needs one GPU count >= 1 with a finite rate > 0")
        counts: list[int] = []
        rates: list[float] = []
        for count, rate in known:
            if not rates or rate > rates[-1]:
                counts.append(count)
                rates.append(rate)
        widest, widest_rate = known[-1]
        return Curve(
            counts=tuple(counts), rates=tuple(rates), widest=widest, widest_rate=widest_rate
        )

    def fits(self, gpus: int) -> int:
        """Return the highest level of at most so many GPUs; -1 when even the lowest is too many."""
        return bisect_right(self.counts, gpus) - 1

    def at_most(self, gpus: int) -> Curve:
        """Return the part of the curve that a fleet of so many GPUs can use."""
        level = self.fits(gpus)
        if level < 0:
            raise InvalidInput(f"no measured GPU count is at most {gpus}")
        widest, rate = self.widest, self.widest_rate
        if widest > gpus:
            widest, rate = self.counts[level], self.rates[level]
        return Curve(
            counts=self.counts[: level + 1],
            rates=self.rates[: level + 1],
            widest=widest,
            widest_rate=rate,
        )


class Work(Protocol):
    """What a plan has to know."""

    @property
    def left(self) -> float:
        """Iterations still to do, above zero."""

    @property
    def deadline_s(self) -> float:
        """The instant by which it has to be done; infinite for best effort."""

    @property
    def curve(self) -> Curve: ...


class Training(Work, Protocol):
    """A job as a decision sees it. Whoever keeps it may change it between decisions only."""

    @property
    def key(self) -> int:
        """Unique, and growing with submission: the last tie-break of every order."""

    @property
    def submitted_s(self) -> float: ...

    @property
    def asked(self) -> int:
        """GPUs that its owner asked for: what a policy without elasticity gives."""

    @property
    def asked_rate(self) -> float:
        """Iterations per second on `asked` GPUs."""

    @property
    def held(self) -> int:
        """GPUs that it holds now."""

    @property
    def run_s(self) -> float:
        """Seconds that it has run so far, pauses not counted."""

    @property
    def promised(self) -> bool:
        """Whether its deadline was promised to its owner."""


def feasible_alone(training: Work, now_s: float) -> bool:
    """Return whether an empty fleet would meet the deadline from now on."""
    return training.left <= (training.deadline_s - now_s) * training.curve.rates[-1]
