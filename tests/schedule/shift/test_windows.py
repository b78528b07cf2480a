"""The cheapest hours of a window are what sorting it finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.shift.windows import (
    Cheapest,
    least_in_one_piece,
    least_in_pieces,
    sliding_least,
    sums,
)

values = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(values, st.data())
def test_the_k_cheapest_of_any_window(hours: list[int], data: st.DataObject) -> None:
    series = np.array(hours, float)
    first = data.draw(st.integers(0, len(hours) - 1))
    end = data.draw(st.integers(first + 1, len(hours)))
    count = data.draw(st.integers(0, len(hours) + 2))
    got = Cheapest(series).cost(np.array([first]), np.array([end]), count)
    assert got[0] == pytest.approx(sum(sorted(hours[first:end])[:count]))


@settings(max_examples=60, deadline=None)
@given(values, st.integers(0, 50))
def test_the_least_of_a_sliding_window(hours: list[int], reach: int) -> None:
    got = sliding_least(np.array(hours, float), reach)
    assert got.tolist() == [min(hours[i : i + reach + 1]) for i in range(len(hours))]


@settings(max_examples=40, deadline=None)
@given(values, st.integers(1, 6), st.integers(0, 12))
def test_both_bounds_against_trying_every_start(hours: list[int], length: int, slack: int) -> None:
    series = np.array(hours, float)
    if length > len(hours):
        return
    whole = sums(series, length)
    piece = least_in_one_piece(series, length, slack)
    pieces = least_in_pieces(Cheapest(series), len(hours), length, slack)
    for first in range(len(hours) - length + 1):
        window = hours[first : first + slack + length]
        assert piece[first] == min(whole[first : first + slack + 1])
        assert pieces[first] == pytest.approx(sum(sorted(window)[:length]))
    assert (pieces <= piece + 1e-9).all()
