"""Forecasts see no hour that is not over; rules are never late nor better than the bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from causeway.schedule.shift import deferral, forecast
from causeway.schedule.shift.deferral import Arrivals, Ran
from causeway.schedule.shift.windows import Cheapest, least_in_one_piece, least_in_pieces

HORIZON = 40
Floats = np.ndarray


def sunny(days: int = 60, seed: int = 0) -> Floats:
    """Hours with a day, a week and weather in them."""
    draw = np.random.default_rng(seed)
    hour = np.arange(days * 24)
    weather = np.repeat(draw.normal(0, 30, days), 24)
    day = 60 * np.cos((hour - 13) / 24 * 2 * np.pi)
    return np.asarray(
        400 - day - 20 * (hour // 24 % 7 >= 5) + weather + draw.normal(0, 5, len(hour))
    )


WEIGHTS = forecast.learn([sunny(seed=1), sunny(seed=2)], HORIZON)


@pytest.mark.parametrize(
    "look",
    [
        lambda hours, at: forecast.forecast(hours, at, WEIGHTS),
        lambda hours, at: forecast.yesterday(hours, at, HORIZON),
    ],
)
def test_a_forecast_does_not_know_the_future(look: Callable[[Floats, Floats], Floats]) -> None:
    hours, at = sunny(), np.array([400, 700, 1_100])
    for moment in at:
        other = hours.copy()
        other[moment:] = -1e9
        alone = np.array([moment])
        assert look(hours, alone).tolist() == look(other, alone).tolist()
    assert np.isfinite(look(hours, np.arange(len(hours)))).all()


def test_what_was_learnt_elsewhere_beats_yesterday() -> None:
    hours = sunny(seed=7)
    at = np.arange(400, len(hours) - HORIZON)
    truth = hours[at[:, None] + np.arange(HORIZON)]
    ours = np.abs(forecast.forecast(hours, at, WEIGHTS) - truth).mean()
    naive = np.abs(forecast.yesterday(hours, at, HORIZON) - truth).mean()
    assert ours < 0.9 * naive


def test_zones_of_no_spread_or_too_short_teach_nothing() -> None:
    weights = forecast.learn([np.full(2_000, 5.0), sunny(3)], HORIZON)
    assert not weights.by_hour.any()
    assert weights.horizon == HORIZON


def rules(jobs: Arrivals, hours: Floats, looks: Floats) -> list[tuple[Ran, bool]]:
    """Every rule, and whether it runs in one piece."""
    return [
        (deferral.at_arrival(hours, jobs), True),
        (deferral.one_piece(hours, jobs, looks, committed=True), True),
        (deferral.one_piece(hours, jobs, looks, committed=False), True),
        (deferral.threshold(hours, jobs, one_piece=True), True),
        (deferral.in_pieces(hours, jobs, looks, committed=True), False),
        (deferral.in_pieces(hours, jobs, looks, committed=False), False),
        (deferral.threshold(hours, jobs, one_piece=False), False),
    ]


@pytest.mark.parametrize(("length", "slack"), [(1, 0), (1, 24), (5, 10), (16, 24)])
def test_no_rule_is_late_or_better_than_the_bound(length: int, slack: int) -> None:
    hours = sunny(20)
    jobs = deferral.arrivals(len(hours), length, slack)
    looks = forecast.forecast(hours, np.arange(len(hours)), WEIGHTS)
    piece = least_in_one_piece(hours, length, slack)[: len(jobs.first)]
    pieces = least_in_pieces(Cheapest(hours), len(hours), length, slack)[: len(jobs.first)]
    for ran, whole in rules(jobs, hours, looks):
        assert (ran.took_h <= jobs.end - jobs.first).all()
        assert (ran.took_h >= ran.waited_h + length).all()
        assert (ran.cost >= (piece if whole else pieces) - 1e-6).all()


def test_with_a_perfect_forecast_the_bound_is_reached() -> None:
    hours = sunny(20)
    padded = np.concatenate([hours, np.full(HORIZON, 1e6)])
    looks = np.lib.stride_tricks.sliding_window_view(padded, HORIZON)[: len(hours)]
    jobs = deferral.arrivals(len(hours), 4, 24)
    many = len(jobs.first)
    piece = least_in_one_piece(hours, 4, 24)[:many]
    pieces = least_in_pieces(Cheapest(hours), len(hours), 4, 24)[:many]
    for committed in (True, False):
        whole = deferral.one_piece(hours, jobs, looks, committed=committed)
        parts = deferral.in_pieces(hours, jobs, looks, committed=committed)
        assert whole.cost == pytest.approx(piece)
        assert parts.cost == pytest.approx(pieces)


def test_a_job_that_comes_last_has_what_is_left_of_the_series() -> None:
    jobs = deferral.arrivals(100, 10, 24)
    assert len(jobs.first) == 90
    assert jobs.slack[[0, 65, 66, 67, 89]].tolist() == [24, 24, 24, 23, 1]
    assert len(deferral.arrivals(100, 10, 100).first) == 91
