"""Who is next, and who gives way: each policy against what defines it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.queueing.levels import EDGES_S, Attained, Learned
from causeway.schedule.queueing.lines import Backfill, Fair, FirstCome, Shortest
from causeway.schedule.queueing.ranked import Ranked
from causeway.schedule.queueing.room import Counted, Nodes


def test_first_come_lets_nobody_past() -> None:
    queue = FirstCome(Counted(4), [3, 2, 1])
    for job in range(3):
        queue.arrive(job)
    assert queue.decide(0.0) == ([0], ())
    queue.end(0, 5.0)
    assert queue.decide(5.0) == ([1, 2], ())


def test_backfill_keeps_its_promise_to_the_first() -> None:
    # 0 holds three of four until 10; 1 needs all four then. 2 is away in time, 3 is not.
    queue = Backfill(Counted(4), [3, 4, 1, 1], [10.0, 5.0, 10.0, 11.0])
    for job in range(4):
        queue.arrive(job)
    assert list(queue.decide(0.0)[0]) == [0, 2]
    queue.end(2, 10.0)
    queue.end(0, 10.0)
    assert list(queue.decide(10.0)[0]) == [1]


def test_backfill_gives_what_the_first_will_not_need() -> None:
    # 1 needs two of the three that are free at 10, so one is over: 2 may have it for ever.
    queue = Backfill(Counted(4), [3, 2, 1, 1], [10.0, 5.0, 1e9, 1e9])
    for job in range(4):
        queue.arrive(job)
    assert list(queue.decide(0.0)[0]) == [0, 2]


def test_shortest_passes_over_what_does_not_fit() -> None:
    queue = Shortest(Counted(2), [4, 1, 1, 1], [1.0, 9.0, 3.0, 5.0])
    for job in range(4):
        queue.arrive(job)
    assert queue.decide(0.0) == ([2, 3], ())
    assert queue.waiting == 2


def test_fair_gives_to_whoever_holds_least() -> None:
    queue = Fair(Counted(4), [2, 1, 1, 1, 1], [0, 0, 1, 1, 2])
    for job in range(5):
        queue.arrive(job)
    assert queue.decide(0.0) == ([0, 2, 4], ())
    queue.end(0, 1.0)
    assert sorted(queue.decide(1.0)[0]) == [1, 3]


def test_least_attained_service_stops_the_older_for_the_newer() -> None:
    queue = Ranked(Counted(1), [1, 1], Attained((100.0,)))
    queue.arrive(0)
    assert queue.decide(0.0) == ([0], [])
    queue.arrive(1)
    assert queue.decide(50.0) == ([], []), "one queue: in order of arrival"
    assert queue.turn_s(0, 50.0) == 100.0
    queue.turn(0, 100.0)
    assert queue.decide(100.0) == ([1], [0])


def test_what_is_left_decides_for_the_oracle() -> None:
    queue = Ranked(Counted(1), [1, 1, 1], Learned(), length_s=[10.0, 4.0, 6.0])
    queue.arrive(0)
    assert queue.decide(0.0) == ([0], [])
    queue.arrive(2)
    assert queue.decide(3.0)[1] == [0], "seven are left of it"
    queue.arrive(1)
    assert queue.decide(4.0) == ([1], [2])


Fleet = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 3), st.booleans()), min_size=1, max_size=14
)


@settings(max_examples=40)
@given(Fleet)
def test_ranked_decides_what_filling_anew_would(jobs: list[tuple[int, int, bool]]) -> None:
    """Jobs of given levels, some of which run already: the pool is filled in order of rank."""
    devices = [d for d, _, _ in jobs]
    ranks = Attained((1.0, 2.0, 3.0))
    queue = Ranked(Counted(8), devices, ranks)
    level = dict.fromkeys(range(len(jobs)), 0)
    for job, (_, turns, early) in enumerate(jobs):
        if early:
            queue.arrive(job)
            if job in queue.decide(0.0)[0]:
                for _ in range(turns):
                    queue.turn(job, 0.0)
                    level[job] += 1
    for job, (_, _, early) in enumerate(jobs):
        if not early:
            queue.arrive(job)
    queue.decide(1.0)
    free, expected = 8, set()
    for job in sorted(range(len(jobs)), key=lambda j: (level[j], j)):
        if devices[job] <= free:
            free -= devices[job]
            expected.add(job)
    assert queue._runs == expected


@settings(max_examples=40)
@given(Fleet)
def test_on_nodes_nothing_is_lost_and_the_best_waits_only_if_it_cannot_fit(
    jobs: list[tuple[int, int, bool]],
) -> None:
    devices = [d for d, _, _ in jobs]
    room = Nodes(4, 2)
    queue = Ranked(room, devices, Attained((1.0, 2.0, 3.0)))
    runs: set[int] = set()
    for job, (_, turns, _) in enumerate(jobs):
        queue.arrive(job)
        starts, stops = queue.decide(float(job))
        runs = (runs - set(stops)) | set(starts)
        assert runs == queue._runs
        for _ in range(turns if job in runs else 0):
            queue.turn(job, float(job))
        assert room.free == 8 - sum(devices[one] for one in runs)
        assert queue.waiting == job + 1 - len(runs)
    starts, stops = queue.decide(99.0)
    runs = (runs - set(stops)) | set(starts)
    assert min(range(len(jobs)), key=lambda j: (queue._rank[j], j)) in runs


def test_the_index_of_nothing_seen_is_least_attained_service() -> None:
    # The last level, of jobs of two years and more, has to end somewhere.
    ranks = [Learned().rank(1, level) for level in range(len(EDGES_S))]
    assert ranks == sorted(ranks)


def test_the_index_learns_that_what_lasted_will_end_soon() -> None:
    learned = Learned()
    old = learned.rank(1, 8), learned.rank(1, 0)
    for _ in range(400):
        learned.ended(1, EDGES_S[7] + 1.0)
    # All jobs end in level 8: one that is there is nearer to its end than one that is new.
    assert old[0] > old[1]
    assert learned.rank(1, 8) < learned.rank(1, 0)
