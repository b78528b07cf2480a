"""An upper bound of the need a few minutes ahead, that holds as often as it was asked to.

The bound is a point forecast plus a margin, and the margin is a quantile of the errors that this
very forecast made before: conformal prediction (Vovk et al., 2005). Until there are errors enough
to have such a quantile, the margin is that of a load that may grow by `prior_growth`, or the worst
error seen.

Which quantile, the class decides, by its error budget. A class that may be broken in a share of all
steps earns that share of a step with each step, and pays one for each that was broken, whatever
broke it. The less is left, the higher the quantile; with nothing left, or nothing earned yet, it is
the highest (feedback as in Gibbs and Candes, "Adaptive conformal inference under distribution
shift", 2021, but on what the class saw rather than on the bound). So nothing is tuned to a service:
one whose future is worse than its past pays with devices, not with its class.

Which forecast is best depends on the service, so several run side by side (`POINTS` x `SHAPES`),
and the one whose bound has been the lowest lately is followed; the same bound is asked of all:

    level    what is needed now: the most of the last minutes
    season   the most of the same minutes a day ago
    either   the higher of the two
    growth   the level, times what a day ago these minutes were over the ones before
    week     `season`, of a week ago

with the margin a factor, an addition, or between the two (by the root of the forecast).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = ("level", "season", "either", "growth", "week")
SHAPES = (1.0, 0.0, 0.5)
"""The margin grows with the forecast to this power."""
LEVEL_STEPS = 3
GROWTH_MAX = 4.0
STRICTEST = 0.02
"""Of the class's share, that a bound is asked to miss at most when the budget is spent."""
LAXEST = 2.0
"""The same with a budget that is not touched: it may be spent, since it is earned again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is asked of the bound."""

    ahead_steps: int
    """The bound is over the next so many steps: as long as it takes to have a replica ready."""
    day_steps: int = 1440
    miss_share: float = 0.001
    """Of steps in which the class may be broken."""
    budget_days: int = 28
    """What is earned is kept for about so long, the usual period of a service level."""
    miss_steps: float = 4.0
    """What one miss costs the budget: until it is seen, replicas are ready, the queue is gone."""
    prior_growth: float = 2.0
    """While little is known: the need may grow by this factor within `ahead_steps`."""
    memory_days: int = 7


@dataclass(slots=True)
class _Errors:
    """The errors of one forecast: by size, and in order of time."""

    by_size: list[float] = field(default_factory=list)
    by_time: deque[float] = field(default_factory=deque)

    def add(self, error: float, most: int) -> None:
        insort(self.by_size, error)
        self.by_time.append(error)
        if len(self.by_time) > most:
            oldest = self.by_time.popleft()
            del self.by_size[bisect_left(self.by_size, oldest)]

    def quantile(self, miss_share: float) -> float | None:
        """Return the conformal quantile; None while there are too few."""
        rank = int(np.ceil((len(self.by_size) + 1) * (1 - miss_share)))
        return self.by_size[rank - 1] if 0 < rank <= len(self.by_size) else None


class Forecast:
    """Told every step's need, it says what to be ready for. Deterministic; of bounded memory."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._past: list[float] = []
        self._keep = 8 * terms.day_steps
        kinds = len(POINTS) * len(SHAPES)
        self._errors = [_Errors() for _ in range(kinds)]
        self._cost = np.zeros(kinds)
        self._made: deque[list[float]] = deque()
        """Point forecasts of the steps whose future is not yet over."""
        self._steps = self._broken = 0.0
        self.followed = 0

    @property
    def asked(self) -> float:
        """The share of steps that the bound may miss, from what is left of the budget."""
        terms = self._terms
        left = (terms.miss_share * self._steps - self._broken) / terms.miss_steps
        return terms.miss_share * min(max(LAXEST * left, STRICTEST), LAXEST)

    def observe(self, need: float, *, broken: bool = False) -> None:
        """Take in what the step that just ended needed, and whether its class was broken."""
        terms = self._terms
        self._past.append(float(need))
        if len(self._past) > 2 * self._keep:
            del self._past[: -self._keep]
        kept = 1 - 1 / (terms.budget_days * terms.day_steps)
        self._steps = self._steps * kept + 1
        self._broken = self._broken * kept + broken
        if len(self._made) < terms.ahead_steps:
            return
        points = self._made.popleft()
        most = max(self._past[-terms.ahead_steps :])
        memory = terms.memory_days * terms.day_steps
        for kind, errors in enumerate(self._errors):
            point = points[kind // len(SHAPES)]
            errors.add((most - point) / point ** SHAPES[kind % len(SHAPES)], memory)

    def bound(self) -> float:
        """Return what the coming `ahead_steps` steps will not need more than."""
        if not self._past:
            return float("inf")
        points, asked = self._points(), self.asked
        bounds = np.empty(len(self._errors))
        for kind, errors in enumerate(self._errors):
            point, shape = points[kind // len(SHAPES)], SHAPES[kind % len(SHAPES)]
            bounds[kind] = point + self._margin(errors, point, shape, asked) * point**shape
        kept = 0.5 ** (1 / self._terms.day_steps)  # Half of what counts is of the last day.
        self._cost = self._cost * kept + bounds * (1 - kept)
        self.followed = int(self._cost.argmin())
        bound = float(max(bounds[self.followed], points[0]))
        self._made.append(points)
        return bound

    def _margin(self, errors: _Errors, point: float, shape: float, asked: float) -> float:
        found = errors.quantile(asked)
        if found is not None:
            return max(found, 0.0)
        worst = errors.by_size[-1] if errors.by_size else 0.0
        prior = (self._terms.prior_growth - 1) * point ** (1 - shape)
        return float(max(worst, prior))

    def _points(self) -> list[float]:
        """Return the forecasts of `POINTS`; none is below 1, for a need is a count."""
        past, day, ahead = self._past, self._terms.day_steps, self._terms.ahead_steps
        level = max(past[-LEVEL_STEPS:])
        season, before = self._ago(day, ahead), self._ago(day, 0)
        week = self._ago(7 * day, ahead)
        if season is None or before is None:
            season = before = level
        growth = level * min(max(season / max(before, 1.0), 1.0), GROWTH_MAX)
        found = (level, season, max(level, season), growth, season if week is None else week)
        return [max(float(point), 1.0) for point in found]

    def _ago(self, steps: int, ahead: int) -> float | None:
        """Return the most of the steps around `steps` ago, up to `ahead` after; None if too old."""
        end = len(self._past) - steps + ahead
        start = end - ahead - LEVEL_STEPS
        return max(self._past[start:end]) if start >= 0 else None
