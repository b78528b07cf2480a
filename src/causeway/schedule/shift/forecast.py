"""What the next hours will be like, from nothing but the hours before them.

At hour t the values of hours t-1, t-2, ... are known, and not that of t. A forecast for h hours
later starts from the mean of the last day and adds, each with a weight that depends on h alone:

    how the last hour stood to its usual               the weather that is
    how that hour of the day stood to its day, last    yesterday's shape
    the same over a fortnight                          the usual shape
    how the fortnight stands to the last day           the way back to the mean
    how that hour of the week stood to its week, last  working days and weekends

The weights are least squares over other zones, each scaled to its own spread, so that a zone needs
no past longer than a week or two to be forecast, and none of its future is ever in them. It is a
small model on purpose: a deferral asks for the order of the hours rather than for their values.

For any series by the hour: gCO2/kWh, prices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY, WEEK, FORTNIGHT = 24, 168, 336
FEATURES = 5
STRIDE_H = 7
"""Every so many hours are learnt from: coprime to the day, so that each hour of it counts."""
RIDGE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What was learnt, for any zone."""

    by_hour: Floats
    """(horizon, FEATURES)."""

    @property
    def horizon(self) -> int:
        """How many hours ahead it sees."""
        return len(self.by_hour)


def yesterday(hours: Floats, at: NDArray[np.int64], horizon: int) -> Floats:
    """Return (at, horizon): each hour as it was on the last day that is known.

    Hours before the first of the series are taken as the first.
    """
    alike: Floats = hours[_same(at, horizon, DAY)]
    return alike


def forecast(hours: Floats, at: NDArray[np.int64], weights: Weights) -> Floats:
    """Return (at, horizon): what was to be expected of hours at, at + 1, ... at each of `at`."""
    base, features = _features(hours, at, weights.horizon)
    expected: Floats = base[:, None] + np.einsum("fth,hf->th", features, weights.by_hour)
    return expected


def learn(zones: Iterable[Floats], horizon: int) -> Weights:
    """Return the weights that would have been best for the hours of these zones."""
    square = np.zeros((horizon, FEATURES, FEATURES))
    across = np.zeros((horizon, FEATURES))
    for hours in zones:
        at = np.arange(FORTNIGHT, len(hours) - horizon + 1, STRIDE_H)
        spread = float(np.std(hours))
        if not len(at) or spread <= 0:
            continue
        base, features = _features(hours, at, horizon)
        truth = hours[at[:, None] + np.arange(horizon)] - base[:, None]
        features, truth = features / spread, truth / spread
        square += np.einsum("fth,gth->hfg", features, features) / len(at)
        across += np.einsum("fth,th->hf", features, truth) / len(at)
    square += RIDGE * np.eye(FEATURES)
    solved = np.linalg.solve(square, across[:, :, None])[:, :, 0]
    return Weights(by_hour=solved.astype(np.float64))


def _same(at: NDArray[np.int64], horizon: int, period: int) -> NDArray[np.int64]:
    """Return the hour that is alike to each hour ahead, in the last whole period before `at`."""
    ahead = np.arange(horizon)
    back = at[:, None] - period + ahead % period
    known: NDArray[np.int64] = np.maximum(back, 0)
    return known


def _features(hours: Floats, at: NDArray[np.int64], horizon: int) -> tuple[Floats, Floats]:
    """Return the mean of the last day (at,) and the features (FEATURES, at, horizon)."""
    day, week, fortnight = (_trailing(hours, at, span) for span in (DAY, WEEK, FORTNIGHT))
    usual = _usual(hours, at)
    ahead = (at[:, None] + np.arange(horizon)) % DAY
    usually = np.take_along_axis(usual, ahead, axis=1)
    last = hours[np.maximum(at - 1, 0)]
    stood = last - usual[np.arange(len(at)), (at - 1) % DAY]
    features = np.empty((FEATURES, len(at), horizon))
    features[0] = stood[:, None]
    features[1] = hours[_same(at, horizon, DAY)] - day[:, None]
    features[2] = usually - fortnight[:, None]
    features[3] = (fortnight - day)[:, None]
    features[4] = hours[_same(at, horizon, WEEK)] - week[:, None]
    return day, features


def _trailing(hours: Floats, at: NDArray[np.int64], span: int) -> Floats:
    """Return the mean of up to `span` hours before each of `at`."""
    total = np.concatenate([[0.0], np.cumsum(hours)])
    first = np.maximum(at - span, 0)
    count = np.maximum(at - first, 1)
    mean: Floats = (total[at] - total[first]) / count
    return np.where(at > 0, mean, hours[0])


def _usual(hours: Floats, at: NDArray[np.int64]) -> Floats:
    """Return (at, DAY): the mean of each hour of the day over the days of the last fortnight."""
    days = np.arange(1, FORTNIGHT // DAY + 1) * DAY
    total = np.zeros((len(at), DAY))
    known = np.zeros((len(at), 1))
    for back in days:
        first = at - back
        whole = first >= 0
        rows = np.maximum(first, 0)[:, None] + np.arange(DAY)
        total += np.where(whole[:, None], hours[np.minimum(rows, len(hours) - 1)], 0.0)
        known += whole[:, None]
    mean = np.where(known > 0, total / np.maximum(known, 1), hours[0])
    # Column j so far is the hour `at + j`; turn it to the hour of the day.
    column = (np.arange(DAY)[None, :] - at[:, None]) % DAY
    return np.take_along_axis(mean, column, axis=1)
