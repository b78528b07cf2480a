"""Bars: quotas with what is borrowed, and who gets what of a sum of money.

A bar never stands alone: the figures are beside it as text, and the pattern differs where the
colour does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from causeway.draw.figures import money, percent
from causeway.draw.looks import COLOURS, Tone
from causeway.draw.svg import Svg, el, picture, share


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A claim and what is used of it, in one unit."""

    name: str
    used: float
    limit: float | None
    """None: no limit is set."""
    text: str
    """Used and limit in words, with unit."""


def quota_bar(quota: Quota) -> Svg:
    """Return the bar. Above the limit is borrowed and hatched; near the limit is amber."""
    if not quota.limit:
        track = el("rect", y=3, width="100%", height=6, rx=3, fill="var(--track, #e8ebee)")
        return picture(
            f"{quota.name}: {quota.text}", track, width_px=200, height_px=12, class_="bar"
        )
    whole = max(quota.limit, quota.used)
    within = min(quota.used, quota.limit) / whole
    tone = Tone.BLOCK if quota.used >= 0.9 * quota.limit else Tone.RUN
    parts = [
        el("rect", y=3, width="100%", height=6, rx=3, fill="var(--track, #e8ebee)"),
        el("rect", y=3, width=share(within), height=6, rx=3, fill=COLOURS[tone]),
    ]
    if quota.used > quota.limit:
        over = share((quota.used - quota.limit) / whole)
        parts.append(
            el(
                "rect",
                x=share(within),
                y=4,
                width=over,
                height=4,
                fill="none",
                stroke=COLOURS[tone],
                stroke_dasharray="3 2",
            )
        )
    return picture(f"{quota.name}: {quota.text}", *parts, width_px=200, height_px=12, class_="bar")


def share_bar(value: float, *, name: str) -> Svg:
    """Return a thin bar of a ratio in 0..1."""
    ratio = min(max(value, 0.0), 1.0)
    parts = (
        el("rect", y=3, width="100%", height=6, rx=3, fill="var(--track, #e8ebee)"),
        el("rect", y=3, width=share(ratio), height=6, rx=3, fill="var(--accent, #2463c4)"),
    )
    return picture(f"{name}: {percent(ratio)}", *parts, width_px=120, height_px=12, class_="bar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One party's part of a sum."""

    name: str
    micros: int


_PART_FILLS = (
    "var(--part-1, #2463c4)",
    "var(--part-2, #1a7f4b)",
    "var(--part-3, #8a5cc2)",
    "var(--part-4, #a05a00)",
    "var(--part-5, #59636e)",
)


def money_flow(parts: Sequence[Part], *, currency: str) -> Svg:
    """Return one bar of a sum cut into its parts, each with its name and amount.

    At most five are drawn apart; what is left is one part called `others`.
    """
    ordered = sorted((p for p in parts if p.micros > 0), key=lambda p: (-p.micros, p.name))
    shown = ordered if len(ordered) <= 5 else [*ordered[:4], _rest(ordered[4:])]
    whole = sum(p.micros for p in shown)
    title = f"{money(whole, currency)} goes to {len(ordered)} parties"
    pieces: list[Svg] = []
    at = 0
    for index, part in enumerate(shown):
        text = f"{part.name}: {money(part.micros, currency)}, {percent(part.micros / whole)}"
        pieces.append(
            el(
                "rect",
                el("title", text),
                x=share(at / whole),
                width=share(part.micros / whole),
                height=18,
                fill=_PART_FILLS[index],
                stroke="var(--surface, #fff)",
            )
        )
        at += part.micros
    return picture(title, *pieces, width_px=900, height_px=18, class_="flow")


def part_key(index: int) -> Svg:
    """Return the little square that says which piece of a flow a row of the table is."""
    fill = _PART_FILLS[min(index, 4)]
    box = el("rect", width=10, height=10, rx=2, fill=fill)
    return el("svg", box, width=10, height=10, class_="key", aria_hidden="true", focusable="false")


def _rest(parts: Sequence[Part]) -> Part:
    return Part(name="others", micros=sum(p.micros for p in parts))
