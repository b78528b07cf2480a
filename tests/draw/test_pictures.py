"""Pictures are well-formed, named, pure, and say in words what they say in colour."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.draw.bars import Part, Quota, money_flow, quota_bar, share_bar
from causeway.draw.curve import Trace, curve, spark_text, sparkline
from causeway.draw.gantt import Bar, Phase, Row, gantt
from causeway.draw.looks import ICONS, Look, Tone, icon
from causeway.draw.projection import HEIGHT, WIDTH, project
from causeway.draw.world import Spot, land_path, world_map

SVG = "{http://www.w3.org/2000/svg}"
LIVE = Look(tone=Tone.RUN, icon="check", word="live")


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def spot(name: str, latitude: float, longitude: float, *, busy: int = 1) -> Spot:
    return Spot(
        id=name,
        name=name,
        href=f"#{name}",
        latitude_deg=latitude,
        longitude_deg=longitude,
        devices=4,
        busy=busy,
        look=LIVE,
        note="1/4 busy",
    )


def every_picture() -> list[str]:
    rows = [Row(label="1", href="#a", bars=(Bar(phase=Phase.RUNNING, start_ms=0, end_ms=9),))]
    return [
        world_map([spot("alba", 59.9, 10.7)]),
        gantt(rows, now_ms=10),
        curve([Trace(label="1", points=((0, 2.0), (1, 1.0)))], name="loss"),
        curve([], name="loss"),
        sparkline([1.0, 2.0], name="load"),
        quota_bar(Quota(name="devices", used=3, limit=2, text="3 of 2")),
        share_bar(0.5, name="load"),
        money_flow([Part(name="a", micros=3), Part(name="b", micros=1)], currency="USD"),
    ]


@pytest.mark.parametrize("index", range(8))
def test_every_picture_is_well_formed_named_and_free_of_inline_style(index: int) -> None:
    text = every_picture()[index]
    root = parsed(text)
    assert root.get("role") in ("img", "group")
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == root.get("aria-label")
    assert title.text
    assert "style=" not in text
    assert text == every_picture()[index]


@given(st.text(max_size=40))
def test_names_from_outside_cannot_break_out(name: str) -> None:
    clean = "".join(c for c in name if c.isprintable())
    text = world_map([spot(clean, 0, 0)])
    assert clean in "".join(parsed(text).itertext())
    assert "<script" not in text.replace("&lt;script", "")


def test_the_projection_agrees_with_the_one_that_drew_the_outline() -> None:
    # Figures printed by d3-geo when the outline was made.
    for (lon, lat), (x, y) in {
        (0.0, 0.0): (500.0, 259.9982544540716),
        (-74.0, 40.7): (310.9707603279097, 128.75121900693827),
        (151.2, -33.9): (896.9070852097716, 369.33858415189366),
        (180.0, 80.0): (838.1582843978806, 15.602034804018217),
    }.items():
        assert project(lon, lat) == pytest.approx((x, y), abs=1e-6)


def test_the_outline_stays_inside_its_frame() -> None:
    x = y = 0
    for command, numbers in re.findall(r"([Ml])([-\d ]+)", land_path()):
        values = [int(v) for v in re.findall(r"-?\d+", numbers)]
        pairs = zip(values[::2], values[1::2], strict=True)
        for dx, dy in pairs:
            x, y = (dx, dy) if command == "M" else (x + dx, y + dy)
            assert 0 <= x <= WIDTH * 10
            assert 0 <= y <= HEIGHT * 10


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(-55, 80), st.floats(-180, 180)), min_size=0, max_size=12, unique=True
    )
)
def test_any_set_of_islands_can_be_drawn(places: list[tuple[float, float]]) -> None:
    spots = [spot(f"i{n}", lat, lon) for n, (lat, lon) in enumerate(places)]
    root = parsed(world_map(spots))
    assert len(root.findall(f"{SVG}a")) == len(places)


def test_islands_at_one_place_are_drawn_apart_and_tied_to_it() -> None:
    root = parsed(world_map([spot("a", 50, 8), spot("b", 50, 8), spot("c", 50, 8)]))
    at = {(s.get("x"), s.get("y")) for a in root.findall(f"{SVG}a") for s in a.findall(f"{SVG}svg")}
    assert len(at) == 3
    assert len(root.findall(f".//{SVG}line")) >= 2


def test_a_thousand_islands_are_dots_with_titles() -> None:
    spots = [spot(f"i{n}", n % 90 - 30, n % 360 - 180) for n in range(1000)]
    root = parsed(world_map(spots))
    assert len(root.findall(f"{SVG}a")) == 1000
    assert root.findall(f".//{SVG}text") == []


def test_a_lost_attempt_is_hatched_and_says_so() -> None:
    bars = (Bar(phase=Phase.RUNNING, start_ms=0, end_ms=60_000),)
    lost = gantt([Row(label="1", href="#a", bars=bars, lost=True)], now_ms=90_000)
    kept = gantt([Row(label="1", href="#a", bars=bars)], now_ms=90_000)
    assert "url(#hatch)" in lost
    assert "running 1 min, lost" in lost
    assert "url(#hatch)" not in kept
    assert ", lost" not in kept


def test_an_open_bar_goes_on_until_now() -> None:
    row = Row(label="1", bars=(Bar(phase=Phase.RUNNING, start_ms=1000),))
    assert "running 5 s so far" in gantt([row], now_ms=6000)


def test_the_seam_is_marked_and_what_was_done_twice_is_dashed() -> None:
    first = Trace(label="1 · bora", points=tuple((s, 5 - s / 10) for s in range(21)))
    second = Trace(
        label="2 · alba", points=tuple((s, 5 - s / 10) for s in range(15, 31)), resumed_step=14
    )
    text = curve([first, second], name="loss")
    assert "2 · alba from step 14" in text
    assert text.count("polyline") == 3
    assert "stroke-dasharray" in curve([first, second], name="loss")
    assert curve([first], name="loss").count("polyline") == 1


def test_points_that_are_not_numbers_are_left_out() -> None:
    text = curve([Trace(label="1", points=((0, float("nan")), (1, 2.0), (2, 1.0)))], name="loss")
    assert "nan" not in text


def test_a_million_points_stay_a_small_picture() -> None:
    points = tuple((s, float(s % 7)) for s in range(100_000))
    assert len(curve([Trace(label="1", points=points)], name="loss")) < 20_000


def test_borrowing_is_drawn_apart_from_the_quota() -> None:
    over = quota_bar(Quota(name="devices", used=4, limit=2, text="4 of 2, 2 borrowed"))
    under = quota_bar(Quota(name="devices", used=1, limit=2, text="1 of 2"))
    assert "stroke-dasharray" in over
    assert "stroke-dasharray" not in under


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=9))
def test_a_flow_shows_the_whole_sum(parts: list[int]) -> None:
    text = money_flow([Part(name=f"p{i}", micros=m) for i, m in enumerate(parts)], currency="USD")
    widths = [float(w) for w in re.findall(r'width="([\d.]+)%"', text)]
    assert len(widths) == min(len(parts), 5)
    assert sum(widths) == pytest.approx(100, abs=0.06)


def test_every_icon_draws_and_hides_from_those_who_hear_the_word() -> None:
    for name in ICONS:
        assert parsed(icon(name)).get("aria-hidden") == "true"


def test_a_terminal_gets_blocks() -> None:
    assert spark_text([float("nan")]) == ""
    assert len(spark_text([1.0] * 9)) == 9
