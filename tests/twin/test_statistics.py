"""Means and intervals over seeds, against tables and against what must hold."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.twin.statistics import paired, summarise, t_quantile


@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423), (999, 1.9623)],
)
def test_quantiles_are_those_of_the_printed_tables(freedom: int, t: float) -> None:
    assert t_quantile(freedom) == pytest.approx(t, abs=5e-5)


def test_one_seed_has_no_interval_and_none_has_no_mean() -> None:
    assert summarise([3.0]).half_width is None
    assert math.isnan(summarise([]).mean)
    assert summarise([1.0, math.inf]).half_width is None


@settings(max_examples=40)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12), st.floats(-1e6, 1e6))
def test_an_interval_moves_with_its_values_and_keeps_its_width(
    values: list[float], shift: float
) -> None:
    a, b = summarise(values), summarise([value + shift for value in values])
    assert b.mean == pytest.approx(a.mean + shift, abs=1e-6)
    assert b.half_width == pytest.approx(a.half_width, abs=1e-5)


@settings(max_examples=40)
@given(st.dictionaries(st.integers(0, 9), st.floats(-1e3, 1e3), min_size=2))
def test_pairs_take_out_what_seeds_have_in_common(values: dict[int, float]) -> None:
    found = paired(values, {seed: value + 1.0 for seed, value in values.items()} | {99: 5.0})
    assert found.count == len(values)
    assert found.mean == pytest.approx(1.0)
    assert found.half_width == pytest.approx(0.0, abs=1e-9)
    assert not paired(values, values).apart_from_zero
