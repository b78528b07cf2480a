"""Devices that are free: none is lost, none is given twice, and gangs lie close together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.model.errors import InvalidInput
from causeway.schedule.queueing.room import Counted, Nodes

ASKED = st.lists(st.integers(1, 20), max_size=40)


@pytest.mark.parametrize("close", [True, False])
@settings(max_examples=40)
@given(asked=ASKED, leaves=st.lists(st.integers(0, 39), max_size=40))
def test_devices_are_held_once_and_all_come_back(
    close: bool, asked: list[int], leaves: list[int]
) -> None:
    room = Nodes(4, 4, close=close)
    held = {job: n for job, n in enumerate(asked) if room.take(job, n)}
    for job in leaves:
        if job in held:
            assert sum(devices for _, devices in room.give(job)) == held.pop(job)
    assert room.free == 16 - sum(held.values())
    on: Counter[int] = Counter()
    for job in list(held):
        for node, devices in room.give(job):
            on[node] += devices
    assert all(devices <= 4 for devices in on.values())
    assert room.free == 16
    assert room.take(99, 16)


@settings(max_examples=40)
@given(ASKED)
def test_spread_fits_whenever_the_count_does(asked: list[int]) -> None:
    counted, spread = Counted(16), Nodes(4, 4, close=False)
    for job, devices in enumerate(asked):
        assert counted.take(job, devices) == spread.take(job, devices)


def test_a_job_goes_to_the_fullest_node_that_holds_it() -> None:
    room = Nodes(3, 4)
    assert room.take(0, 3)
    assert room.take(1, 2)
    assert room.take(2, 1)
    assert room.give(2) == ((0, 1),)


def test_a_gang_takes_whole_nodes_and_one_part() -> None:
    room = Nodes(3, 4)
    assert room.take(0, 3)
    assert room.take(1, 2)
    assert not room.take(2, 7), "seven are free, and three of them are nowhere together"
    room.give(0)
    assert room.take(2, 8)
    assert sorted(devices for _, devices in room.give(2)) == [4, 4]
    assert room.take(3, 9)
    held = room.give(3)
    assert sorted(devices for _, devices in held) == [1, 4, 4]
    assert room.take_again(3, held)
    assert not room.take_again(4, held)


def test_a_fleet_without_devices_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no fleet"):
        Nodes(0, 8)
