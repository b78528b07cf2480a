"""Figures are exact, carry their unit, and never lose a digit of money."""

from __future__ import annotations

import doctest
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.draw import curve, figures, projection, svg


@pytest.mark.parametrize("module", [figures, svg, projection, curve])
def test_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_money_can_be_read_back_to_the_last_micro(micros: int) -> None:
    text = figures.money(micros, "USD").replace("$", "").replace(",", "").replace("−", "-")
    assert Decimal(text) * 1_000_000 == micros


@given(st.integers(min_value=0, max_value=10**13))
def test_spans_have_at_most_two_units(ms: int) -> None:
    assert re.fullmatch(r"[\d.,]+ (ms|s|min|h|d)( \d+ (s|min|h))?", figures.span(ms))


@given(st.integers(min_value=0, max_value=10**15))
def test_sizes_and_energies_carry_a_unit_and_no_exponent(count: int) -> None:
    for text in (figures.size(count), figures.energy(count), figures.carbon(count)):
        assert " " in text
        assert "e+" not in text


def test_a_missing_instant_is_a_dash_and_not_1970() -> None:
    assert figures.instant(0) == figures.DASH
    assert figures.ago(0, 1_000_000) == figures.DASH
