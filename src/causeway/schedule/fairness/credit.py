"""Gavel's rounds: shares are computed now and then, and every round goes to whoever is behind.

Narayanan et al. (OSDI 2020), section 5: a policy gives each job a share of time; each round takes
the jobs of the largest share / (fraction of the time received since shares were last computed).
Shares are computed when a job came or ended, but at most every 1,000 s, so a job that came
meanwhile runs only where room is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from causeway.schedule.fairness.member import Member, Pool, fill

BETWEEN_RESETS_S = 1_000.0


class Shares(Protocol):
    """A policy: each job's share of time, 0..1."""

    def __call__(
        self, now_s: float, members: Sequence[Member], pool: Pool
    ) -> Mapping[int, float]: ...


class Credit:
    """One run's state around a policy of shares."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._share: Mapping[int, float] = {}
        self._here: frozenset[int] = frozenset()
        self._ran_before: dict[int, float] = {}
        """What each had run when shares were last computed, less half a round."""
        self._deficit: dict[int, float] = {}
        self._reset_s = 0.0
        self._total_s = 0.0
        self._ran: dict[int, float] = {}

    def __call__(self, now_s: float, members: Sequence[Member], pool: Pool) -> list[int]:
        """Return who runs next."""
        half_s = pool.round_s / 2
        for member in members:
            before = self._ran.get(member.key, 0.0)
            self._total_s += member.ran_s - before
            self._ran[member.key] = member.ran_s
            self._ran_before.setdefault(member.key, -half_s)
            self._deficit.setdefault(member.key, 0.0)
        here = frozenset(member.key for member in members)
        if here != self._here and (now_s - self._reset_s >= BETWEEN_RESETS_S or self._reset_s == 0):
            self._here = here
            self._compute(now_s, members, pool)
        return fill(sorted(members, key=self._place), pool)

    def _compute(self, now_s: float, members: Sequence[Member], pool: Pool) -> None:
        half_s = pool.round_s / 2
        for member in members:
            received_s = member.ran_s - self._ran_before[member.key] - half_s
            due_s = self._share.get(member.key, 0.0) * (now_s - self._reset_s)
            self._deficit[member.key] += due_s - received_s
            self._ran_before[member.key] = member.ran_s - half_s
        self._total_s = half_s * len(members)
        self._reset_s = now_s
        self._share = self._shares(now_s, members, pool)

    def _place(self, member: Member) -> tuple[float, float, float, int]:
        share = self._share.get(member.key, 0.0)
        since_s = member.ran_s - self._ran_before[member.key]
        priority = share * self._total_s / since_s if since_s > 0 else share * math.inf
        if share == 0.0:
            priority = 0.0
        return (-priority, -self._deficit[member.key], -share, member.key)
