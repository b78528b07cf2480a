"""The clock of the fast twin: small replays that can be worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.queueing.levels import Attained, Learned
from causeway.schedule.queueing.lines import Backfill, FirstCome, Queue
from causeway.schedule.queueing.ranked import Ranked
from causeway.schedule.queueing.room import Counted
from causeway.twin.fast.engine import Engine, Played, Stopping

NONE = Stopping()


def _play(
    queue: Queue,
    arrival_s: list[float],
    length_s: list[float],
    devices: list[int],
    stopping: Stopping = NONE,
) -> Played:
    engine = Engine(queue, arrival_s, length_s, devices, pool_devices=2, stopping=stopping)
    return engine.run(lambda share: None)


def test_jobs_wait_for_devices_and_a_length_of_zero_is_a_job() -> None:
    devices = [2, 1, 1]
    played = _play(FirstCome(Counted(2), devices), [0.0, 1.0, 1.0], [10.0, 0.0, 5.0], devices)
    assert played.start_s == [0.0, 10.0, 10.0]
    assert played.end_s == [10.0, 10.0, 15.0]
    assert played.waited_idle_device_s == 0.0


def test_a_stopped_job_goes_on_from_its_checkpoint_after_a_restart() -> None:
    devices = [2, 2]
    queue = Ranked(Counted(2), devices, Learned(), length_s=[100.0, 10.0])
    stopping = Stopping(restart_s=5.0, checkpoint_s=20.0)
    played = _play(queue, [0.0, 50.0], [100.0, 10.0], devices, stopping)
    assert played.stops == [1, 0]
    assert played.end_s[1] == 60.0
    # It had done 50, kept 40; 5 of restart and the other 60 follow from 60 on.
    assert played.end_s[0] == 125.0
    assert played.held_s[0] == 115.0


def test_a_job_that_grew_old_gives_way_and_comes_back() -> None:
    devices = [2, 2]
    queue = Ranked(Counted(2), devices, Attained((40.0,)))
    played = _play(queue, [0.0, 1.0], [100.0, 15.0], devices)
    # 40 device-seconds on two devices are 20 s.
    assert played.start_s[1] == 20.0
    assert played.end_s == [115.0, 35.0]


JOBS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 30), st.integers(1, 4)), min_size=1, max_size=30
)


@pytest.mark.parametrize("policy", ["fifo", "backfill", "srtf", "las", "causeway"])
@settings(max_examples=40)
@given(jobs=JOBS)
def test_every_job_ends_and_holds_devices_for_its_length(
    policy: str, jobs: list[tuple[int, int, int]]
) -> None:
    jobs = sorted(jobs)
    arrival_s, length_s = [float(a) for a, _, _ in jobs], [float(x) for _, x, _ in jobs]
    devices = [d for _, _, d in jobs]
    room = Counted(4)
    queue: Queue = {
        "fifo": lambda: FirstCome(room, devices),
        "backfill": lambda: Backfill(room, devices, length_s),
        "srtf": lambda: Ranked(room, devices, Learned(), length_s=length_s),
        "las": lambda: Ranked(room, devices, Attained((10.0, 40.0))),
        "causeway": lambda: Ranked(room, devices, Learned()),
    }[policy]()
    engine = Engine(queue, arrival_s, length_s, devices, pool_devices=4, stopping=NONE)
    played = engine.run(lambda share: None)
    assert played.held_s == pytest.approx(length_s)
    assert room.free == 4
    assert queue.waiting == 0
    for begin_s, end_s, came_s, took_s in zip(
        played.start_s, played.end_s, arrival_s, length_s, strict=True
    ):
        assert came_s <= begin_s
        assert begin_s + took_s <= end_s + 1e-9


@settings(max_examples=40)
@given(JOBS)
def test_what_slips_in_never_breaks_a_promise(
    jobs: list[tuple[int, int, int]],
) -> None:
    """The first of the queue starts no later than it was promised, whatever slips in before it."""
    jobs = sorted(jobs)
    arrival_s, length_s = [float(a) for a, _, _ in jobs], [float(x) for _, x, _ in jobs]
    devices = [d for _, _, d in jobs]
    promised: dict[int, float] = {}

    class Watched(Backfill):
        def _promise(self, first: int, now_s: float) -> tuple[float, int]:
            found = super()._promise(first, now_s)
            promised.setdefault(first, found[0])
            return found

    queue = Watched(Counted(4), devices, length_s)
    engine = Engine(queue, arrival_s, length_s, devices, pool_devices=4, stopping=NONE)
    played = engine.run(lambda share: None)
    for job, at_s in promised.items():
        assert played.start_s[job] <= at_s
