"""The map of islands: where they are, how large, how busy, and in what state.

The area of a circle is capacity; the filled part is the share in use; the mark inside and the word
in the label are its state. The map shows the part of the world where islands are, and circles that
would cover one another are moved apart, each with a thread to its true place.

The outline is read once from `land.svg` beside this file, which is a part of the room like a
constant; pages that serve that file pass its address instead, so that it crosses the wire once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import cos, hypot, pi, sin, sqrt

from causeway.draw.looks import COLOURS, ICONS, Look
from causeway.draw.projection import HEIGHT, WIDTH, project
from causeway.draw.svg import Svg, el, group_picture, share

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

LABELS_MAX = 40
"""With more islands than this, circles may overlap and names are in their titles only."""
_RADIUS_MIN_PX, _RADIUS_MAX_PX, _RADIUS_DOT_PX = 8.0, 17.0, 4.0
_SPREAD = 1.35
"""A picture is often narrower than its nominal width; circles keep their pixels, so they are kept
apart by this much more."""
_WINDOW_SHARE_MIN = 0.42
"""Never zoom in further than this share of the world's width: the outline is coarse."""
_ROUNDS = 60
_LINE_PX = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One island on the map."""

    id: str
    name: str
    href: str
    latitude_deg: float
    longitude_deg: float
    devices: int
    busy: int
    look: Look
    note: str = ""
    """A second line, e.g. `3 of 4 busy`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    spot: Spot
    true: Point
    """In pixels of the nominal picture."""
    at: Point
    radius: float


@cache
def land_path() -> str:
    """Return the outline's path data, in tenths of a map unit."""
    text = files("causeway.draw").joinpath("land.svg").read_text("utf-8")
    return text.partition('id="land" d="')[2].partition('"')[0]


def world_map(spots: Sequence[Spot], *, land_href: str = "") -> Svg:
    """Return the map. Circles are links; their order is the order given (and of the Tab key)."""
    points = [project(s.longitude_deg, s.latitude_deg) for s in spots]
    window = _window(points)
    placed = _place(spots, points, window)
    boxes: list[Box] = [_disc_box(p) for p in placed]
    labelled = len(spots) <= LABELS_MAX
    marks = [_mark(p, boxes, labelled=labelled) for p in placed]
    count = len(spots)
    title = f"Map of {count} island{'' if count == 1 else 's'}"
    return group_picture(
        title, _land(window, land_href), *marks, width_px=WIDTH, height_px=HEIGHT, class_="map"
    )


def _land(window: Box, land_href: str) -> Svg:
    fill = "var(--land, #d9dee3)"
    land = (
        el("use", href=land_href, fill=fill) if land_href else el("path", d=land_path(), fill=fill)
    )
    left, top, right, bottom = window
    view = f"{left * 10:.0f} {top * 10:.0f} {(right - left) * 10:.0f} {(bottom - top) * 10:.0f}"
    return el("svg", land, viewBox=view, width="100%", height="100%", aria_hidden="true")


def _window(points: Sequence[Point]) -> Box:
    """Return the part of the world to show, in map units, always in the picture's proportions."""
    if not points:
        return (0.0, 0.0, WIDTH, HEIGHT)
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    need = max((max(xs) - min(xs)) / WIDTH, (max(ys) - min(ys)) / HEIGHT) * 1.5
    part = min(1.0, max(need, _WINDOW_SHARE_MIN))
    width, height = WIDTH * part, HEIGHT * part
    left = (min(xs) + max(xs) - width) / 2
    top = (min(ys) + max(ys) - height) / 2
    left = min(max(left, 0.0), WIDTH - width)
    top = min(max(top, 0.0), HEIGHT - height)
    return (left, top, left + width, top + height)


def _place(spots: Sequence[Spot], points: Sequence[Point], window: Box) -> list[_Placed]:
    """Scale to the picture, then push circles apart until none covers another (bounded rounds)."""
    left, top, right, _ = window
    zoom = WIDTH / (right - left)
    true = [((x - left) * zoom, (y - top) * zoom) for x, y in points]
    largest = max((s.devices for s in spots), default=1) or 1
    least = _RADIUS_MIN_PX if len(spots) <= LABELS_MAX else _RADIUS_DOT_PX
    radii = [max(least, _RADIUS_MAX_PX * sqrt(s.devices / largest)) for s in spots]
    at = list(true)
    for _ in range(_ROUNDS if len(spots) <= LABELS_MAX else 0):
        if not _push(at, radii):
            break
    return [
        _Placed(spot=s, true=t, at=a, radius=r)
        for s, t, a, r in zip(spots, true, at, radii, strict=True)
    ]


