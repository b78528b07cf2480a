"""What the bound promises: it holds as often as asked, from past alone, and is not wasteful."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.tidal.forecast import POINTS, SHAPES, Forecast, Terms

DAY = 96


def bounds(needs: list[float], *, ahead: int = 2, miss_share: float = 0.01) -> list[float]:
    forecast = Forecast(Terms(ahead_steps=ahead, day_steps=DAY, miss_share=miss_share))
    found = []
    for need in needs:
        forecast.observe(need)
        found.append(forecast.bound())
    return found


def tide(days: int) -> list[float]:
    steps = np.arange(days * DAY)
    noise = np.random.default_rng(3).normal(0, 1, len(steps))
    return (30 + 20 * np.sin(2 * np.pi * steps / DAY) + noise).tolist()


def test_it_holds_about_as_often_as_it_was_asked_to() -> None:
    needs, ahead = tide(30), 2
    found = bounds(needs, ahead=ahead)
    after = range(5 * DAY, len(needs) - ahead)
    missed = np.mean([max(needs[t + 1 : t + 1 + ahead]) > found[t] for t in after])
    assert missed < 0.03


def test_a_daily_tide_is_followed_closer_than_by_its_prior() -> None:
    needs = tide(14)
    found = np.array(bounds(needs))
    assert (found[-DAY:] / needs[-DAY:]).mean() < 1.35
    assert (found[: DAY // 4] / needs[: DAY // 4]).min() > 1.6


def test_nothing_known_is_no_bound() -> None:
    assert Forecast(Terms(ahead_steps=2)).bound() == float("inf")


@settings(max_examples=15, deadline=None)
@given(
    needs=st.lists(st.floats(0, 500), min_size=4, max_size=150),
    other=st.lists(st.floats(0, 500), min_size=1, max_size=20),
)
def test_it_looks_at_the_past_only_and_never_below_it(
    needs: list[float], other: list[float]
) -> None:
    alone, longer = bounds(needs), bounds(needs + other)
    assert longer[: len(needs)] == alone
    assert all(bound >= need for bound, need in zip(alone, needs, strict=True))


def test_what_the_class_paid_is_asked_of_the_bound() -> None:
    forecast = Forecast(Terms(ahead_steps=1, miss_share=0.01, miss_steps=4.0))
    asked = [forecast.asked]
    for step in range(1000):
        forecast.observe(5.0, broken=step in (800, 801, 802, 803, 804, 805))
        asked.append(forecast.asked)
    assert asked[0] == asked[4] == pytest.approx(0.01 * 0.02)  # Nothing is earned yet.
    assert asked[800] == pytest.approx(0.02)
    assert asked[806] < asked[1000] < asked[800]


def test_a_miss_raises_the_margin() -> None:
    calm = [20.0] * (2 * DAY)
    missed = [*calm, 70.0, *[20.0] * 5]
    assert bounds(missed)[-1] > bounds(calm)[-1]


def test_memory_is_bounded() -> None:
    forecast = Forecast(Terms(ahead_steps=1, day_steps=4, memory_days=2))
    for need in range(500):
        forecast.observe(need % 7)
        forecast.bound()
    assert len(forecast._past) <= 64
    assert {len(errors.by_size) for errors in forecast._errors} == {8}
    assert len(forecast._errors) == len(POINTS) * len(SHAPES)
