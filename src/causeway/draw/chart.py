"""Charts with axes: several lines over one another, and bars with the interval of what they say.

For figures that are compared: policies of a run of the twin, nodes of a plan. A line has a dash of
its own beside its colour, a bar stands beside its name and its figure, and what others published
is a hollow diamond with its own word in the key. A chart has a field of its own units and grows
with its frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from causeway.draw.figures import plain
from causeway.draw.svg import Svg, el, number, picture

_WIDTH, _HEIGHT = 760.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 12.0, 14.0, 42.0
_ROW, _NAME, _FIGURE = 24.0, 170.0, 190.0
_POINTS_MAX = 800
_INK = "var(--ink-2, #59636e)"
_GRID = "var(--line, #e3e6ea)"

COLOURS = (
    "var(--part-1, #2463c4)",
    "var(--part-2, #1a7f4b)",
    "var(--part-3, #8a5cc2)",
    "var(--part-4, #a05a00)",
    "var(--part-5, #59636e)",
    "var(--part-6, #b0306a)",
)
DASHES = (None, "7 3", "2 3", "9 3 2 3", "4 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; points in the order of x."""

    label: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What the two axes say."""

    x: str
    y: str
    x_log: bool = False
    steps: bool = False
    """Values hold until the next one: the line goes across, then up or down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One figure with what is known of how far it may be off."""

    label: str
    value: float
    text: str
    """The figure in words."""
    low: float
    high: float
    published: float | None = None


def line_chart(lines: Sequence[Line], *, name: str, axes: Axes) -> Svg:
    """Return the lines with axes and key, or a picture that says that there is nothing."""
    kept = [(line.label, _drawable(line.points, log=axes.x_log)) for line in lines]
    kept = [(label, points) for label, points in kept if points]
    if not kept:
        note = el("text", f"No {name}", x="50%", y="50%", text_anchor="middle", fill=_INK)
        return picture(f"{name}: nothing", note, width_px=_WIDTH, height_px=60, class_="chart")
    every = [point for _, points in kept for point in points]
    frame = _Frame(
        x_low=min(x for x, _ in every),
        x_high=max(x for x, _ in every),
        y_low=min(0.0, min(y for _, y in every)),
        y_high=max(y for _, y in every),
    )
    parts = [_grid(frame, axes)]
    for i, (_, points) in enumerate(kept):
        parts.append(_polyline(_thin(points), frame, i, steps=axes.steps))
    key = [_key(label, i) for i, (label, _) in enumerate(kept)]
    height = _HEIGHT + 18.0 * math.ceil(len(kept) / 4)
    title = f"{name}: {axes.y} over {axes.x}; {', '.join(label for label, _ in kept)}"
    return _whole(title, [*parts, *key], height)


def bar_chart(bars: Sequence[Bar], *, name: str) -> Svg:
    """Return bars from zero, each with its interval, its figure and what is published."""
    kept = [bar for bar in bars if math.isfinite(bar.value)]
    reach = [0.0]
    for bar in kept:
        reach += [bar.high, bar.low, *([] if bar.published is None else [bar.published])]
    low, high = min(reach), max(reach)
    gap = (high - low) or 1.0
    wide = _WIDTH - _NAME - _FIGURE

    def x(value: float) -> float:
        return _NAME + (value - low) / gap * wide

    parts = [
        el(
            "line",
            x1=x(0.0),
            x2=x(0.0),
            y1=4,
            y2=_ROW * len(kept) + 4,
            stroke=_INK,
        )
    ]
    for i, bar in enumerate(kept):
        parts.append(_bar(bar, 4 + i * _ROW, x))
    title = f"{name}: " + "; ".join(f"{bar.label} {bar.text}" for bar in kept)
    return _whole(title, parts, _ROW * len(kept) + 10)


def _bar(bar: Bar, top: float, x: Callable[[float], float]) -> Svg:
    middle = top + _ROW / 2
    left, right = sorted((x(0.0), x(bar.value)))
    parts = [
        el("title", f"{bar.label}: {bar.text}"),
        el("text", bar.label, x=_NAME - 8, y=middle + 4, text_anchor="end", fill=_INK),
        el("rect", x=left, y=top + 5, width=right - left, height=_ROW - 10, fill=COLOURS[0]),
        el("text", bar.text, x=_WIDTH - _FIGURE + 10, y=middle + 4, fill=_INK),
    ]
    if bar.high > bar.low:
        ends = [(bar.low, bar.low), (bar.high, bar.high)]
        parts.append(_stroke(x(bar.low), middle, x(bar.high), middle))
        parts += [_stroke(x(a), middle - 4, x(b), middle + 4) for a, b in ends]
    if bar.published is not None:
        at = x(bar.published)
        diamond = f"M{number(at)} {number(middle - 6)}l5 6l-5 6l-5 -6z"
        parts.append(
            el("path", d=diamond, fill="var(--surface, #fff)", stroke=COLOURS[3], stroke_width=1.5)
        )
    return el("g", *parts, font_size="12")


def _stroke(x1: float, y1: float, x2: float, y2: float) -> Svg:
    ink = "var(--ink, #1f2328)"
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=ink, stroke_width=1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Return the place of a value across."""
        gap = (self.x_high - self.x_low) or 1.0
        return _LEFT + (value - self.x_low) / gap * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return the place of a value from the top."""
        gap = (self.y_high - self.y_low) or 1.0
        return _HEIGHT - _BOTTOM - (value - self.y_low) / gap * (_HEIGHT - _TOP - _BOTTOM)


def _drawable(points: Sequence[tuple[float, float]], *, log: bool) -> list[tuple[float, float]]:
    """Return the finite points; on a logarithmic axis x is its logarithm, from 1 on."""
    found = [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    return [(math.log10(max(x, 1.0)), y) for x, y in found] if log else found


def _polyline(
    points: Sequence[tuple[float, float]], frame: _Frame, index: int, *, steps: bool
) -> Svg:
    at: list[str] = []
    y_before = 0.0
    for i, (x, y) in enumerate(points):
        if steps and i:
            at.append(f"{number(frame.x(x))},{number(y_before)}")
        y_before = frame.y(y)
        at.append(f"{number(frame.x(x))},{number(y_before)}")
    return el(
        "polyline",
        points=" ".join(at),
        fill="none",
        stroke=COLOURS[index % len(COLOURS)],
        stroke_width=1.6,
        stroke_dasharray=DASHES[index % len(DASHES)],
        stroke_linejoin="round",
    )


def _grid(frame: _Frame, axes: Axes) -> Svg:
    parts: list[Svg] = []
    for i in range(5):
        y_value = frame.y_low + i / 4 * (frame.y_high - frame.y_low)
        y = frame.y(y_value)
        parts.append(el("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, stroke=_GRID))
        parts.append(el("text", plain(y_value), x=_LEFT - 6, y=y + 4, text_anchor="end"))
    for at, said in _ticks(frame, log=axes.x_log):
        x = frame.x(at)
        anchor = "end" if x > _WIDTH - 40 else "middle"
        parts.append(el("text", said, x=x, y=_HEIGHT - 26, text_anchor=anchor))
    words = f"{axes.y}   over   {axes.x}"
    parts.append(el("text", words, x=_LEFT, y=_HEIGHT - 8))
    return el("g", *parts, font_size="11", fill=_INK)


def _ticks(frame: _Frame, *, log: bool) -> list[tuple[float, str]]:
    """Return places and words along x; on a logarithmic axis those of powers of ten."""
    if log:
        powers = range(math.ceil(frame.x_low), math.floor(frame.x_high) + 1)
        if len(powers) >= 2:
            return [(float(power), f"{10**power:,}") for power in powers]
    found = [frame.x_low + i / 4 * (frame.x_high - frame.x_low) for i in range(5)]
    return [(at, plain(10.0**at if log else at)) for at in found]


def _key(label: str, index: int) -> Svg:
    x = _LEFT + 170.0 * (index % 4)
    y = _HEIGHT + 8.0 + 18.0 * (index // 4)
    return el(
        "g",
        el(
            "line",
            x1=x,
            x2=x + 26,
            y1=y,
            y2=y,
            stroke=COLOURS[index % len(COLOURS)],
            stroke_width=2,
            stroke_dasharray=DASHES[index % len(DASHES)],
        ),
        el("text", label, x=x + 32, y=y + 4, fill=_INK),
        font_size="12",
    )


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep at most `_POINTS_MAX` points: of each stretch its least and its greatest."""
    if len(points) <= _POINTS_MAX:
        return points
    stretch = math.ceil(len(points) / (_POINTS_MAX // 2))
    kept = [points[0]]
    for at in range(0, len(points), stretch):
        part = points[at : at + stretch]
        values = [y for _, y in part]
        ends = {values.index(min(values)), values.index(max(values))}
        kept += [part[i] for i in sorted(ends)]
    return [*kept, points[-1]]


def _whole(title: str, parts: Sequence[Svg], height: float) -> Svg:
    field = el(
        "svg", *parts, viewBox=f"0 0 {number(_WIDTH)} {number(height)}", width="100%", height="100%"
    )
    return picture(title, field, width_px=_WIDTH, height_px=height, class_="chart")
