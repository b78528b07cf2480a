"""How the twin's figures are written, the same on a terminal, in the report and in the docs."""

from __future__ import annotations

import math

from causeway.draw.figures import DASH, span

SIMULATED = "SIMULATED"
"""Stands wherever a person looks at what a twin gave."""


def figure(value: float | None) -> str:
    """Return a figure with the digits that a comparison needs.

    >>> figure(0.95391), figure(12.3456), figure(4037.6), figure(None), figure(float("nan"))
    ('0.9539', '12.346', '4,037.6', '–', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    return f"{value:,.1f}" if size >= 1000 else f"{value:.3f}" if size >= 1 else f"{value:.4f}"


def interval(half_width: float | None) -> str:
    """Return half of an interval with its sign.

    >>> interval(0.5), interval(None)
    ('± 0.5000', '–')
    """
    return DASH if half_width is None else f"± {figure(half_width)}"


def difference(ours: float, published: float | None) -> str:
    """Return how far ours is from what is published, in its unit and of what is published.

    >>> difference(0.95, 0.96), difference(2.0, None)
    ('-0.0100 (-1.0%)', '–')
    """
    if published is None or not math.isfinite(ours):
        return DASH
    gap = ours - published
    sign = "+" if gap > 0 else ""
    if published == 0:
        return f"{sign}{figure(gap)}"
    return f"{sign}{figure(gap)} ({sign}{gap / abs(published) * 100:.1f}%)"


def seconds(value_s: float) -> str:
    """Return a length of time in words."""
    return span(round(value_s * 1000))
