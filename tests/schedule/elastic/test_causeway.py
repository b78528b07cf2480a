"""Ours: weights by rank, who gets more, who is left alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.schedule.elastic.asking import Asking, Fleet
from causeway.schedule.elastic.causeway import causeway, elasticity, rank_weights
from causeway.schedule.elastic.pack import devices_of

FLEET = Fleet(nodes=2, per_node=4, restart_s=30.0)
SPEEDS = np.sqrt(np.arange(9.0))


def shares(*askings: Asking) -> list[int]:
    shapes = causeway(askings, FLEET)
    return [devices_of(shapes.get(asking.name, ())) for asking in askings]


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=12), st.floats(0.05, 0.95))
def test_less_left_never_weighs_less(left_s: list[float], power: float) -> None:
    weights = rank_weights(left_s, power)
    ordered = [weight for _, weight in sorted(zip(left_s, weights, strict=True))]
    assert all(a >= b - 1e-9 for a, b in pairwise(ordered))
    assert min(weights) == pytest.approx(weights[left_s.index(max(left_s))])


def test_equals_weigh_alike() -> None:
    assert rank_weights([5.0, 5.0], 0.5) == [pytest.approx((1 + 3**0.5) / 2)] * 2


def test_elasticity_is_that_of_the_curves() -> None:
    assert elasticity([Asking(name="a", goodput=SPEEDS)], 4) == pytest.approx(0.5)
    assert elasticity([Asking(name="a", goodput=SPEEDS, known=False)], 4) == 0.5


def test_the_shorter_gets_more_but_not_all() -> None:
    short, long = shares(
        Asking(name="short", goodput=SPEEDS, work_left=10.0),
        Asking(name="long", goodput=SPEEDS, work_left=1000.0),
    )
    assert short > long > 0
    assert short + long == 8


def test_without_a_word_the_one_that_had_less_gets_more() -> None:
    young, old = shares(
        Asking(name="young", goodput=SPEEDS, work_done=10.0),
        Asking(name="old", goodput=SPEEDS, work_done=100_000.0),
    )
    assert young > old


def test_who_is_not_known_gets_one_device_first_of_all() -> None:
    known = Asking(name="known", goodput=SPEEDS, work_left=1.0, held=((0, 4), (1, 4)))
    new = Asking(name="new", goodput=np.arange(9.0), known=False)
    assert shares(known, new) == [7, 1]


def test_a_small_gain_is_not_worth_a_restart() -> None:
    flat = np.array([0.0, 1.0, 1.05])
    held = ((0, 1),)
    assert causeway([Asking(name="a", goodput=flat, work_left=9.0, held=held)], FLEET) == {
        "a": held
    }
