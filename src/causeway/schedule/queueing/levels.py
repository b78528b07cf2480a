"""Ranks of jobs whose length nobody knows, by what they have already had. Lower goes first.

A job's age is how long it has run; ages are cut into levels at `EDGES_S`, each twice the one
before, and a rank holds within a level. Two ways to rank:

*Least attained service* (Gu et al., "Tiresias", NSDI 2019): what has had fewer device-seconds goes
first, in a few wide queues, in order of arrival within one.

*The Gittins index* (Gittins, "Bandit processes and dynamic allocation indices", J. R. Statist. Soc.
B 41, 1979), which minimises the mean time in a queue of one server when the distribution of lengths
is known: rank = min over later ages b of

    devices x E[service from age a to b | still there at a] / P(it ends by b | still there at a)

device-seconds that have to be spent for each completion. Here nobody is told the distribution: it
is counted from the jobs that have ended so far, for jobs of about that width, over a prior of two
jobs of which half end in each level that they reach (a Pareto tail with exponent 1). With nothing
seen, that makes the index least attained service; with much seen, the prior is forgotten where
anything was seen. There is nothing to tune.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol

EDGES_S: tuple[float, ...] = tuple(30.0 * 2.0**i for i in range(22))
"""Where levels end: half a minute to two years. The last level has no end."""
PRIOR: tuple[float, ...] = (*(0.5**i for i in range(22)), 0.5**21)
"""Jobs that are taken to have ended in each level before any has."""
RELEARN = 1.25
"""Ranks are computed anew when so many times as many jobs have ended."""
RELEARN_MIN = 20


class Ranks(Protocol):
    """A way to rank."""

    def level(self, devices: int, age_s: float) -> int:
        """Return the level of an age."""

    def end_s(self, devices: int, level: int) -> float:
        """Return the age at which a level ends."""

    def rank(self, devices: int, level: int) -> float:
        """Return the rank that holds within a level."""

    def ended(self, devices: int, age_s: float) -> bool:
        """Note that a job ended at an age; say whether ranks have changed with it."""


class Attained:
    """Least attained service in device-seconds, in queues that end at `edges_device_s`."""

    def __init__(self, edges_device_s: Sequence[float]) -> None:
        self._edges = tuple(edges_device_s)

    def level(self, devices: int, age_s: float) -> int:
        """See `Ranks`."""
        return bisect_right(self._edges, devices * age_s)

    def end_s(self, devices: int, level: int) -> float:
        """See `Ranks`."""
        return self._edges[level] / devices if level < len(self._edges) else float("inf")

    def rank(self, devices: int, level: int) -> float:
        """See `Ranks`."""
        return float(level)

    def ended(self, devices: int, age_s: float) -> bool:
        """See `Ranks`."""
        return False


class Learned:
    """The Gittins index of what has been seen to end."""

    def __init__(self) -> None:
        self._counts: dict[int, list[float]] = {}
        """Width -> jobs that ended in each level, the prior's among them."""
        self._tables: dict[int, list[float]] = {}
        self._ended = 0
        self._again = RELEARN_MIN

    def level(self, devices: int, age_s: float) -> int:
        """See `Ranks`."""
        return bisect_right(EDGES_S, age_s)

    def end_s(self, devices: int, level: int) -> float:
        """See `Ranks`."""
        return EDGES_S[level] if level < len(EDGES_S) else float("inf")

    def rank(self, devices: int, level: int) -> float:
        """See `Ranks`."""
        width = devices.bit_length()
        table = self._tables.get(width)
        if table is None:
            table = self._tables[width] = gittins(self._of(width))
        return devices * table[level]

    def ended(self, devices: int, age_s: float) -> bool:
        """See `Ranks`."""
        self._of(devices.bit_length())[self.level(devices, age_s)] += 1.0
        self._ended += 1
        if self._ended < self._again:
            return False
        self._again = int(self._ended * RELEARN) + 1
        self._tables.clear()
        return True

    def _of(self, width: int) -> list[float]:
        return self._counts.setdefault(width, list(PRIOR))


def gittins(counts: Sequence[float]) -> list[float]:
    """Return for each level the least service that has to be spent for each completion.

    `counts` are jobs that ended in each level. Within a level, ends are taken to be even.

    >>> short_or_long = gittins([9.0] + [0.0] * 10 + [1.0] + [0.0] * 11)
    >>> short_or_long[0] < short_or_long[1] > short_or_long[11]
    True
    """
    starts = (0.0, *EDGES_S)
    ends = (*EDGES_S, 2.0 * EDGES_S[-1])
    there = [0.0] * (len(counts) + 1)
    for i in range(len(counts) - 1, -1, -1):
        there[i] = there[i + 1] + counts[i]
    # Service in level i: those that outlive it take all of it, those that end in it half.
    spent = [(there[i] + there[i + 1]) / 2.0 * (ends[i] - starts[i]) for i in range(len(counts))]
    ranks = []
    for i in range(len(counts)):
        best, service = float("inf"), 0.0
        for j in range(i, len(counts)):
            service += spent[j]
            if there[i] > there[j + 1]:
                best = min(best, service / (there[i] - there[j + 1]))
        ranks.append(best)
    return ranks
