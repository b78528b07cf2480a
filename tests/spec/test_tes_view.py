"""From jobs to TES tasks: every state, the logs of every attempt, the three views."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from causeway.model.jobs import (
    Attempt,
    AttemptState,
    FailureClass,
    Job,
    JobSpec,
    JobState,
    StopIntent,
)
from causeway.model.money import Price, Purchase
from causeway.model.values import replace
from causeway.spec.tes_task import FAILED_STEP
from causeway.spec.tes_view import (
    Handover,
    State,
    View,
    commands_of,
    is_task,
    kept,
    state_of,
    task_of,
)

SPEC = JobSpec(
    name="t", run="x", inputs={".tes": "sha256:1"}, outputs=(".tes/report.json", ".tes/out/0")
)
ATTEMPT = Attempt(
    job="urn:cpi:c:job:1",
    fence=1,
    island="urn:cpi:c:island:alba",
    pool="p",
    offer="o",
    price=Price(id="x", amount_per_device_h=Decimal("0.1"), currency="USD"),
    purchase=Purchase.ON_DEMAND,
    pue_milli=1500,
    carbon_mg_per_kwh=1,
)


def job(state: JobState, **more: Any) -> Job:
    attempt = {name: more.pop(name) for name in list(more) if name in ("last_step", "failure")}
    made = replace(ATTEMPT, **attempt)
    return Job(id="urn:cpi:c:job:1", tenant="t", spec=SPEC, state=state, attempts=(made,), **more)


_J, _F = JobState, FailureClass
STATES: list[tuple[Job, State]] = [
    (job(_J.PENDING), State.QUEUED),
    (job(_J.QUEUED), State.QUEUED),
    (job(_J.PLACED), State.INITIALIZING),
    (job(_J.STARTING), State.INITIALIZING),
    (job(_J.RUNNING), State.INITIALIZING),
    (job(_J.RUNNING, last_step=0), State.RUNNING),
    (job(_J.DISCONNECTED), State.PAUSED),
    (job(_J.STOPPING, stop_intent=StopIntent.CANCEL), State.CANCELING),
    (job(_J.STOPPING, stop_intent=StopIntent.PREEMPT), State.RUNNING),
    (job(_J.CANCELLED), State.CANCELED),
    (job(_J.SUCCEEDED), State.COMPLETE),
    (job(_J.FAILED, failure=_F.USER, last_step=1), State.EXECUTOR_ERROR),
    (job(_J.FAILED, failure=_F.LIMIT, last_step=0), State.EXECUTOR_ERROR),
    (job(_J.FAILED, failure=_F.USER), State.SYSTEM_ERROR),
    (job(_J.FAILED, failure=_F.USER, last_step=FAILED_STEP), State.SYSTEM_ERROR),
    (job(_J.FAILED, failure=_F.ENGINE, last_step=1), State.SYSTEM_ERROR),
    (job(_J.FAILED, failure=_F.ISLAND, last_step=0), State.SYSTEM_ERROR),
    (job(_J.FAILED, failure=_F.PREEMPTION, last_step=0), State.PREEMPTED),
    (replace(job(_J.FAILED), attempts=()), State.SYSTEM_ERROR),
]


@pytest.mark.parametrize(("one", "state"), STATES, ids=lambda value: str(value)[:12])
def test_every_state_has_its_word(one: Job, state: State) -> None:
    assert state_of(one, Handover()) is state


def test_no_state_of_a_job_is_left_out() -> None:
    assert {one.state for one, _ in STATES} == set(JobState)


def test_a_task_is_complete_when_its_outputs_are_where_they_should_be() -> None:
    done = job(JobState.SUCCEEDED)
    assert state_of(done, Handover(done=False)) is State.RUNNING
    assert state_of(done, Handover(why="the disk is full")) is State.SYSTEM_ERROR


def test_only_jobs_of_this_door_are_tasks() -> None:
    assert is_task(job(JobState.QUEUED))
    assert not is_task(replace(job(JobState.QUEUED), spec=replace(SPEC, inputs={})))
    assert kept(job(JobState.QUEUED)) == (".tes/out/0",)


POINTS = [
    (0, {"unix_ms": 1_000.0, "out": 10.0, "err": 0.0}),
    (1, {"unix_ms": 2_000.0, "out": 15.0, "err": 4.0, "exit_code": 3.0, "ignored": 1.0}),
    (2, {"unix_ms": 3_000.0, "out": 15.0, "err": 4.0}),
]


def test_progress_points_tell_of_commands() -> None:
    first, second = commands_of(1, [*POINTS, (FAILED_STEP, {"unix_ms": 4.0}), (7, {"loss": 1.0})])
    assert (first.start_ms, first.end_ms, first.exit_code) == (1_000, 2_000, 3)
    assert first.spans == {"stdout": (10, 15), "stderr": (0, 4)}
    assert (second.number, second.end_ms, second.spans["stdout"]) == (1, 0, (15, -1))


def test_a_point_that_was_lost_leaves_its_command_out() -> None:
    assert commands_of(1, POINTS[1:2]) == ()


DOCUMENT = {
    "name": "a task",
    "inputs": [{"path": "/a", "content": "secret text"}],
    "executors": [{"image": "i", "command": ["x"]}],
}


def shown(view: View, **more: Any) -> dict[str, Any]:
    ended = replace(
        job(JobState.SUCCEEDED, submitted_ms=500),
        attempts=(
            replace(
                ATTEMPT, state=AttemptState.LOST, started_ms=600, ended_ms=700, message="it is gone"
            ),
            replace(ATTEMPT, fence=2, state=AttemptState.SUCCEEDED, started_ms=900, ended_ms=3_500),
        ),
    )
    commands = (
        *(replace(one, stdout="words") for one in commands_of(1, POINTS[:1])),
        *commands_of(2, POINTS),
    )
    return task_of(ended, DOCUMENT, view, handover=Handover(), commands=commands, **more)


def test_the_least_view_has_two_fields() -> None:
    assert shown(View.MINIMAL) == {"id": "1", "state": "COMPLETE"}


def test_the_basic_view_hides_texts() -> None:
    seen = shown(View.BASIC)
    assert seen["inputs"] == [{"path": "/a"}]
    assert "system_logs" not in seen["logs"][0]
    assert "stdout" not in seen["logs"][0]["logs"][0]


def test_the_full_view_has_a_log_of_each_attempt() -> None:
    rows = [{"url": "u", "path": "/o", "size_bytes": "6"}]
    seen = shown(View.FULL, outputs=rows)
    lost, last = seen["logs"]
    assert seen["creation_time"] == "1970-01-01T00:00:00.500+00:00"
    assert seen["inputs"] == DOCUMENT["inputs"]
    assert "attempt 1: it is gone" in lost["system_logs"]
    assert lost["outputs"] == []
    # What ran when the attempt was lost ended with it.
    (command,) = lost["logs"]
    assert (command["exit_code"], command["stdout"]) == (137, "words")
    assert command["end_time"] == "1970-01-01T00:00:00.700+00:00"
    assert last["outputs"] == rows
    assert [one["exit_code"] for one in last["logs"]] == [3, 0]
    assert last["metadata"]["island"].endswith("alba")
