"""Curves: what a job measured of itself, with the seams between attempts, and sparklines.

A seam is where one attempt ended and the next went on from a checkpoint. Steps that were done twice
are drawn faint in the attempt that lost them, so that what the interruption cost can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from causeway.draw.figures import plain
from causeway.draw.svg import Svg, el, number, picture, share

_HEIGHT_PX, _LEFT_PX, _BOTTOM_PX, _TOP_PX = 220.0, 0.0, 22.0, 26.0
_POINTS_MAX = 600
_FIELD = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The points of one attempt in the order of its steps."""

    label: str
    points: tuple[tuple[int, float], ...]
    """(step, value)"""
    resumed_step: int = -1
    """Checkpoint it went on from; -1: from the beginning."""


def curve(traces: Sequence[Trace], *, name: str) -> Svg:
    """Return the curve of one value over steps, or a picture that says that there is none yet."""
    kept = [(t, [p for p in t.points if isfinite(p[1])]) for t in traces]
    kept = [(t, points) for t, points in kept if points]
    every = [p for _, points in kept for p in points]
    if not every:
        note = el("text", f"No {name} was reported yet", x="50%", y="50%", text_anchor="middle")
        return picture(f"{name}: nothing yet", note, width_px=900, height_px=80, class_="curve")
    steps, values = [p[0] for p in every], [p[1] for p in every]
    frame = _Frame(
        step_min=min(steps), step_max=max(steps), value_min=min(values), value_max=max(values)
    )
    lines = [part for i in range(len(kept)) for part in _lines(kept, i, frame)]
    field = el(
        "svg",
        *lines,
        y=_TOP_PX,
        width="100%",
        height=_HEIGHT_PX - _TOP_PX - _BOTTOM_PX,
        viewBox=f"0 0 {_FIELD:.0f} {_FIELD:.0f}",
        preserveAspectRatio="none",
        overflow="visible",
    )
    seams = [_seam(t, frame, i) for i, (t, _) in enumerate(kept) if t.resumed_step >= 0]
    last = kept[-1][1][-1]
    title = (
        f"{name} over steps {frame.step_min} to {frame.step_max}: from {plain(every[0][1])} to "
        f"{plain(last[1])}, {len(seams)} seam{'' if len(seams) == 1 else 's'}"
    )
    return picture(
        title, _grid(frame), field, *seams, width_px=900, height_px=_HEIGHT_PX, class_="curve"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    step_min: int
    step_max: int
    value_min: float
    value_max: float

    def x(self, step: float) -> float:
        """Return the place of a step as a ratio."""
        return (step - self.step_min) / max(self.step_max - self.step_min, 1)

    def y(self, value: float) -> float:
        """Return the place of a value as a ratio from the top."""
        gap = self.value_max - self.value_min
        return (self.value_max - value) / gap if gap > 0 else 0.5


def _lines(kept: list[tuple[Trace, list[tuple[int, float]]]], i: int, frame: _Frame) -> list[Svg]:
    points = _thin(kept[i][1])
    later = [t.resumed_step for t, _ in kept[i + 1 :] if t.resumed_step >= 0]
    cut = min(later, default=frame.step_max)
    good = [p for p in points if p[0] <= cut]
    redone = (
        [p for p in points if p[0] >= (good[-1][0] if good else 0)] if points[-1][0] > cut else []
    )
    parts = []
    if redone:
        parts.append(
            _polyline(redone, frame, dash="3 4", width=1.25, stroke="var(--block, #a05a00)")
        )
    if good:
        parts.append(_polyline(good, frame, dash=None, width=1.75, stroke="var(--accent, #2463c4)"))
    return parts


def _polyline(
    points: Sequence[tuple[int, float]],
    frame: _Frame,
    *,
    dash: str | None,
    width: float,
    stroke: str,
) -> Svg:
    at = " ".join(f"{number(frame.x(s) * _FIELD)},{number(frame.y(v) * _FIELD)}" for s, v in points)
    return el(
        "polyline",
        points=at,
        fill="none",
        stroke=stroke,
        stroke_width=width,
        stroke_dasharray=dash,
        stroke_linejoin="round",
        vector_effect="non-scaling-stroke",
    )


def _grid(frame: _Frame) -> Svg:
    parts: list[Svg] = []
    bottom = _HEIGHT_PX - _BOTTOM_PX
    for i in range(5):
        ratio = i / 4
        y = _TOP_PX + ratio * (bottom - _TOP_PX)
        value = frame.value_max - ratio * (frame.value_max - frame.value_min)
        parts.append(el("line", x1=0, x2="100%", y1=y, y2=y, stroke="var(--line, #e3e6ea)"))
        parts.append(el("text", plain(value), x="100%", dx=8, y=y + 4))
    for i in range(5):
        step = round(frame.step_min + i / 4 * (frame.step_max - frame.step_min))
        anchor = "start" if i == 0 else "end" if i == 4 else "middle"
        x = share(i / 4)
        parts.append(
            el(
                "text",
                f"step {step}" if i == 0 else str(step),
                x=x,
                y=_HEIGHT_PX - 5,
                text_anchor=anchor,
            )
        )
    return el("g", *parts, font_size="11", fill="var(--ink-2, #59636e)")


def _seam(trace: Trace, frame: _Frame, index: int) -> Svg:
    ratio = min(max(frame.x(trace.resumed_step), 0.0), 1.0)
    x = share(ratio)
    right = ratio > 0.55
    text = f"{trace.label} from step {trace.resumed_step}"
    return el(
        "g",
        el("title", text),
        el(
            "line",
            x1=x,
            x2=x,
            y1=8,
            y2=_HEIGHT_PX - _BOTTOM_PX,
            stroke="var(--block, #a05a00)",
            stroke_dasharray="2 3",
        ),
        el(
            "text",
            text,
            x=x,
            dx=-6 if right else 6,
            y=14 + 13 * (index % 2),
            text_anchor="end" if right else "start",
            fill="var(--block, #a05a00)",
        ),
        font_size="11.5",
    )


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Keep at most `_POINTS_MAX` points, evenly, with the first and the last."""
    if len(points) <= _POINTS_MAX:
        return points
    stride = (len(points) - 1) / (_POINTS_MAX - 1)
    return [points[round(i * stride)] for i in range(_POINTS_MAX)]


def sparkline(values: Sequence[float], *, name: str) -> Svg:
    """Return a small curve without axes for a table cell."""
    kept = [v for v in values if isfinite(v)][-120:]
    if len(kept) < 2:
        return picture(f"{name}: too few points", width_px=96, height_px=20, class_="spark")
    low, high = min(kept), max(kept)
    gap = (high - low) or 1.0
    at = " ".join(
        f"{number(1 + 94 * i / (len(kept) - 1))},{number(18 - 16 * (v - low) / gap)}"
        for i, v in enumerate(kept)
    )
    line = el("polyline", points=at, fill="none", stroke="var(--accent, #2463c4)", stroke_width=1.5)
    title = f"{name}: from {plain(kept[0])} to {plain(kept[-1])}"
    return picture(title, line, width_px=96, height_px=20, class_="spark")


_BLOCKS = "▁▂▃▄▅▆▇█"


def spark_text(values: Sequence[float]) -> str:
    """Return a sparkline for a terminal.

    >>> spark_text([1, 2, 3])
    '▁▅█'
    """
    kept = [v for v in values if isfinite(v)]
    if not kept:
        return ""
    low, gap = min(kept), (max(kept) - min(kept)) or 1.0
    return "".join(_BLOCKS[min(7, int((v - low) / gap * 8))] for v in kept)
