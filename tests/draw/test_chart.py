"""Charts: what they show and say, at the edges of what there is to show."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from causeway.draw.chart import Axes, Bar, Line, bar_chart, line_chart

TIME = Axes(x="hours", y="jobs", steps=True)


@pytest.mark.parametrize(
    "points", [[], [(0.0, math.nan)], [(1.0, 2.0)], [(0.0, 0.0), (0.0, 0.0)], [(1.0, -3.0)]]
)
def test_a_chart_of_little_is_still_a_picture(points: list[tuple[float, float]]) -> None:
    text = line_chart([Line(label="a<b", points=points)], name="queue", axes=TIME)
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "nan" not in text


def test_lines_differ_by_more_than_colour() -> None:
    lines = [Line(label=f"p{i}", points=[(0.0, i), (1.0, i + 1)]) for i in range(12)]
    text = line_chart(lines, name="n", axes=Axes(x="s", y="share", x_log=True))
    root = ElementTree.fromstring(text)
    looks = {
        (one.get("stroke"), one.get("stroke-dasharray"))
        for one in root.iter()
        if one.tag.endswith("polyline")
    }
    assert len(looks) == 12


def test_many_points_keep_their_extremes() -> None:
    points = [(float(i), 1000.0 if i == 77_777 else 1.0) for i in range(100_000)]
    text = line_chart([Line(label="a", points=points)], name="n", axes=TIME)
    assert len(text) < 60_000
    assert "1,000" in text


def test_bars_show_interval_figure_and_what_is_published() -> None:
    bars = [
        Bar(label="fgd", value=0.95, text="0.95 ± 0.01", low=0.94, high=0.96, published=0.9539),
        Bar(label="none", value=math.nan, text="–", low=math.nan, high=math.nan),
    ]
    text = bar_chart(bars, name="allocation_share")
    assert text.count("<path") == 1
    assert "0.95 ± 0.01" in text
    assert "none" not in text
