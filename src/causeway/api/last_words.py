"""Why programs ended badly, from the end of the stderr that their islands have sent.

An island sends an attempt's logs before it tells of its end, so the last words are here when the
report is. They are read from the kept log and not from the report: islands of any age and make are
served alike. Reading is the door's; what the words mean is decided in the `recover` room.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from causeway import recover
from causeway.api.door import Door
from causeway.control import agents
from causeway.control.state import State
from causeway.model.protocol import AttemptReport, SyncRequest

REPORTS_MAX = 64
"""Ends of one sync that are looked into; the exit code alone decides of more than that at once."""
_WHO = re.compile(r"\A(setup|rank \d{1,5})\b")


async def told(
    door: Door, token: str, request: SyncRequest
) -> dict[tuple[str, int], recover.Diagnosis]:
    """Return what the ends that a sync tells of were, as far as their last words show it."""
    asking = [report for report in request.reports if recover.asks_why(report)][:REPORTS_MAX]
    if not asking:
        return {}
    own = await door.service.read(lambda state: _own(state, token, asking))
    return {
        (report.job, report.fence): recover.diagnosis(
            report.exit_code, await asyncio.to_thread(_last_words, door, report), door.faults
        )
        for report in own
    }


def _own(state: State, token: str, reports: Sequence[AttemptReport]) -> list[AttemptReport]:
    """Return the reports of attempts that run at the session's own island now."""
    island = agents.session_of(state, token).island
    found = []
    for report in reports:
        job = state.job(report.job)
        attempt = job.current if job is not None else None
        if attempt is not None and (attempt.fence, attempt.island) == (report.fence, island):
            found.append(report)
    return found


def _last_words(door: Door, report: AttemptReport) -> str:
    """Return the end of the stderr of the process that ended it: the engine names that first."""
    who = _WHO.match(report.message)
    wanted = f"{who[1].replace(' ', '-') if who else 'rank-0'}.stderr"
    kept = {s.stream: s.bytes for s in door.logs.streams(report.job) if s.fence == report.fence}
    offset = max(0, kept.get(wanted, 0) - recover.LAST_WORDS_BYTES)
    data = door.logs.read(
        report.job, report.fence, wanted, offset=offset, limit=recover.LAST_WORDS_BYTES
    )
    return data.decode("utf-8", "replace")
