"""What an island says when it lies: about fences, usage, progress, ends, and old successes.

The promise under test is a weak one, because no centre can see through a liar's walls: whatever is
said under a fence that this island does not hold changes nothing, and what is said under one that
it holds is bounded by what is possible.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from causeway.model.protocol import AttemptReport, Phase, SyncRequest
from causeway.model.values import replace

PAST_KEPT = 20


@dataclass(slots=True)
class Liar:
    """The tongue of one island."""

    chance: random.Random
    on: bool = False
    """Whether it lies now."""
    told: bool = False
    """Whether it has lied since its agent was started: nobody can say what it really runs."""
    about: set[tuple[str, int]] = field(default_factory=set)
    """Attempts whose truth it has hidden."""
    past: dict[tuple[str, int], AttemptReport] = field(default_factory=dict)
    """The last true report of each attempt that it had, to be told again as a success."""

    def twist(self, request: SyncRequest) -> SyncRequest:
        """Return the sync as it is sent."""
        for report in request.reports:
            self.past.pop((report.job, report.fence), None)
            self.past[(report.job, report.fence)] = report
        while len(self.past) > PAST_KEPT:
            del self.past[next(iter(self.past))]
        if not self.on:
            return request
        self.told = True
        reports = [self._twisted(report) for report in request.reports]
        if self.past and self.chance.random() < 0.3:
            old = self.chance.choice(list(self.past.values()))
            again = replace(
                old,
                fence=old.fence + self.chance.choice((-1, 0, 1, 1)),
                phase=Phase.SUCCEEDED,
                final=True,
                exit_code=0,
                ticks=(),
            )
            self.about.add((again.job, again.fence))
            reports.append(again)
        return replace(request, reports=tuple(reports))

    def _twisted(self, report: AttemptReport) -> AttemptReport:
        self.about.add((report.job, report.fence))
        kind = self.chance.randrange(8)
        if kind == 0:
            fence = report.fence + self.chance.choice((-1, 1, 7))
            self.about.add((report.job, fence))
            return replace(report, fence=fence)
        if kind == 1:
            inflated = tuple(
                replace(t, end_ms=t.end_ms * 50 + 10**8, energy_mj=t.energy_mj * 1000)
                for t in report.ticks
            )
            return replace(report, ticks=inflated)
        if kind == 2:
            return replace(report, ticks=report.ticks[1:])
        if kind == 3:
            return replace(report, last_step=report.last_step + 10**6)
        if kind == 4 and self.chance.random() < 0.2:
            # Claims to be done long before it is.
            return replace(
                report,
                phase=Phase.SUCCEEDED,
                final=True,
                exit_code=0,
                outputs={"model": f"sha256:{self.chance.getrandbits(256):064x}"},
            )
        return report
