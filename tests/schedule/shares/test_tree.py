"""Nested quotas: what may be borrowed, what is kept, and who may take what back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.fleet import TenantShare
from causeway.schedule.shares.tree import QuotaTree


def share(
    name: str,
    quota: int | None = None,
    borrow: int | None = None,
    *,
    parent: str = "",
    lend: int | None = None,
) -> TenantShare:
    return TenantShare(
        tenant=name, quota_devices=quota, borrow_devices=borrow, parent=parent, lend_devices=lend
    )


def tree(*shares: TenantShare) -> QuotaTree:
    return QuotaTree({one.tenant: one for one in shares})


def group(borrow: int | None = None, lend: int | None = None) -> QuotaTree:
    """Two projects of 10 in a group that borrows from nobody."""
    return tree(
        share("physics", 0, 0),
        share("a", 10, borrow, parent="physics", lend=lend),
        share("b", 10, borrow, parent="physics", lend=lend),
    )


def test_without_quota_and_parent_nothing_limits() -> None:
    assert tree(share("a")).room("a") is None
    assert tree().room("stranger") is None
    assert tree().entitled("stranger", 10**6, 0)


def test_on_its_own_a_project_has_its_quota_and_its_loan() -> None:
    alone = tree(share("a", 10, 5))
    alone.take("a", 12, 0)
    assert (alone.room("a"), alone.borrowed("a"), alone.most("a")) == (3, 2, 15)


def test_in_a_group_what_one_leaves_the_other_may_use() -> None:
    shared = group()
    assert (shared.room("a"), shared.most("a")) == (20, 20)
    shared.take("a", 15, 0)
    assert (shared.room("a"), shared.room("b")) == (5, 5)
    assert shared.borrowed("a") == 5


def test_a_bound_on_borrowing_holds_inside_a_group() -> None:
    assert group(borrow=3).room("a") == 13


def test_what_is_not_lent_stays_for_its_owner_whatever_others_do() -> None:
    shared = group(lend=4)
    assert shared.room("a") == 14
    shared.take("a", 14, 0)
    assert (shared.room("a"), shared.room("b")) == (0, 6)


def test_a_member_without_quota_lives_on_what_the_group_leaves() -> None:
    shared = tree(share("g", 8, 0), share("guest", parent="g"), share("own", 4, parent="g"))
    assert shared.room("guest") == 12
    assert not shared.entitled("guest", 1, 0)
    shared.take("own", 4, 0)
    assert shared.room("guest") == 8


def test_groups_borrow_from_the_groups_beside_them() -> None:
    nested = tree(
        share("top", 0, 0),
        share("left", 0, parent="top", lend=6),
        share("right", 0, 5, parent="top"),
        share("l", 10, parent="left"),
        share("r", 10, parent="right"),
    )
    assert nested.room("r") == 15
    nested.take("r", 15, 0)
    assert nested.room("l") == 5
    """4 that left does not lend, and 1 of the 6 lent that right could not borrow."""
    tight = nested.tight("r", 1)
    assert tight is not None
    assert tight.name == "right"


def test_a_job_stands_on_the_quota_by_priority() -> None:
    shared = group()
    shared.take("a", 8, 1)
    assert not shared.entitled("a", 5, 1)
    assert shared.entitled("a", 5, 2)
    shared.take("a", 5, 2)
    assert shared.on_loan("a", 1)
    assert not shared.on_loan("a", 2)


def test_only_what_is_on_loan_can_be_taken_back_and_only_from_inside_the_quota() -> None:
    shared = group()
    shared.take("a", 15, 0)
    assert shared.may_reclaim(("b", 10, 0), ("a", 0))
    assert not shared.may_reclaim(("b", 11, 0), ("a", 0))
    assert not shared.may_reclaim(("a", 1, 0), ("a", 0))
    with shared.without([("a", 5, 0)]):
        assert not shared.may_reclaim(("b", 10, 0), ("a", 0))
    assert shared.borrowed("a") == 5


def test_a_group_inside_its_quota_is_not_reclaimed_from_outside() -> None:
    nested = tree(
        share("left", 0, None),
        share("right", 10, None),
        share("l1", 10, parent="left"),
        share("l2", 10, parent="left"),
        share("r", parent="right"),
    )
    nested.take("l1", 15, 0)
    assert nested.may_reclaim(("l2", 5, 0), ("l1", 0))
    assert not nested.may_reclaim(("r", 5, 0), ("l1", 0))
    """All of left's 20 are left's own."""
    nested.take("l2", 10, 0)
    assert nested.may_reclaim(("r", 5, 0), ("l1", 0))
    """Now left holds 25, and right is inside its 10, though r itself has no quota."""


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_loop_of_parents_ends(names: tuple[str, str]) -> None:
    one, other = names
    looped = tree(share(one, 3, parent=other), share(other, 3, parent=one))
    looped.take(one, 2, 0)
    assert [node.name for node in looped.path(one)] == [one, other]
    assert looped.borrowed(one) == 0


@st.composite
def forests(draw: st.DrawFn) -> dict[str, TenantShare]:
    count = draw(st.integers(1, 7))
    limit = st.sampled_from([None, 0, 1, 3])
    return {
        f"n{i}": share(
            f"n{i}",
            draw(st.sampled_from([None, 0, 2, 5])),
            draw(limit),
            parent=f"n{draw(st.integers(0, i - 1))}" if i and draw(st.booleans()) else "",
            lend=draw(limit),
        )
        for i in range(count)
    }


@given(forests(), st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=25))
def test_who_stays_inside_its_room_takes_nothing_that_another_keeps(
    shares: dict[str, TenantShare], wishes: list[tuple[int, int]]
) -> None:
    quotas = QuotaTree(shares)
    held = dict.fromkeys(shares, 0)
    for index, devices in wishes:
        name = f"n{index}"
        if name not in shares:
            continue
        room = quotas.room(name)
        taken = devices if room is None else min(devices, room)
        quotas.take(name, taken, 0)
        held[name] += taken
        for other in shares:
            node = quotas.path(other)[0]
            left = quotas.room(other)
            assert left is None or left >= max(0, node.kept - node.used)
            if node.quota is not None and node.borrow is not None:
                assert node.used <= node.quota + node.borrow
    for name, devices in held.items():
        quotas.take(name, -devices, 0)
    assert all(node.used == 0 for name in shares for node in quotas.path(name))


@given(forests(), st.lists(st.integers(0, 6), min_size=1, max_size=10))
def test_looking_without_a_job_leaves_no_trace(
    shares: dict[str, TenantShare], takers: list[int]
) -> None:
    quotas = QuotaTree(shares)
    jobs = [(f"n{index}", 2, index % 3) for index in takers if f"n{index}" in shares]
    for job in jobs:
        quotas.take(*job)
    before = {name: (quotas.room(name), quotas.borrowed(name)) for name in shares}
    with quotas.without(jobs):
        assert all(quotas.borrowed(name) == 0 for name in shares)
    assert {name: (quotas.room(name), quotas.borrowed(name)) for name in shares} == before
