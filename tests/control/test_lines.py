"""A round looks at the first of equal waiting jobs only, and nobody is worse off for it."""

from __future__ import annotations

from dataclasses import replace

from harness import Centre, member

from causeway.control.plane import LINE_SEEN, LINE_SEEN_MIN, LINES_SEEN
from causeway.control.settings import Settings
from causeway.model.jobs import JobState
from causeway.model.resources import Resources

SMALL = Resources(cpu_milli=1, memory_bytes=1)
RETRY_MS = Settings().retry_round_ms


def states(centre: Centre, ids: list[str]) -> list[JobState]:
    return [centre.job(job_id).state for job_id in ids]


def test_a_line_longer_than_a_round_sees_is_placed_whole_when_there_is_room(centre: Centre) -> None:
    centre.island(cpu_milli=1_000_000)
    # The first round looks at everything; those that follow within the second do not.
    centre.after(RETRY_MS)
    centre.one(resources=SMALL)
    ids = [centre.one(resources=SMALL) for _ in range(LINE_SEEN * 3)]
    for _ in range(6):
        centre.after(1)
        centre.plane.schedule()
    assert set(states(centre, ids)) == {JobState.PLACED}
    assert not centre.plane.state.lines
    assert not centre.plane.state.queue


def test_a_long_line_hides_nobody_of_another_shape(centre: Centre) -> None:
    centre.island(cpu_milli=1_000)
    many = [
        centre.one(resources=Resources(cpu_milli=800, memory_bytes=1)) for _ in range(LINE_SEEN * 2)
    ]
    other = centre.one(resources=SMALL)
    centre.after(5)
    assert states(centre, [many[0], many[1], other]) == [
        JobState.PLACED,
        JobState.QUEUED,
        JobState.PLACED,
    ]


def test_every_waiting_job_comes_to_say_why(centre: Centre) -> None:
    ids = [centre.one() for _ in range(LINE_SEEN * 2)]
    for _ in range(40):
        centre.after(RETRY_MS)
    # Reasons of a job that waits are memory alone: they say what was so at the last look.
    assert all(centre.plane.state.jobs[job_id].reasons for job_id in ids)


def test_lines_follow_every_change_of_the_queue(centre: Centre) -> None:
    ids = [centre.one() for _ in range(3)]
    (line,) = centre.plane.state.lines.values()
    assert list(line) == ids
    for job_id in ids:
        centre.cancel(job_id)
    assert not centre.plane.state.lines


def test_an_array_at_its_limit_hides_no_equal_job(centre: Centre) -> None:
    centre.island()
    one = member("a")
    held = centre.submit(*(replace(one, name=f"a-{i}") for i in range(200)), at_once=1)
    free = centre.submit(*(replace(one, name=f"b-{i}") for i in range(2)))
    centre.after(10)
    assert states(centre, list(free.members)) == [JobState.PLACED] * 2
    assert states(centre, list(held.members)).count(JobState.PLACED) == 1


def test_of_many_lines_a_round_sees_few_jobs_each_and_all_are_placed_all_the_same(
    centre: Centre,
) -> None:
    centre.island(cpu_milli=1_000_000)
    centre.after(RETRY_MS)
    shapes = [Resources(cpu_milli=n + 1, memory_bytes=1) for n in range(LINES_SEEN // 8)]
    ids = [centre.one(resources=shape) for _ in range(LINE_SEEN_MIN * 4) for shape in shapes]
    for _ in range(4):
        centre.after(1)
        centre.plane.schedule()
    assert set(states(centre, ids)) == {JobState.PLACED}


def test_the_plane_rests_until_the_next_tick_or_a_round_that_waits_for_its_turn(
    centre: Centre,
) -> None:
    plane, tick_ms = centre.plane, centre.settings.tick_ms
    assert plane.rest_ms() == tick_ms
    centre.one()
    plane.schedule()
    assert plane.rest_ms() == tick_ms, "it waits, and nothing has changed since"
    centre.island(cpu_milli=4_000)
    assert plane.rest_ms() == 1
