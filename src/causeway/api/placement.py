"""The placement table of a job that was placed, as it was decided: read from the story.

The decision's event keeps the rows, so what is shown later is what the scheduler saw then; asking
the scheduler again would answer for another moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from causeway.api.door import Door
from causeway.model.fleet import Candidate

PLACED = "job.placed"
EVENTS_LOOKED_AT = 500
"""Newest events among which the last placement is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The last placement: how every offer looked, and when."""

    at_ms: int = 0
    """0: never placed, or placed before events kept the table."""
    fence: int = 0
    candidates: tuple[Candidate, ...] = ()


async def decided(door: Door, job: str) -> Decided:
    """Return the table of the job's newest placement."""
    found = await door.stored(
        lambda store: store.events(subject=job, newest=True, limit=EVENTS_LOOKED_AT)
    )
    placed = next((event for event in found if event.kind == PLACED), None)
    return Decided() if placed is None else table(placed.at_ms, placed.data)


def table(at_ms: int, data: Mapping[str, Any]) -> Decided:
    """Turn the event's plain data into the table."""
    rows = data.get("candidates") or []
    if not rows:
        return Decided()
    candidates = msgspec.convert(rows, tuple[Candidate, ...], strict=False)
    return Decided(at_ms=at_ms, fence=int(data.get("fence") or 0), candidates=candidates)