def _push(at: list[Point], radii: Sequence[float]) -> bool:
    """Move each pair that is too close apart by half of what is missing. Say whether any moved."""
    moved = False
    for i in range(len(at)):
        for j in range(i):
            dx, dy = at[i][0] - at[j][0], at[i][1] - at[j][1]
            far = hypot(dx, dy)
            missing = (radii[i] + radii[j]) * _SPREAD - far
            if missing <= 0.01:
                continue
            # Islands at one place are spread around it, each in a direction of its own.
            angle = 2.4 * i
            ux, uy = (dx / far, dy / far) if far > 0.01 else (cos(angle), sin(angle))
            at[i] = (at[i][0] + ux * missing / 2, at[i][1] + uy * missing / 2)
            at[j] = (at[j][0] - ux * missing / 2, at[j][1] - uy * missing / 2)
            moved = True
    return moved


def _disc_box(placed: _Placed) -> Box:
    (x, y), r = placed.at, placed.radius
    return (x - r, y - r, x + r, y + r)


def _mark(placed: _Placed, boxes: list[Box], *, labelled: bool) -> Svg:
    spot, radius = placed.spot, placed.radius
    colour = COLOURS[spot.look.tone]
    used = min(1.0, spot.busy / spot.devices) if spot.devices else 0.0
    disc = el(
        "g",
        el("circle", r=radius, fill="var(--surface, #fff)", stroke=colour, stroke_width=1.5),
        _wedge(radius - 2.5, used),
        _glyph(spot.look, radius),
        class_="mark",
    )
    words = f"{spot.name} {_note(spot)}, {spot.busy} of {spot.devices} devices in use"
    x, y = placed.at
    body = el(
        "svg",
        el("title", words),
        disc,
        _label(placed, boxes) if labelled else Svg(""),
        x=share(x / WIDTH),
        y=share(y / HEIGHT),
        overflow="visible",
    )
    return el("a", _thread(placed), body, href=spot.href, class_="spot")


def _thread(placed: _Placed) -> Svg:
    """A line from a circle that was moved to where its island really is."""
    (x, y), (tx, ty) = placed.at, placed.true
    if hypot(x - tx, y - ty) < 3:
        return Svg("")
    ends = {"x1": share(x / WIDTH), "y1": share(y / HEIGHT)}
    ends |= {"x2": share(tx / WIDTH), "y2": share(ty / HEIGHT)}
    dot = el("circle", cx=ends["x2"], cy=ends["y2"], r=1.5, fill="var(--ink-2, #59636e)")
    return el("g", el("line", stroke="var(--ink-2, #59636e)", **ends), dot)


def _wedge(radius: float, used: float) -> Svg:
    """The share in use, filled clockwise from the top."""
    fill = "var(--load, #8fc9aa)"
    if used <= 0:
        return Svg("")
    if used >= 0.999:
        return el("circle", r=radius, fill=fill)
    angle = 2 * pi * used
    x, y = radius * sin(angle), -radius * cos(angle)
    large = 1 if used > 0.5 else 0
    d = f"M0 0V{-radius:.2f}A{radius:.2f} {radius:.2f} 0 {large} 1 {x:.2f} {y:.2f}z"
    return el("path", d=d, fill=fill)


def _glyph(look: Look, radius: float) -> Svg:
    side = min(15.0, radius * 1.1)
    shift = -side / 2
    return el(
        "path",
        d=ICONS[look.icon],
        fill=COLOURS[look.tone],
        fill_rule="evenodd",
        transform=f"translate({shift:.2f} {shift:.2f}) scale({side / 16:.3f})",
    )


def _label(placed: _Placed, boxes: list[Box]) -> Svg:
    """Name and state beside the circle, on the first side where they cover nothing."""
    spot, (x, y) = placed.spot, placed.at
    note = _note(spot)
    width = 7.6 * max(len(spot.name), len(note)) + 4
    gap = placed.radius + 6
    sides: tuple[tuple[str, float, float, Box], ...] = (
        ("start", gap, -2.0, (x + gap, y - 15, x + gap + width, y + 17)),
        ("end", -gap, -2.0, (x - gap - width, y - 15, x - gap, y + 17)),
        ("middle", 0.0, gap + 10, (x - width / 2, y + gap, x + width / 2, y + gap + 32)),
        ("middle", 0.0, -gap - 17, (x - width / 2, y - gap - 32, x + width / 2, y - gap)),
    )
    inside = [s for s in sides if s[3][0] >= 0 and s[3][2] <= WIDTH] or list(sides)
    anchor, dx, dy, box = next((s for s in inside if not _covered(s[3], boxes)), inside[0])
    boxes.append(box)
    name = el("text", spot.name, x=dx, y=dy, text_anchor=anchor, class_="map-name")
    state = el(
        "text",
        note,
        x=dx,
        y=dy + _LINE_PX,
        text_anchor=anchor,
        class_="map-note",
        fill=COLOURS[spot.look.tone],
    )
    return el("g", name, state, class_="map-label", font_size="12.5", fill="var(--ink, #1b1f24)")


def _note(spot: Spot) -> str:
    return f"{spot.look.word} · {spot.note}" if spot.note else spot.look.word


def _covered(box: Box, others: Sequence[Box]) -> bool:
    left, top, right, bottom = box
    return any(left < r and lft < right and top < b and t < bottom for lft, t, r, b in others)
