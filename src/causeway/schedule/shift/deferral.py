"""When a job that may wait runs: rules, applied to every hour that it could have come in.

A job comes at the start of hour i, needs `length` hours and may start up to `slack` hours late. A
rule is told a forecast made anew at every hour, and answers for that hour only, so what it learns
while a job waits is used:

    in one piece     start if no later start looks cheaper
    interruptibly    run if fewer hours that are left to it look cheaper than it needs
    committed        the same, with the forecast of the hour the job came in (GAIA, ASPLOS 2024:
                     "lowest window"; Let's Wait Awhile, Middleware 2021, interruptibly)
    threshold        run while the last known hour was among the lowest 30% of the day before it
                     (the rule that GAIA and others compare with as Ecovisor's), or time is up

None can be late: the last hour that still suffices is always used. Forecasts come in as arrays; who
makes them, and from what, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causeway.schedule.shift.windows import sums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

Runs = Callable[[Ints, Ints, Ints], Flags]
"""(hour, hours of work left, hours until the end) -> whether each job runs in that hour."""

THRESHOLD_SHARE = 0.3
DAY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """One job for each hour of a series that it may come in."""

    length: int
    first: Ints
    """The hour that each comes in: 0, 1, 2, ..."""
    end: Ints
    """The hour by whose start each has to be done."""

    @property
    def slack(self) -> Ints:
        """The hours that each has to spare."""
        return self.end - self.first - self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """When each of some arrivals ran, as far as it is asked for."""

    cost: Floats
    """The sum over its hours."""
    waited_h: Floats
    """Until it first ran."""
    took_h: Floats
    """Until it was done."""


def arrivals(hours: int, length: int, slack: int) -> Arrivals:
    """Return a job for each hour from which `length` hours are left; windows end with the series.

    These are the arrivals of the study by Sukprasert et al. (EuroSys 2024); for a slack as long as
    the series, the last one too.
    """
    count = hours - length + (slack >= hours)
    first = np.arange(count)
    return Arrivals(length=length, first=first, end=np.minimum(first + length + slack, hours))


def at_arrival(hours: Floats, jobs: Arrivals) -> Ran:
    """Run each as it comes."""
    return _ran(hours, jobs, np.zeros(len(jobs.first), np.int64))


def one_piece(hours: Floats, jobs: Arrivals, forecasts: Floats, *, committed: bool) -> Ran:
    """Start each at the hour from which no later start looks cheaper.

    Args:
        hours: what it really costs.
        jobs: the arrivals.
        forecasts: (hours, horizon), made at the start of each hour.
        committed: decide once, with the forecast of the hour that each comes in.
    """
    longest = int(jobs.slack.max(initial=0))
    total = np.cumsum(forecasts, axis=1, dtype=np.float64)
    total = np.concatenate([np.zeros((len(total), 1)), total], axis=1)
    starts = min(longest + 1, total.shape[1] - jobs.length)
    looks = total[:, jobs.length : jobs.length + starts] - total[:, :starts]
    if committed:
        open_starts = np.arange(starts) <= jobs.slack[:, None]
        late = np.where(open_starts, looks[jobs.first], np.inf).argmin(axis=1)
        return _ran(hours, jobs, late)
    least_later = np.full((len(looks), starts + 1), np.inf)
    np.minimum.accumulate(looks[:, 1:], axis=1, out=least_later[:, 1:starts])
    least_later[:, starts] = least_later[:, starts - 1]
    late = jobs.slack.copy()
    waiting = np.ones(len(jobs.first), np.bool_)
    for offset in range(longest + 1):
        hour = np.minimum(jobs.first + offset, len(hours) - 1)
        ahead = np.clip(jobs.slack - offset, 0, starts)
        now = waiting & (looks[hour, 0] <= least_later[hour, ahead]) & (offset <= jobs.slack)
        late[now] = offset
        waiting &= ~now
    return _ran(hours, jobs, late)


def in_pieces(hours: Floats, jobs: Arrivals, forecasts: Floats, *, committed: bool) -> Ran:
    """Run each in the hours of which fewer look cheaper than it still needs."""
    if committed:
        return _cheapest_of_first_look(hours, jobs, forecasts)
    cheaper = forecasts[:, 1:] < forecasts[:, :1]
    ahead = np.zeros((len(forecasts), forecasts.shape[1] + 1), np.int32)
    np.cumsum(cheaper, axis=1, out=ahead[:, 2:])
    ahead[:, 1] = 0

    def runs(hour: Ints, left: Ints, open_h: Ints) -> Flags:
        seen = ahead[hour, np.minimum(open_h, ahead.shape[1] - 1)]
        return np.asarray(seen < left)

    return _in_pieces(hours, jobs, runs)


def threshold(hours: Floats, jobs: Arrivals, *, one_piece: bool) -> Ran:
    """Run while the last known hour was among the lowest 30% of the 24 before it."""
    before = np.lib.stride_tricks.sliding_window_view(np.pad(hours, (DAY, 0), mode="edge"), DAY)
    low = np.quantile(before, THRESHOLD_SHARE, axis=1)[: len(hours)]
    last = np.concatenate([hours[:1], hours[:-1]])
    clean = last <= low
    if not one_piece:
        return _in_pieces(hours, jobs, lambda hour, left, open_h: clean[hour])
    next_clean = np.full(len(hours) + 1, len(hours))
    for hour in range(len(hours) - 1, -1, -1):
        next_clean[hour] = hour if clean[hour] else next_clean[hour + 1]
    return _ran(hours, jobs, np.minimum(next_clean[jobs.first] - jobs.first, jobs.slack))


def _ran(hours: Floats, jobs: Arrivals, late: Ints) -> Ran:
    """Return what starting each job `late` hours after it came makes of it."""
    return Ran(
        cost=sums(hours, jobs.length)[jobs.first + late],
        waited_h=late.astype(np.float64),
        took_h=(late + jobs.length).astype(np.float64),
    )


def _in_pieces(hours: Floats, jobs: Arrivals, runs: Runs) -> Ran:
    """Walk all jobs through their windows side by side, an hour of each at a time."""
    left = np.full(len(jobs.first), jobs.length)
    cost, began, took = (np.zeros(len(left)), np.full(len(left), -1.0), np.zeros(len(left)))
    for offset in range(int((jobs.end - jobs.first).max(initial=0))):
        hour = np.minimum(jobs.first + offset, len(hours) - 1)
        open_h = jobs.end - jobs.first - offset
        now = (left > 0) & (runs(hour, left, np.maximum(open_h, 0)) | (open_h <= left))
        cost += np.where(now, hours[hour], 0.0)
        left = left - now
        began = np.where(now & (began < 0), offset, began)
        took = np.where(now, offset + 1, took)
    return Ran(cost=cost, waited_h=began, took_h=took)


def _cheapest_of_first_look(hours: Floats, jobs: Arrivals, forecasts: Floats) -> Ran:
    """Run each in the hours of its window that looked cheapest when it came."""
    wide = forecasts[jobs.first]
    ahead = np.arange(wide.shape[1])
    looks = np.where(ahead < (jobs.end - jobs.first)[:, None], wide, np.inf)
    picked = np.argpartition(looks, jobs.length - 1, axis=1)[:, : jobs.length]
    hour = np.minimum(jobs.first[:, None] + picked, len(hours) - 1)
    return Ran(
        cost=hours[hour].sum(axis=1),
        waited_h=picked.min(axis=1).astype(np.float64),
        took_h=picked.max(axis=1) + 1.0,
    )
