"""The timeline of one job: every attempt with its phases, and the waits between them.

One row per attempt, oldest first; the label stands above its bar so that narrow pages keep the
whole width for time. Phases differ by shade and by the word in their `<title>`; what was lost is
hatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from causeway.draw.figures import span
from causeway.draw.looks import COLOURS, Tone
from causeway.draw.svg import Svg, el, group_picture, share

_ROW_PX, _BAR_PX, _AXIS_PX = 40.0, 14.0, 26.0
_TICKS_MAX = 6
_STEPS_MS = (
    *(1_000, 2_000, 5_000, 10_000, 20_000, 30_000),
    *(60_000, 120_000, 300_000, 600_000, 1_200_000, 1_800_000),
    *(3_600_000, 7_200_000, 14_400_000, 21_600_000, 43_200_000, 86_400_000),
)


class Phase(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One phase, as a half-open interval; `end_ms` of 0 goes on until now."""

    phase: Phase
    start_ms: int
    end_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    label: str
    note: str = ""
    """Behind the label, e.g. the outcome in words."""
    href: str = ""
    bars: tuple[Bar, ...] = ()
    lost: bool = False


_FILLS: dict[Phase, str] = {
    Phase.QUEUED: "var(--queue-bar, #c9ced6)",
    Phase.STARTING: COLOURS[Tone.START],
    Phase.RUNNING: COLOURS[Tone.RUN],
}


def gantt(rows: Sequence[Row], *, now_ms: int) -> Svg:
    """Return the timeline from the first bar to now, or to the last end."""
    bars = [bar for row in rows for bar in row.bars]
    start = min((b.start_ms for b in bars), default=now_ms)
    end = max((b.end_ms or now_ms for b in bars), default=now_ms)
    whole = max(end - start, 1)
    height = _ROW_PX * len(rows) + _AXIS_PX
    parts = [_hatch(), _axis(start, whole, height)]
    parts += [_row(row, i, (start, whole), now_ms) for i, row in enumerate(rows)]
    count = sum(1 for row in rows if row.href)
    title = f"Timeline over {span(whole)}: {count} attempt{'' if count == 1 else 's'}"
    return group_picture(title, *parts, width_px=900, height_px=height, class_="gantt")


def _hatch() -> Svg:
    stripe = el("path", d="M0 0v7", stroke="var(--surface, #fff)", stroke_width=3)
    pattern = el(
        "pattern",
        stripe,
        id="hatch",
        width=7,
        height=7,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    return el("defs", pattern)


def _axis(start: int, whole: int, height: float) -> Svg:
    step = next((s for s in _STEPS_MS if whole / s <= _TICKS_MAX), whole)
    ticks: list[Svg] = []
    for index in range(_TICKS_MAX + 1):
        at = index * step
        if at > whole:
            break
        x = share(at / whole)
        late = at / whole > 0.94
        anchor = "start" if index == 0 else "end" if late else "middle"
        line = el("line", x1=x, x2=x, y1=0, y2=height - 18, stroke="var(--line, #e3e6ea)")
        text = el("text", f"+{span(at)}" if at else "0", x=x, y=height - 5, text_anchor=anchor)
        ticks += [line, text]
    return el("g", *ticks, font_size="11", fill="var(--ink-2, #59636e)", aria_hidden="true")


def _row(row: Row, index: int, frame: tuple[int, int], now_ms: int) -> Svg:
    top = _ROW_PX * index
    label = el(
        "text",
        el("tspan", row.label, font_weight="600"),
        el("tspan", f" {row.note}", fill="var(--ink-2, #59636e)") if row.note else "",
        x=0,
        y=top + 13,
        font_size="12.5",
        fill="var(--ink, #1b1f24)",
    )
    drawn = [_bar(bar, row, top + 19, frame, now_ms) for bar in row.bars]
    body = el("g", label, *drawn)
    return el("a", body, href=row.href) if row.href else body


def _bar(bar: Bar, row: Row, top: float, frame: tuple[int, int], now_ms: int) -> Svg:
    start, whole = frame
    end = bar.end_ms or now_ms
    place = {
        "x": share((bar.start_ms - start) / whole),
        "width": share(max(end - bar.start_ms, 0) / whole),
    }
    fate = ", lost" if row.lost and bar.phase is not Phase.QUEUED else ""
    going = " so far" if not bar.end_ms else ""
    title = el("title", f"{bar.phase.value} {span(max(end - bar.start_ms, 0))}{going}{fate}")
    thin = bar.phase is Phase.QUEUED
    y, high = (top + 5, _BAR_PX - 10) if thin else (top, _BAR_PX)
    shape = el("rect", title, y=y, height=high, rx=2, fill=_FILLS[bar.phase], **place)
    if not fate:
        return shape
    return el("g", shape, el("rect", y=y, height=high, rx=2, fill="url(#hatch)", **place))
