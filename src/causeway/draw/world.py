"""The map of islands: where they are, how large, how busy, and in what state.

The area of a circle is capacity; the filled part is the share in use; the mark inside and the word
in the label are its state. The outline is read once from `land.svg` beside this file, which is a
part of the room like a constant; pages that serve that file pass its address instead, so that
the outline crosses the wire once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import cos, pi, sin, sqrt

from causeway.draw.looks import COLOURS, ICONS, Look, Tone
from causeway.draw.projection import HEIGHT, WIDTH, project
from causeway.draw.svg import Svg, el, group_picture, share

_RADIUS_MIN_PX, _RADIUS_MAX_PX = 9.0, 24.0
_LABEL_LINE_PX = 15.0


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


@cache
def land_path() -> str:
    """Return the outline's path data, in tenths of a map unit."""
    text = files("causeway.draw").joinpath("land.svg").read_text("utf-8")
    return text.partition('id="land" d="')[2].partition('"')[0]


def world_map(spots: Sequence[Spot], *, land_href: str = "") -> Svg:
    """Return the map. Circles are links; their order is the order given (and of the Tab key)."""
    largest = max((s.devices for s in spots), default=1) or 1
    land = (
        el("use", href=land_href, class_="land", fill="var(--land, #d9dee3)")
        if land_href
        else el("path", d=land_path(), class_="land", fill="var(--land, #d9dee3)")
    )
    base = el(
        "svg",
        land,
        viewBox=f"0 0 {WIDTH * 10:.0f} {HEIGHT * 10:.0f}",
        width="100%",
        height="100%",
        aria_hidden="true",
    )
    boxes: list[tuple[float, float, float, float]] = []
    marks = [_mark(s, largest, boxes) for s in spots]
    count = len(spots)
    title = f"Map of {count} island{'' if count == 1 else 's'}"
    return group_picture(title, base, *marks, width_px=WIDTH, height_px=HEIGHT, class_="map")


def _mark(spot: Spot, largest: int, boxes: list[tuple[float, float, float, float]]) -> Svg:
    x, y = project(spot.longitude_deg, spot.latitude_deg)
    radius = max(_RADIUS_MIN_PX, _RADIUS_MAX_PX * sqrt(max(spot.devices, 1) / largest))
    colour = COLOURS[spot.look.tone]
    used = min(1.0, spot.busy / spot.devices) if spot.devices else 0.0
    parts = [
        el("title", f"{spot.name}: {spot.look.word}, {spot.busy} of {spot.devices} devices in use"),
        el("circle", r=radius, fill="var(--surface, #fff)", stroke=colour, stroke_width=1.5),
        _wedge(radius - 2.5, used),
        _glyph(spot.look, radius),
        _label(spot, (x, y), radius, boxes),
    ]
    placed = el("svg", *parts, x=share(x / WIDTH), y=share(y / HEIGHT), overflow="visible")
    words = f"{spot.name}, {spot.look.word}, {spot.busy} of {spot.devices} devices in use"
    return el("a", placed, href=spot.href, aria_label=words, class_="spot")


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
    side = min(16.0, radius * 1.1)
    scale = side / 16
    shift = -side / 2
    return el(
        "path",
        d=ICONS[look.icon],
        fill=COLOURS[look.tone],
        fill_rule="evenodd",
        transform=f"translate({shift:.2f} {shift:.2f}) scale({scale:.3f})",
    )


def _label(
    spot: Spot,
    at: tuple[float, float],
    radius: float,
    boxes: list[tuple[float, float, float, float]],
) -> Svg:
    """Name and state beside the circle, on the first side where they cover no other label."""
    note = f"{spot.look.word} · {spot.note}" if spot.note else spot.look.word
    width = 6.7 * max(len(spot.name), len(note)) + 4
    x, y = at
    gap = radius + 6
    sides = (
        ("start", gap, -2.0, (x + gap, y - 15, x + gap + width, y + 17)),
        ("end", -gap, -2.0, (x - gap - width, y - 15, x - gap, y + 17)),
        ("middle", 0.0, gap + 10, (x - width / 2, y + gap, x + width / 2, y + gap + 32)),
        ("middle", 0.0, -gap - 17, (x - width / 2, y - gap - 32, x + width / 2, y - gap)),
    )
    inside = [s for s in sides if s[3][0] >= 0 and s[3][2] <= WIDTH]
    chosen = next((s for s in inside if not _covered(s[3], boxes)), (inside or list(sides))[0])
    boxes.append(chosen[3])
    boxes.append((x - radius, y - radius, x + radius, y + radius))
    anchor, dx, dy, _ = chosen
    tone = COLOURS[spot.look.tone if spot.look.tone is not Tone.DONE else Tone.WAIT]
    return el(
        "g",
        el("text", spot.name, x=dx, y=dy, text_anchor=anchor, class_="map-name"),
        el(
            "text",
            note,
            x=dx,
            y=dy + _LABEL_LINE_PX,
            text_anchor=anchor,
            class_="map-note",
            fill=tone,
        ),
        class_="map-label",
        font_size="12.5",
        fill="var(--ink, #1b1f24)",
    )


def _covered(
    box: tuple[float, float, float, float], others: Sequence[tuple[float, float, float, float]]
) -> bool:
    left, top, right, bottom = box
    return any(left < r and lft < right and top < b and t < bottom for lft, t, r, b in others)
