"""Where members meet: rounds close with those that are there, and everybody reads the same ones."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.control.exchange import (
    DIFFERS,
    GRACE_MS,
    KEPT,
    LATE,
    Gift,
    Meeting,
    OuterState,
)
from causeway.model.errors import Conflict, InvalidInput, NotFound

BOTH = {0: 1, 1: 1}
"""Two members, each with its first attempt."""


def seated(*haves: int, digest: str = "d", unfinished: Mapping[int, int] = BOTH) -> Meeting:
    meeting = Meeting()
    for member, have in enumerate(haves):
        meeting.join(member, fence=1, have=have, digest=f"{digest}{have}")
        meeting.settle(unfinished, 0)
    return meeting


def give(meeting: Meeting, member: int, round_: int, *, at_ms: int = 0, digest: str = "d0") -> None:
    fence = meeting.seats[member].fence if member in meeting.seats else 1
    assert not meeting.refuse(member, fence=fence, round_=round_, digest=digest)
    meeting.give(
        Gift(member=member, steps=10, bytes=4, blob=100 * round_ + member),
        now_ms=at_ms,
        wait_ms=1_000,
    )


def given_by(meeting: Meeting, round_: int) -> list[int]:
    closed = meeting.result(round_)
    assert closed is not None
    return [gift.member for gift in closed.gifts]


def test_members_with_the_same_beginning_need_no_state() -> None:
    meeting = seated(0, 0)
    assert [meeting.standing(m, 1).ready for m in (0, 1)] == [True, True]
    assert not meeting.standing(0, 1).give_state


def test_a_round_closes_when_everybody_has_given() -> None:
    meeting = seated(0, 0)
    give(meeting, 1, 0)
    meeting.settle(BOTH, 0)
    assert meeting.result(0) is None
    give(meeting, 0, 0)
    meeting.settle(BOTH, 0)
    assert given_by(meeting, 0) == [0, 1]
    assert meeting.round == 1


def test_a_round_closes_at_its_deadline_without_the_late_one() -> None:
    meeting = seated(0, 0)
    give(meeting, 0, 0, at_ms=50)
    meeting.settle(BOTH, 1_049)
    assert meeting.result(0) is None
    meeting.settle(BOTH, 1_050)
    assert given_by(meeting, 0) == [0]
    with pytest.raises(Conflict) as late:
        meeting.refuse(1, fence=1, round_=0, digest="d0")
    assert late.value.where == LATE
    # It reads what it missed, and gives to the next one.
    give(meeting, 1, 1, digest="d1")


def test_a_round_does_not_wait_for_one_whose_lease_ran_out() -> None:
    meeting = seated(0, 0)
    give(meeting, 0, 0)
    meeting.settle({0: 1, 1: 0}, 1)
    assert given_by(meeting, 0) == [0]
    with pytest.raises(NotFound):
        meeting.refuse(1, fence=1, round_=1, digest="d1")


def test_what_was_given_before_the_lease_ran_out_counts() -> None:
    meeting = seated(0, 0)
    give(meeting, 1, 0)
    meeting.settle({0: 1, 1: 2}, 1)
    give(meeting, 0, 0)
    meeting.settle({0: 1, 1: 2}, 1)
    assert given_by(meeting, 0) == [0, 1]


def test_one_that_comes_back_takes_the_state_and_is_waited_for() -> None:
    meeting, now = seated(0, 0), {0: 1, 1: 2}
    for round_ in range(6):
        give(meeting, 0, round_, digest=f"d{round_}")
        meeting.settle({0: 1, 1: 0}, 0)
    meeting.join(1, fence=2, have=1, digest="d1")
    meeting.settle(now, 0)
    assert not meeting.standing(1, 2).ready
    assert meeting.standing(0, 1).give_state
    meeting.give_state(OuterState(round=6, bytes=8, blob=7), digest="d6")
    state = meeting.standing(1, 2).state
    assert state is not None
    assert state.round == 6
    assert not meeting.standing(0, 1).give_state
    meeting.join(1, fence=2, have=6, digest="d6")
    meeting.settle(now, 0)
    assert meeting.standing(1, 2).ready
    assert meeting.state is None
    assert 7 in meeting.dropped
    give(meeting, 0, 6, digest="d6")
    meeting.settle(now, 0)
    assert meeting.result(6) is None


def test_one_that_missed_few_rounds_reads_them_instead() -> None:
    meeting = seated(0, 0)
    for round_ in range(KEPT):
        give(meeting, 0, round_, digest=f"d{round_}")
        meeting.settle({0: 1, 1: 0}, 0)
    meeting.join(1, fence=2, have=0, digest="d0")
    meeting.settle({0: 1, 1: 2}, 0)
    assert meeting.standing(1, 2).ready
    give(meeting, 0, KEPT, digest=f"d{KEPT}")
    meeting.settle({0: 1, 1: 2}, 1_000)
    with pytest.raises(NotFound):
        meeting.result(0)
    assert 0 in meeting.dropped


def test_a_state_that_is_another_is_not_followed() -> None:
    meeting = seated(0, 0)
    give(meeting, 0, 0)
    meeting.settle({0: 1, 1: 0}, 0)
    meeting.join(1, fence=2, have=0, digest="other")
    meeting.settle({0: 1, 1: 2}, 0)
    assert not meeting.standing(1, 2).ready
    with pytest.raises(Conflict) as differs:
        meeting.give_state(OuterState(round=0, bytes=1, blob=9), digest="other")
    assert differs.value.where == DIFFERS


def test_who_starts_from_another_state_is_told() -> None:
    meeting = seated(0, 0)
    give(meeting, 0, 0)
    with pytest.raises(Conflict) as differs:
        meeting.refuse(1, fence=1, round_=0, digest="drifted")
    assert differs.value.where == DIFFERS


def test_the_one_with_most_behind_it_founds() -> None:
    meeting = seated(3, 5)
    assert [meeting.standing(m, 1).ready for m in (0, 1)] == [False, True]
    assert meeting.round == 5
    assert meeting.standing(1, 1).give_state


def test_a_founding_waits_for_members_that_are_not_over_yet() -> None:
    meeting = seated(0, unfinished={0: 1, 1: 0})
    meeting.settle({0: 1, 1: 0}, GRACE_MS - 1)
    assert not meeting.standing(0, 1).ready
    meeting.settle({0: 1, 1: 0}, GRACE_MS)
    assert meeting.standing(0, 1).ready
    assert seated(0, unfinished={0: 1}).standing(0, 1).ready


def test_when_the_last_that_had_the_state_is_gone_another_founds() -> None:
    meeting = seated(0, 0)
    give(meeting, 0, 0)
    give(meeting, 1, 0)
    meeting.settle(BOTH, 0)
    give(meeting, 1, 1, digest="d1")
    meeting.join(0, fence=2, have=0, digest="x")
    meeting.settle({0: 2}, 0)
    assert meeting.round == 0
    assert meeting.standing(0, 2).ready
    assert sorted(meeting.dropped) == [0, 1, 101]


def test_a_round_that_is_not_open_yet_is_refused() -> None:
    meeting = seated(0, 0)
    with pytest.raises(InvalidInput):
        meeting.refuse(0, fence=1, round_=1, digest="d1")


ACTS = st.lists(
    st.tuples(
        st.sampled_from(("join", "give", "die", "back", "late", "state", "look")),
        st.integers(0, 2),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(acts=ACTS)
def test_whatever_happens_all_read_the_same_rounds(acts: list[tuple[str, int]]) -> None:
    """Three members that give, die, come back and read late: a closed round never changes, nobody
    gives twice to one, no blob is lost from the books, and every number is used once."""
    meeting, now_ms = Meeting(), 0
    fences = dict.fromkeys(range(3), 1)
    dead: set[int] = set()
    have = dict.fromkeys(range(3), 0)
    seen: dict[tuple[int, int], tuple[Gift, ...]] = {}
    kept: set[int] = set()
    founded, blob = 0, 0

    for act, member in acts:
        now_ms += 100
        fence = fences[member]
        before = meeting.round
        try:
            if act == "join" and member not in dead:
                meeting.join(member, fence=fence, have=have[member], digest=f"d{have[member]}")
            elif act == "give":
                round_ = meeting.round
                if not meeting.refuse(member, fence=fence, round_=round_, digest=f"d{round_}"):
                    blob += 1
                    kept.add(blob)
                    made = Gift(member=member, steps=1, bytes=1, blob=blob)
                    meeting.give(made, now_ms=now_ms, wait_ms=500)
            elif act == "die":
                dead.add(member)
            elif act == "back" and member in dead:
                dead.discard(member)
                fences[member] += 1
            elif act == "late":
                now_ms += 1_000
            elif act == "state" and meeting.wants_state_of(member):
                blob += 1
                kept.add(blob)
                made_state = OuterState(round=meeting.round, bytes=1, blob=blob)
                meeting.give_state(made_state, digest=f"d{meeting.round}")
        except (NotFound, Conflict):
            # It has not joined, has no state yet, or is late: it says nothing then.
            pass
        unfinished = {m: 0 if m in dead else f for m, f in fences.items()}
        meeting.settle(unfinished, now_ms)
        if meeting.round < before:
            founded += 1
        for closed in meeting.closed:
            gifts = seen.setdefault((founded, closed.number), closed.gifts)
            assert gifts == closed.gifts
            assert [g.member for g in gifts] == sorted({g.member for g in gifts})
            for reader, seat in meeting.seats.items():
                if seat.ready:
                    have[reader] = max(have[reader], closed.number + 1)
        kept -= set(meeting.dropped)
        meeting.dropped.clear()
        held = [g.blob for g in meeting.gifts.values()]
        held += [g.blob for closed in meeting.closed for g in closed.gifts]
        held += [meeting.state.blob] if meeting.state else []
        assert sorted(held) == sorted(kept)
        assert len(meeting.closed) <= KEPT
        assert all(unfinished[m] == seat.fence for m, seat in meeting.seats.items())
