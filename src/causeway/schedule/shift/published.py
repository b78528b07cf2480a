"""Policies that others published for spot with a deadline; we measure against them.

All from "Can't Be Late" (Wu et al., NSDI 2024): on-demand only, greedy (section 3.4), time sliced
(5.1) and uniform progress (5.2), with its three rules: thrifty, safety net, exploitation. What the
text leaves open (on demand is kept while there is no spot, even when progress is ahead of the line)
follows the behaviour of the authors' released simulator. Their safety net keeps two changeovers
in hand where ours needs one; that is theirs and stays so here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from causeway.schedule.shift.spot import Choice, Choices, Flags, Jobs, Terms

Policy = Callable[[Terms, Jobs], Choices]

_IDLE, _SPOT, _DEMAND = np.int8(Choice.IDLE), np.int8(Choice.SPOT), np.int8(Choice.ON_DEMAND)


def on_demand(terms: Terms, jobs: Jobs) -> Choices:
    """Never spot."""
    del terms
    return np.full(len(jobs.left), _DEMAND)


def greedy(terms: Terms, jobs: Jobs) -> Choices:
    """Spot while there is some, else wait; on demand to the end once there is no time to wait."""
    return _safety_net(terms, jobs, np.where(jobs.spot, _SPOT, _IDLE))


def uniform_progress(terms: Terms, jobs: Jobs) -> Choices:
    """Keep up with the straight line from nothing done to all done at the deadline.

    Behind the line and without spot: on demand, until there is spot and progress is two changeovers
    ahead of the line.
    """
    elapsed = terms.deadline_ticks - jobs.time_left
    done = terms.work_ticks - jobs.left
    pace = terms.work_ticks / terms.deadline_ticks
    behind = done < elapsed * pace
    ahead = done > (elapsed + 2 * terms.changeover_ticks) * pace
    wished = np.where(jobs.spot, _SPOT, np.where(behind, _DEMAND, _IDLE))
    stays = (jobs.on == Choice.ON_DEMAND) & ~(jobs.spot & ahead)
    return _safety_net(terms, jobs, np.where(stays, _DEMAND, wished))


def time_sliced(slices: int) -> Policy:
    """Return greedy within equal slices of the time, each with its share of the work.

    Work done beyond a slice's share counts for the next ones.
    """

    def choose(terms: Terms, jobs: Jobs) -> Choices:
        elapsed = terms.deadline_ticks - jobs.time_left
        length = terms.deadline_ticks / slices
        number = np.minimum(np.floor(elapsed / length) + 1, slices)
        left = jobs.left - terms.work_ticks * (1 - number / slices)
        time_left = number * length - elapsed
        tight = (left > 0) & (time_left < left + 2 * terms.changeover_ticks)
        wished = np.where(jobs.spot, _SPOT, _IDLE)
        on_spot = jobs.spot & (jobs.on == Choice.SPOT)
        wished = np.where(tight & ~on_spot, _DEMAND, wished)
        return _safety_net(terms, jobs, wished)

    return choose


def _safety_net(terms: Terms, jobs: Jobs, wished: Choices) -> Choices:
    """Idle or on demand with less than two changeovers in hand: on demand, and stay."""
    elsewhere: Flags = ~(jobs.spot & (jobs.on == Choice.SPOT))
    tight = jobs.time_left < jobs.left + 2 * terms.changeover_ticks
    return np.where(elsewhere & tight, _DEMAND, wished)
