"""A run against a centre in memory: results once, whatever fails, and picked up by name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from memory_desk import MemoryDesk

from causeway.model.errors import Conflict, InvalidInput, Refused, Unavailable
from causeway.sdk.remote import runner
from causeway.sdk.remote.futures import RemoteFuture
from causeway.sdk.remote.options import Options
from causeway.sdk.remote.outcomes import RemoteError, RemoteTraceback
from causeway.sdk.remote.run import DEATHS_FIRST, Run

STEPS_MAX = 400
TASKS = 17
"""More than go out one by one."""


def double(x: int) -> int:
    return 2 * x


def picky(x: int) -> int:
    if x == 2:
        raise ValueError("not two", x)
    return x


def run_of(function: Callable[..., Any] = double, **options: Any) -> Run:
    return Run(function, Options().changed(options), wake=lambda run: None)


def add(run: Run, tasks: int) -> list[RemoteFuture[Any]]:
    return run.add([((i,), {}) for i in range(tasks)])


def to_the_end(run: Run, desk: MemoryDesk, *, work: Callable[[], None] | None = None) -> None:
    """Step until nothing is left to do; the islands work between two steps."""
    now_s = 0.0
    for _ in range(STEPS_MAX):
        if not run.busy:
            return
        now_s += 3.0
        try:
            run.step(desk, now_s)
        except Unavailable:
            continue
        (work or desk.work)()
    raise AssertionError("the run does not end")


def test_every_task_runs_once_and_in_order(desk: MemoryDesk) -> None:
    run = run_of()
    futures = add(run, 500)
    to_the_end(run, desk)
    assert [future.result(0) for future in futures] == [2 * i for i in range(500)]
    assert set(desk.ran.values()) == {1}
    assert len(desk.ran) == 500
    standing = run.standing
    assert (standing.tasks, standing.done, standing.failed) == (500, 500, 0)
    assert standing.cost_micros == 5 * sum(map(len, desk.groups.values()))


def test_what_a_portion_did_not_get_to_is_done_by_another(desk: MemoryDesk) -> None:
    desk.budget_tasks = 3
    run = run_of()
    futures = add(run, 200)
    to_the_end(run, desk)
    assert [future.result(0) for future in futures] == [2 * i for i in range(200)]
    assert set(desk.ran.values()) == {1}


def test_an_exception_comes_back_with_type_and_traceback(desk: MemoryDesk) -> None:
    run = run_of(picky)
    futures = add(run, 4)
    to_the_end(run, desk)
    with pytest.raises(ValueError, match="not two") as caught:
        futures[2].result(0)
    assert caught.value.args == ("not two", 2)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert 'raise ValueError("not two", x)' in str(caught.value.__cause__)
    assert futures[3].result(0) == 3
    assert run.standing.failed == 1


@pytest.mark.parametrize("culprits", [{13}, {0, 150, 199}])
def test_a_failed_job_is_tried_again_in_parts_until_the_task_is_alone(
    desk: MemoryDesk, culprits: set[int]
) -> None:
    run = run_of()
    futures = add(run, 200)

    def work() -> None:
        for job in desk.open:
            if culprits.intersection(range(*job.span)):
                job.state = "failed"
            else:
                desk.run(job)

    to_the_end(run, desk, work=work)
    for index, future in enumerate(futures):
        if index in culprits:
            with pytest.raises(RemoteError, match=r"(?s)a test says so.*Segmentation fault"):
                future.result(0)
        else:
            assert future.result(0) == 2 * index
    assert set(desk.ran.values()) == {1}


def test_a_run_whose_jobs_all_fail_is_given_up_soon(desk: MemoryDesk) -> None:
    run = run_of()
    futures = add(run, 1_000)

    def work() -> None:
        for job in desk.open:
            job.state = "failed"

    to_the_end(run, desk, work=work)
    assert all(isinstance(future.exception(0), RemoteError) for future in futures)
    assert sum(map(len, desk.groups.values())) <= 4 * DEATHS_FIRST
    assert not run.takes_more


def test_another_python_is_one_clear_error(desk: MemoryDesk) -> None:
    run = run_of()
    futures = add(run, 100)

    def work() -> None:
        for job in desk.open:
            text = b"the function comes from Python 3.12, and /usr/bin/python3 is Python 3.9"
            data = runner.FRAME.pack(job.span[0], runner.MISFIT, 0.0, len(text)) + text
            desk.hand_in(job, data)

    to_the_end(run, desk, work=work)
    for future in futures:
        error = future.exception(0)
        assert isinstance(error, RemoteError)
        assert "cannot run on alba: the function comes from Python 3.12" in error.message
        assert "image=" in error.hint


def test_a_module_that_is_not_there_is_one_clear_error(
    desk: MemoryDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def f(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    module = only_here

    def uses(x: int) -> int:
        return int(module.f(x))

    run = run_of(uses)
    futures = add(run, 3)
    # Packed while it is here, run where it is not.
    run.step(desk, 0.0)
    monkeypatch.undo()
    monkeypatch.delitem(__import__("sys").modules, "only_here")
    to_the_end(run, desk)
    error = futures[0].exception(0)
    assert isinstance(error, RemoteError)
    assert "No module named 'only_here'" in error.message
    assert 'workdir="."' in error.hint


@pytest.mark.parametrize("data", [b"noise", runner.FRAME.pack(99, b"v", 0.0, 0), b"\0" * 30])
def test_results_that_cannot_be_read_are_the_tasks_error(desk: MemoryDesk, data: bytes) -> None:
    run = run_of()
    futures = add(run, 5)
    to_the_end(run, desk, work=lambda: [desk.hand_in(job, data) for job in desk.open] and None)
    for future in futures:
        assert isinstance(future.exception(0), InvalidInput)
        assert "alba sent back" in str(future.exception(0))


def test_an_island_cannot_make_us_unpickle(desk: MemoryDesk) -> None:
    """A pickled result from an island, where plain ones were asked for."""
    run = run_of()
    futures = add(run, 1)
    bomb = b"cbuiltins\nexit\n(I3\ntR."

    def work() -> None:
        for job in desk.open:
            desk.hand_in(job, runner.FRAME.pack(0, runner.PICKLED, 0.0, len(bomb)) + bomb)

    to_the_end(run, desk, work=work)
    assert isinstance(futures[0].exception(0), InvalidInput)


def test_results_that_are_no_longer_kept_are_made_again(desk: MemoryDesk) -> None:
    first = run_of(name="sweep")
    add(first, 3)
    to_the_end(first, desk)
    desk.groups["g0"][1].outputs = {}
    second = run_of(name="sweep")
    futures = add(second, 3)
    to_the_end(second, desk)
    assert [future.result(0) for future in futures] == [0, 2, 4]
    assert desk.ran == {0: 1, 1: 2, 2: 1}


def test_a_job_without_results_is_one_that_failed(desk: MemoryDesk) -> None:
    run = run_of()
    futures = add(run, 1)

    def work() -> None:
        for job in desk.open:
            job.state = "succeeded"

    to_the_end(run, desk, work=work)
    with pytest.raises(RemoteError, match="its results are not there"):
        futures[0].result(0)


def test_cancel_of_a_task_stops_its_job_when_nobody_else_needs_it(desk: MemoryDesk) -> None:
    run = run_of()
    futures = add(run, 3)
    run.step(desk, 0.0)
    assert futures[1].cancel()
    assert futures[1].cancel()
    assert futures[1].cancelled()
    run.step(desk, 1.0)
    assert [job.state for job in desk.groups["g0"]] == ["queued", "cancelled", "queued"]
    to_the_end(run, desk)
    assert futures[2].result(0) == 4
    with pytest.raises(CancelledError):
        futures[1].result(0)
    assert not futures[2].cancel()


def test_cancel_before_anything_was_sent_sends_nothing(desk: MemoryDesk) -> None:
    run = run_of()
    futures = add(run, 3)
    run.cancel()
    to_the_end(run, desk)
    assert all(future.cancelled() for future in futures)
    assert desk.requests == 0


def test_cancel_of_a_run_stops_all_its_jobs(desk: MemoryDesk) -> None:
    run = run_of()
    futures = add(run, 100)
    run.step(desk, 0.0)
    run.cancel()
    to_the_end(run, desk, work=lambda: None)
    assert all(future.cancelled() for future in futures)
    assert desk.open == []
    assert not desk.ran


def test_a_run_that_was_cancelled_takes_new_tasks(desk: MemoryDesk) -> None:
    run = run_of()
    add(run, 1)
    run.cancel()
    (future,) = run.add([((4,), {})])
    to_the_end(run, desk)
    assert future.result(0) == 8


def test_a_job_that_a_person_stopped_cancels_its_tasks(desk: MemoryDesk) -> None:
    run = run_of()
    futures = add(run, 2)
    run.step(desk, 0.0)
    desk.open[0].state = "cancelled"
    to_the_end(run, desk)
    assert futures[0].cancelled()
    assert futures[1].result(0) == 2


def test_a_refusal_fails_the_run(desk: MemoryDesk) -> None:
    run = run_of()
    (future,) = run.add([((4,), {})])
    desk.fails_at, desk.failure = 2, Refused("a viewer may not submit jobs")
    with pytest.raises(Refused):
        run.step(desk, 0.0)
    run.fail(desk.failure)
    assert isinstance(future.exception(0), Refused)
    with pytest.raises(Refused):
        run.add([((5,), {})])


def test_a_request_that_fails_once_anywhere_changes_nothing(tmp_path: Path) -> None:
    """Also where the answer to a submission is lost: the wave is there, and is not sent twice."""
    for at in range(1, 200):
        root = tmp_path / str(at) / "artifacts"
        root.mkdir(parents=True)
        desk = MemoryDesk(root, fails_at=at, failure=Unavailable("the line is bad"))
        run = run_of(name="sweep")
        futures = add(run, TASKS)
        to_the_end(run, desk)
        assert [future.result(0) for future in futures] == [2 * i for i in range(TASKS)]
        assert set(desk.ran.values()) == {1}
        if desk.requests < at:
            break
    assert at > 15


class Killed(BaseException):
    """The program dies."""


def test_a_program_that_dies_anywhere_is_picked_up_by_name(tmp_path: Path) -> None:
    """At every request, answered or not: the next program ends with all results, and no task runs
    twice."""
    for at in range(1, 200):
        root = tmp_path / str(at) / "artifacts"
        root.mkdir(parents=True)
        desk = MemoryDesk(root, fails_at=at, failure=Killed(), budget_tasks=5)
        first = run_of(name="sweep")
        add(first, TASKS)
        try:
            to_the_end(first, desk)
            break
        except Killed:
            desk.fails_at = -1
        second = run_of(name="sweep")
        futures = add(second, TASKS)
        to_the_end(second, desk)
        assert [future.result(0) for future in futures] == [2 * i for i in range(TASKS)]
        assert set(desk.ran.values()) == {1}
    assert at > 15


def test_a_run_that_was_interrupted_goes_on_with_the_rest(desk: MemoryDesk) -> None:
    first = run_of(name="sweep")
    add(first, 12)
    first.step(desk, 0.0)
    for job in desk.open[:4]:
        desk.run(job)
    first.cancel()
    first.step(desk, 1.0)
    second = run_of(name="sweep")
    futures = add(second, 12)
    to_the_end(second, desk)
    assert [future.result(0) for future in futures] == [2 * i for i in range(12)]
    assert set(desk.ran.values()) == {1}


def test_what_failed_for_an_earlier_program_is_tried_anew(desk: MemoryDesk) -> None:
    first = run_of(name="sweep")
    add(first, 2)
    first.step(desk, 0.0)
    desk.open[0].state = "failed"
    second = run_of(name="sweep")
    futures = add(second, 2)
    to_the_end(second, desk)
    assert [future.result(0) for future in futures] == [0, 2]


def test_an_island_cannot_plant_a_plan(desk: MemoryDesk) -> None:
    """It would be submitted with the rights of whoever picks the run up."""
    first = run_of(name="sweep")
    add(first, 2)
    to_the_end(first, desk)
    desk.island_brings = "urn:cpi:x:job:1"
    second = run_of(name="sweep")
    add(second, 2)
    with pytest.raises(Refused, match="was brought by an island"):
        second.step(desk, 0.0)


def test_two_programs_at_once_under_one_name_both_end_with_all_results(desk: MemoryDesk) -> None:
    desk.budget_tasks = 2
    both = [run_of(name="sweep"), run_of(name="sweep")]
    futures = [add(run, TASKS) for run in both]
    for turn in range(STEPS_MAX):
        for run in both:
            if run.busy:
                run.step(desk, 3.0 * turn)
        if turn % 3 == 0:
            desk.work()
    third = run_of(name="sweep")
    futures.append(add(third, TASKS))
    to_the_end(third, desk)
    for made in futures:
        assert [future.result(0) for future in made] == [2 * i for i in range(TASKS)]


@pytest.mark.parametrize(("function", "tasks"), [(double, 5), (picky, 4)])
def test_a_name_that_stands_for_another_run_is_refused(
    desk: MemoryDesk, function: Callable[..., Any], tasks: int
) -> None:
    first = run_of(name="sweep")
    add(first, 4)
    to_the_end(first, desk)
    second = run_of(function, name="sweep")
    add(second, tasks)
    with pytest.raises(Conflict, match="there is a run 'sweep' already"):
        second.step(desk, 0.0)


def test_pickled_results_are_read_where_that_was_asked_for(desk: MemoryDesk) -> None:
    class Odd(Exception):
        pass

    def odd(x: int) -> Any:
        if x:
            raise Odd("odd", x)
        return {Odd}

    run = run_of(odd, results="pickle")
    futures = add(run, 2)
    to_the_end(run, desk)
    assert futures[0].result(0) == {Odd}
    assert isinstance(futures[1].exception(0), Odd)
    assert isinstance(futures[1].exception(0).__cause__, RemoteTraceback)


def test_arguments_are_taken_as_they_are_when_submitted(desk: MemoryDesk) -> None:
    run = run_of(lambda given: list(given))
    given = [1]
    (future,) = run.add([((given,), {})])
    given.append(2)
    to_the_end(run, desk)
    assert future.result(0) == [1]


def test_what_cannot_travel_is_said_at_once() -> None:
    with pytest.raises(InvalidInput, match="cannot travel"):
        run_of().add([((threading.Lock(),), {})])
