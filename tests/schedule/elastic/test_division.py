"""The exact division, and what it becomes on nodes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.elastic.allot import divide
from causeway.schedule.elastic.pack import Shape, devices_of, pack

VALUES = st.lists(st.lists(st.integers(-20, 20), min_size=1, max_size=5), min_size=1, max_size=4)


@settings(max_examples=60)
@given(VALUES, st.integers(0, 8))
def test_a_division_is_as_good_as_trying_all(values: list[list[int]], devices: int) -> None:
    tables = [np.array(value, dtype=float) for value in values]
    shares = divide(tables, devices)
    assert sum(shares) <= devices
    worth = sum(table[share] for table, share in zip(tables, shares, strict=True))
    tried = [
        sum(table[share] for table, share in zip(tables, some, strict=True))
        for some in product(*(range(len(table)) for table in tables))
        if sum(some) <= devices
    ]
    assert worth == max(tried)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 10), min_size=1, max_size=8))
def test_packing_holds_to_shares_and_nodes(shares: list[int]) -> None:
    asked = {f"j{index}": share for index, share in enumerate(shares)}
    shapes = pack(asked, {}, nodes=4, per_node=4)
    used = [0] * 4
    wide = [0] * 4
    for name, shape in shapes.items():
        assert 0 < devices_of(shape) <= asked[name]
        assert len({node for node, _ in shape}) == len(shape)
        for node, count in shape:
            used[node] += count
            wide[node] += len(shape) > 1
    assert max(used) <= 4
    assert max(wide) <= 1


def test_who_keeps_a_share_keeps_its_place() -> None:
    held: dict[str, Shape] = {"a": ((1, 2),), "b": ((0, 4),), "c": ((2, 4), (3, 1))}
    shapes = pack({"a": 2, "b": 2, "c": 5, "d": 2}, held, nodes=4, per_node=4)
    assert shapes["a"] == ((1, 2),)
    assert shapes["c"] == held["c"]
    assert devices_of(shapes["b"]) == devices_of(shapes["d"]) == 2


@pytest.mark.parametrize(
    ("shares", "shapes"),
    [
        ({"a": 8}, {"a": ((0, 4), (1, 4))}),
        ({"a": 1, "b": 3}, {"b": ((0, 3),), "a": ((0, 1),)}),
        ({"a": 6, "b": 6}, {"a": ((0, 4), (1, 2)), "b": ((2, 4),)}),  # wide ones do not meet
    ],
)
def test_small_packings(shares: dict[str, int], shapes: dict[str, Shape]) -> None:
    assert pack(shares, {}, nodes=3, per_node=4) == shapes
