"""The fair round: whole gangs, protected shares, nothing stopped for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.schedule.shares.fair import dominant, fair_shares
from causeway.schedule.shares.refill import Holding, Queued, Refill, refill

CORES = 8
ROUNDS_MAX = 4


def nodes(count: int, cores: int = CORES) -> Any:
    return np.array([[cores, cores * 4]] * count, dtype=np.int64)


def queued(name: str, queue: str, cores: int = 1, **changes: Any) -> Queued:
    return Queued(id=name, queue=queue, need=(cores, cores), **changes)


def held(name: str, queue: str, *on: int, cores: int = 1, **changes: Any) -> Holding:
    return Holding(id=name, queue=queue, need=(cores, cores), nodes=on, **changes)


def decide(count: int, running: list[Holding], waiting: list[Queued], **changes: Any) -> Refill:
    changes = {"weights": {}} | changes
    return refill(nodes(count), running=running, waiting=waiting, **changes)


def test_an_empty_fleet_starts_what_fits_and_nothing_else() -> None:
    found = decide(1, [], [queued(f"a{i}", "a", 3) for i in range(4)])
    assert sorted(found.starts) == ["a0", "a1"]
    assert found.stops == ()


def test_who_holds_more_than_its_share_gives_way_down_to_it_and_no_further() -> None:
    full = [held(f"a{i}", "a", 0, cost_device_s=float(i)) for i in range(8)]
    found = decide(1, full, [queued(f"b{i}", "b") for i in range(8)])
    assert len(found.starts) == 4
    assert sorted(found.stops) == ["a0", "a1", "a2", "a3"]
    """Those that cost least to stop."""
    assert found.shares == {"a": 0.5, "b": 0.5}


def test_weights_say_how_much_a_share_is() -> None:
    full = [held(f"a{i}", "a", 0) for i in range(8)]
    found = decide(1, full, [queued(f"b{i}", "b") for i in range(8)], weights={"a": 3.0, "b": 1.0})
    assert len(found.stops) == 2


def test_a_smaller_protected_share_gives_no_more_than_others_claim() -> None:
    full = [held(f"a{i}", "a", 0) for i in range(8)]
    found = decide(1, full, [queued("b0", "b")], protected_share=0.25)
    assert len(found.stops) == 1


def test_what_may_not_be_stopped_stays() -> None:
    full = [held(f"a{i}", "a", 0, preemptible=False) for i in range(8)]
    found = decide(1, full, [queued("b", "b")])
    assert (found.stops, found.starts) == ((), {})


def test_newcomers_take_spare_room_before_anybody_is_stopped() -> None:
    full = [held(f"a{i}", "a", 0) for i in range(8)]
    found = decide(2, full, [queued(f"b{i}", "b") for i in range(8)])
    assert found.stops == ()
    assert set(found.starts.values()) == {(1,)}


def test_a_queue_at_its_share_stops_nobody_but_takes_what_is_spare() -> None:
    running = [held(f"a{i}", "a", 0) for i in range(6)] + [held("b", "b", 1, cores=4)]
    waiting = [queued(f"b{i}", "b", 2) for i in range(8)]
    found = decide(2, running, waiting)
    assert found.stops == ()
    assert len(found.starts) == 3


def test_the_cheapest_node_is_cleared() -> None:
    running = [
        held("long", "a", 0, cores=8, cost_device_s=9_000.0),
        held("short", "a", 1, cores=8, cost_device_s=10.0),
    ]
    found = decide(2, running, [queued("b", "b", 8)])
    assert found.stops == ("short",)
    assert found.starts == {"b": (1,)}


def test_a_gang_is_started_whole_or_not_at_all() -> None:
    running = [held("a", "a", 0, cores=6, preemptible=False)]
    short = decide(2, running, [queued("gang", "b", 6, members=2)])
    assert short.starts == {}
    found = decide(3, running, [queued("gang", "b", 6, members=2)])
    assert found.starts == {"gang": (1, 2)}


def test_a_gang_is_stopped_whole() -> None:
    running = [
        held("gang", "a", 0, 1, cores=8, cost_device_s=1.0),
        held("one", "a", 2, cores=8, cost_device_s=50.0),
        held("two", "a", 3, cores=8, cost_device_s=50.0),
    ]
    found = decide(4, running, [queued("b", "b", 8), queued("c", "b", 8)])
    assert found.stops == ("gang",)
    assert sorted(found.starts.values()) == [(0,), (1,)]


def test_of_a_gang_and_a_small_job_the_one_goes_that_leaves_the_share_whole() -> None:
    running = [
        held("gang", "a", 0, 1, cores=8, cost_device_s=1.0),
        held("one", "a", 2, cores=8, cost_device_s=50.0),
    ]
    assert decide(3, running, [queued("b", "b", 8)]).stops == ("one",)


def test_only_nodes_of_its_classes_are_used() -> None:
    found = decide(
        2,
        [],
        [queued("a", "a", classes=frozenset({7})), queued("b", "b", classes=frozenset({9}))],
        classes=np.array([3, 7], dtype=np.int64),
    )
    assert found.starts == {"a": (1,)}


def test_within_a_queue_the_more_important_job_comes_first() -> None:
    waiting = [queued("old", "a", 8), queued("new", "a", 8, priority=5, since_ms=9)]
    assert list(decide(1, [], waiting).starts) == ["new"]


@pytest.mark.parametrize(
    ("wanted", "fair"),
    [
        ({"a": 1.0, "b": 1.0}, {"a": 0.5, "b": 0.5}),
        ({"a": 0.2, "b": 1.0}, {"a": 0.2, "b": 0.8}),
        ({"a": 0.0, "b": 0.3}, {"a": 0.0, "b": 0.3}),
    ],
)
def test_fair_shares_give_on_what_is_not_wanted(
    wanted: dict[str, float], fair: dict[str, float]
) -> None:
    assert fair_shares(wanted, dict.fromkeys(wanted, 1.0)) == pytest.approx(fair)


Picture = tuple[int, list[Holding], list[Queued], dict[str, float]]


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    count = draw(st.integers(1, 5))
    free = [CORES] * count
    running: list[Holding] = []
    for index in range(draw(st.integers(0, 12))):
        cores, members = draw(st.integers(1, 4)), draw(st.sampled_from([1, 1, 1, 2, 3]))
        on: list[int] = []
        for node in range(count):
            while free[node] >= cores and len(on) < members:
                free[node] -= cores
                on.append(node)
        if len(on) < members:
            for node in on:
                free[node] += cores
            continue
        running.append(
            held(
                f"r{index}",
                draw(st.sampled_from("abc")),
                *on,
                cores=cores,
                priority=draw(st.integers(0, 2)),
                preemptible=draw(st.booleans()),
                cost_device_s=float(draw(st.integers(0, 100))),
            )
        )
    waiting = [
        queued(
            f"w{index:02}",
            draw(st.sampled_from("abc")),
            draw(st.integers(1, 9)),
            members=draw(st.sampled_from([1, 1, 2, 4])),
            priority=draw(st.integers(0, 2)),
            since_ms=draw(st.integers(0, 3)),
        )
        for index in range(draw(st.integers(0, 14)))
    ]
    weights = {queue: draw(st.sampled_from([0.5, 1.0, 3.0])) for queue in "abc"}
    return count, running, waiting, weights


def after(picture: Picture, found: Refill) -> list[Holding]:
    """What runs once the round was carried out."""
    _, running, waiting, _ = picture
    started = [
        Holding(id=job.id, queue=job.queue, need=job.need, nodes=found.starts[job.id],
                priority=job.priority)
        for job in waiting
        if job.id in found.starts
    ]  # fmt: skip
    return [h for h in running if h.id not in found.stops] + started


def open_after(picture: Picture, found: Refill) -> Any:
    room = nodes(picture[0])
    for holding in after(picture, found):
        for node in holding.nodes:
            room[node] -= holding.need
    return room


def run(picture: Picture) -> Refill:
    count, running, waiting, weights = picture
    return decide(count, running, waiting, weights=weights)


@given(pictures())
def test_no_node_is_over_committed_and_gangs_are_whole(picture: Picture) -> None:
    found = run(picture)
    members = {job.id: job.members for job in picture[2]}
    assert (open_after(picture, found) >= 0).all()
    assert all(len(on) == members[name] for name, on in found.starts.items())


@given(pictures())
def test_nobody_is_stopped_whose_place_stays_free(picture: Picture) -> None:
    found = run(picture)
    room = open_after(picture, found)
    for holding in picture[1]:
        if holding.id in found.stops:
            left = room.copy()
            for node in holding.nodes:
                left[node] -= holding.need
            assert (left < 0).any()


@given(pictures())
def test_nobody_is_stopped_while_nothing_starts(picture: Picture) -> None:
    found = run(picture)
    assert found.starts or not found.stops


@given(pictures())
def test_a_protected_share_is_never_touched(picture: Picture) -> None:
    found = run(picture)
    stopped = {h.queue for h in picture[1] if h.id in found.stops}
    assert not any(h.id in found.stops for h in picture[1] if not h.preemptible)
    for queue in stopped:
        assert found.shares[queue] >= found.fair[queue] - 1e-9


@given(pictures())
def test_who_makes_others_stop_was_below_its_share(picture: Picture) -> None:
    found = run(picture)
    total = tuple(int(n) for n in nodes(picture[0]).sum(axis=0))
    if not found.stops:
        return
    largest = {
        queue: max(
            (dominant([n * j.members for n in j.need], total) for j in picture[2]
             if j.queue == queue and j.id in found.starts), default=0.0,
        )
        for queue in "abc"
    }  # fmt: skip
    held_before = dict.fromkeys("abc", 0)
    for holding in picture[1]:
        held_before[holding.queue] += holding.need[0] * len(holding.nodes)
    assert any(
        largest[queue] and held_before[queue] / total[0] < found.fair[queue] for queue in "abc"
    )


@given(pictures())
def test_rounds_come_to_rest(picture: Picture) -> None:
    """What one round gave the next ones do not go on taking back: shares converge."""
    count, running, waiting, weights = picture
    for _ in range(ROUNDS_MAX):
        found = decide(count, running, waiting, weights=weights)
        if not found.stops:
            return
        running = after((count, running, waiting, weights), found)
        waiting = [job for job in waiting if job.id not in found.starts]
    pytest.fail(f"work is still being stopped after {ROUNDS_MAX} rounds")


@given(pictures())
def test_the_order_in_which_things_are_listed_does_not_matter(picture: Picture) -> None:
    count, running, waiting, weights = picture
    turned = decide(count, running[::-1], waiting[::-1], weights=weights)
    assert turned.starts == run(picture).starts
    assert sorted(turned.stops) == sorted(run(picture).stops)
