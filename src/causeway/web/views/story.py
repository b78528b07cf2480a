"""Events as a story: what happened, without what happens all the time.

An island's routine reports and the artefact behind each checkpoint say nothing that another line
does not, and checkpoints in a row are one line; otherwise an hour of training would push the loss
of an island off the page. The events API has every one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from causeway.model.events import Event
from causeway.web.views.lines import EventLine, event_line

ROUTINE = frozenset({"island.inventory", "island.session"})
CHECKPOINT = "job.checkpoint"


def story(
    events: Iterable[Event], names: Mapping[str, str] | None = None, *, limit: int
) -> tuple[EventLine, ...]:
    """Return at most `limit` lines from events, newest first in both."""
    lines: list[EventLine] = []
    row: list[Event] = []
    for event in events:
        if _routine(event):
            continue
        if event.kind == CHECKPOINT and (not row or row[-1].subject == event.subject):
            row.append(event)
            continue
        lines += _checkpoints(row, names)
        row = [event] if event.kind == CHECKPOINT else []
        if not row:
            lines.append(event_line(event, names))
        if len(lines) >= limit:
            return tuple(lines[:limit])
    return tuple([*lines, *_checkpoints(row, names)][:limit])


def _routine(event: Event) -> bool:
    behind = event.kind == "artifact.kept" and event.data.get("of") == "checkpoint"
    return behind or event.kind in ROUTINE


def _checkpoints(row: Sequence[Event], names: Mapping[str, str] | None) -> list[EventLine]:
    """Return one line for checkpoints in a row: the newest, and how many came before it."""
    if not row:
        return []
    line = event_line(row[0], names)
    if len(row) == 1:
        return [line]
    first = row[-1].data.get("step", "?")
    return [replace(line, text=f"{line.text} · {len(row) - 1} before it, from step {first}")]
