"""Ours: weights by rank, who gets more, who is left alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.elastic.asking import Asking, Fleet
from causeway.schedule.elastic.causeway import causeway, elasticity, ranks
from causeway.schedule.elastic.pack import devices_of

FLEET = Fleet(nodes=2, per_node=4, restart_s=30.0)
SPEEDS = np.sqrt(np.arange(9.0))


def shares(*askings: Asking, fleet: Fleet = FLEET) -> list[int]:
    shapes = causeway(askings, fleet)
    return [devices_of(shapes.get(asking.name, ())) for asking in askings]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(1.0, 1e6), st.booleans()), min_size=1, max_size=12),
)
def test_ranks_sum_as_if_each_pair_were_decided(jobs: list[tuple[float, bool]]) -> None:
    left_s, told = (np.array(column) for column in zip(*jobs, strict=True))
    rank = ranks(left_s, told)
    count = len(jobs)
    assert rank.sum() == pytest.approx(count * (count + 1) / 2)
    assert rank.min() >= 1.0 - 1e-9


@settings(max_examples=40)
@given(st.lists(st.floats(1.0, 1e6), min_size=2, max_size=12), st.booleans())
def test_less_left_never_ranks_lower(left_s: list[float], told: bool) -> None:
    rank = ranks(np.array(sorted(left_s)), np.full(len(left_s), told))
    assert all(a >= b - 1e-6 for a, b in pairwise(rank))


def test_the_chance_is_that_of_the_tail() -> None:
    """Two that were not told, ages 1 and 3: integrate the tail instead of the closed form."""
    x = np.linspace(0.0, 4000.0, 2_000_001)
    density = 1.0 / (1.0 + x) ** 2
    outlasts = float(np.trapezoid(density * 3.0 / (3.0 + x), x))
    rank = ranks(np.array([1.0, 3.0]), np.array([False, False]))
    assert rank[0] - 1.0 == pytest.approx(outlasts, abs=1e-3)


def test_elasticity_is_that_of_the_curves() -> None:
    assert elasticity([Asking(name="a", goodput=SPEEDS)], 4) == pytest.approx(0.5)
    assert elasticity([Asking(name="a", goodput=SPEEDS, known=False)], 4) == 0.5


def test_the_shorter_gets_more_but_not_all() -> None:
    speeds = np.sqrt(np.arange(17.0))
    short, long = shares(
        Asking(name="short", goodput=speeds, work_left=10.0),
        Asking(name="long", goodput=speeds, work_left=1000.0),
        fleet=Fleet(nodes=4, per_node=4, restart_s=30.0),
    )
    assert (short, long) == (12, 4)


def test_without_a_word_the_one_that_had_less_gets_more() -> None:
    speeds = np.sqrt(np.arange(5.0))
    young, old = shares(
        Asking(name="young", goodput=speeds, work_done=10.0),
        Asking(name="old", goodput=speeds, work_done=100_000.0),
        fleet=Fleet(nodes=1, per_node=4, restart_s=30.0),
    )
    assert young > old > 0


def test_who_is_not_known_gets_one_device_first_of_all() -> None:
    known = Asking(name="known", goodput=SPEEDS, work_left=1.0, held=((0, 4), (1, 4)))
    new = Asking(name="new", goodput=np.arange(9.0), known=False)
    assert shares(known, new) == [4, 1]


def test_a_small_gain_is_not_worth_a_restart() -> None:
    flat = np.array([0.0, 1.0, 1.05])
    held = ((0, 1),)
    assert causeway([Asking(name="a", goodput=flat, work_left=9.0, held=held)], FLEET) == {
        "a": held
    }
