"""What a look at a rental makes of it."""

from __future__ import annotations

import pytest
from tests.burst.plain import HOUR_MS, MINUTE_MS, NOW_MS, policy, rental, standing

from causeway.burst import Launch, Machine, Rental, Sight, Stage, observe
from causeway.burst.cost import committed_micros, spent_micros
from causeway.burst.terms import Step, moved
from causeway.model.errors import IllegalMove

NOTHING = Sight(launch=Launch.NONE, machine=Machine.ABSENT)


def seen(one: Rental, launch: Launch, machine: Machine, **more: object) -> Rental:
    return observe(one, Sight(launch=launch, machine=machine, **more), NOW_MS)  # type: ignore[arg-type]


def test_the_life_of_a_machine() -> None:
    one = rental(intended_ms=NOW_MS)
    one = seen(one, Launch.UNDER_WAY, Machine.ABSENT, request="r1")
    assert (one.stage, one.request) == (Stage.LAUNCHING, "r1")
    one = seen(one, Launch.UNDER_WAY, Machine.COMING)
    assert (one.stage, one.seen) == (Stage.LAUNCHING, True)
    one = seen(one, Launch.DONE, Machine.STANDS)
    assert (one.stage, one.up_ms, one.idle_since_ms) == (Stage.UP, NOW_MS, 0)
    one = seen(one, Launch.DONE, Machine.STANDS, island="i", live=True, jobs=1)
    assert (one.island, one.joined_ms, one.idle_since_ms) == ("i", NOW_MS, 0)
    one = seen(one, Launch.DONE, Machine.ABSENT)
    assert (one.stage, one.gone_ms) == (Stage.GONE, NOW_MS)
    assert "turned itself in" in one.message


def test_a_launch_that_failed_goes_back_with_its_sentence_and_costs_nothing_unseen() -> None:
    one = rental(stage=Stage.LAUNCHING)
    gone = seen(one, Launch.FAILED, Machine.ABSENT, message="No such quota.")
    assert (gone.stage, gone.failed, gone.message) == (Stage.GONE, True, "No such quota.")
    assert spent_micros(gone, policy()) == 0
    assert committed_micros(gone, policy(), NOW_MS + HOUR_MS) == 0
    left_over = seen(one, Launch.FAILED, Machine.COMING, message="No such quota.")
    assert (left_over.stage, left_over.failed) == (Stage.RETURNING, True)
    gone = seen(left_over, Launch.FAILED, Machine.ABSENT)
    assert spent_micros(gone, policy()) == 2_200_000


def test_an_intention_that_nobody_heard_of_stands_and_one_given_back_waits_for_late_requests() -> (
    None
):
    assert observe(rental(), NOTHING, NOW_MS).stage is Stage.INTENDED
    fresh = rental(stage=Stage.RETURNING, intended_ms=NOW_MS - MINUTE_MS)
    assert observe(fresh, NOTHING, NOW_MS).stage is Stage.RETURNING
    assert observe(fresh, NOTHING, NOW_MS + MINUTE_MS).stage is Stage.GONE


def test_absence_is_not_believed_while_a_launch_is_under_way() -> None:
    one = seen(rental(stage=Stage.RETURNING), Launch.UNDER_WAY, Machine.ABSENT)
    assert one.stage is Stage.RETURNING


def test_idle_time_counts_from_the_last_look_with_work() -> None:
    one = standing(idle_since_ms=NOW_MS - MINUTE_MS)
    assert seen(one, Launch.DONE, Machine.STANDS).idle_since_ms == NOW_MS - MINUTE_MS
    assert seen(one, Launch.DONE, Machine.STANDS, jobs=2).idle_since_ms == 0


def test_a_machine_that_broke_goes_back() -> None:
    one = seen(standing(), Launch.DONE, Machine.BROKEN, message="Its node was taken back.")
    assert (one.stage, one.failed, one.message) == (
        Stage.RETURNING,
        True,
        "Its node was taken back.",
    )


def test_a_machine_that_went_before_its_island_came_counts_as_failed() -> None:
    up = rental(stage=Stage.UP, seen=True, up_ms=NOW_MS - MINUTE_MS)
    gone = seen(up, Launch.DONE, Machine.ABSENT)
    assert (gone.stage, gone.failed) == (Stage.GONE, True)
    assert "before its island" in gone.message


def test_what_is_gone_stays_gone() -> None:
    gone = standing(stage=Stage.GONE)
    assert seen(gone, Launch.DONE, Machine.STANDS) is gone
    with pytest.raises(IllegalMove, match="burst-1"):
        moved(gone, Step.STANDS)
