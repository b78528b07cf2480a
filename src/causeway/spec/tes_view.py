"""From a job to the TES task that clients see: its state, its logs, and the three views.

A job's states are finer than a task's in some places and coarser in others. What a task adds is
told by the program that runs it, through the job's progress points (`api/tes/program.py`): step 2n
is the start of command n, step 2n+1 its end, `FAILED_STEP` that something else failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from causeway.model.jobs import Attempt, AttemptState, FailureClass, Job, JobState, StopIntent
from causeway.spec.tes_task import FAILED_STEP, FOLDER

KILLED = 137
"""As shells say it of what SIGKILL has ended."""


class State(StrEnum):
    """States of a task, in the specification's words."""

    UNKNOWN = "UNKNOWN"
    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    EXECUTOR_ERROR = "EXECUTOR_ERROR"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    CANCELED = "CANCELED"
    CANCELING = "CANCELING"
    PREEMPTED = "PREEMPTED"


class View(StrEnum):
    """How much of a task is shown."""

    MINIMAL = "MINIMAL"
    BASIC = "BASIC"
    FULL = "FULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """Whether outputs that the centre takes have reached their addresses."""

    done: bool = True
    why: str = ""
    """Why they never will; empty: they have, or will."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLog:
    """What is known of one command of one attempt."""

    fence: int
    number: int
    start_ms: int
    end_ms: int = 0
    """0: it has not ended."""
    exit_code: int = 0
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """`stdout` and `stderr` -> where its words begin and end in the attempt's log; an end of -1 is
    not known yet."""
    stdout: str = ""
    stderr: str = ""


def is_task(job: Job) -> bool:
    """Say whether a job was made by this door."""
    return FOLDER in job.spec.inputs


def kept(job: Job) -> tuple[str, ...]:
    """Return the outputs that the centre takes."""
    return tuple(path for path in job.spec.outputs if path.startswith(f"{FOLDER}/out/"))


def state_of(job: Job, handover: Handover) -> State:
    """Return the task's state."""
    match job.state:
        case JobState.PENDING | JobState.QUEUED:
            return State.QUEUED
        case JobState.PLACED | JobState.STARTING:
            return State.INITIALIZING
        case JobState.RUNNING:
            # Running means that the inputs are there and the first command has begun.
            begun = bool(job.attempts) and 0 <= job.attempts[-1].last_step < FAILED_STEP
            return State.RUNNING if begun else State.INITIALIZING
        case JobState.DISCONNECTED:
            return State.PAUSED
        case JobState.STOPPING:
            cancelled = job.stop_intent is StopIntent.CANCEL
            return State.CANCELING if cancelled else State.RUNNING
        case JobState.CANCELLED:
            return State.CANCELED
        case JobState.SUCCEEDED:
            if not handover.done:
                return State.RUNNING
            return State.SYSTEM_ERROR if handover.why else State.COMPLETE
        case JobState.FAILED:
            return _bad_end(job.attempts[-1] if job.attempts else None)
    return State.UNKNOWN


def _bad_end(attempt: Attempt | None) -> State:
    """Return which of the bad ends a task that has failed for good came to."""
    if attempt is None:
        return State.SYSTEM_ERROR
    if attempt.failure is FailureClass.PREEMPTION:
        return State.PREEMPTED
    by_program = attempt.failure in (FailureClass.USER, FailureClass.LIMIT)
    in_command = 0 <= attempt.last_step < FAILED_STEP
    return State.EXECUTOR_ERROR if by_program and in_command else State.SYSTEM_ERROR


def commands_of(
    fence: int, points: Sequence[tuple[int, Mapping[str, float]]]
) -> tuple[CommandLog, ...]:
    """Return the commands of an attempt from its progress points, in order."""
    found: dict[int, CommandLog] = {}
    for step, values in points:
        if step >= FAILED_STEP or "unix_ms" not in values:
            continue
        number, at_ms = step // 2, int(values["unix_ms"])
        out, err = int(values.get("out", 0)), int(values.get("err", 0))
        if step % 2 == 0:
            found[number] = CommandLog(
                fence=fence,
                number=number,
                start_ms=at_ms,
                spans={"stdout": (out, -1), "stderr": (err, -1)},
            )
        elif number in found:
            begun = found[number]
            found[number] = CommandLog(
                fence=fence,
                number=number,
                start_ms=begun.start_ms,
                end_ms=at_ms,
                exit_code=int(values.get("exit_code", 0)),
                spans={
                    "stdout": (begun.spans["stdout"][0], out),
                    "stderr": (begun.spans["stderr"][0], err),
                },
            )
    return tuple(found[number] for number in sorted(found))


def task_of(
    job: Job,
    document: Mapping[str, object],
    view: View,
    *,
    handover: Handover,
    commands: Sequence[CommandLog] = (),
    outputs: Sequence[Mapping[str, str]] = (),
) -> dict[str, object]:
    """Return the task as its JSON has it. `document` is what was sent."""
    least: dict[str, object] = {"id": task_id(job), "state": state_of(job, handover).value}
    if view is View.MINIMAL:
        return least
    shown = dict(document)
    if view is View.BASIC:
        shown["inputs"] = [_without(one, "content") for one in _rows(document.get("inputs"))]
    logs = [
        _attempt_log(job, attempt, view, handover=handover, commands=commands, outputs=outputs)
        for attempt in job.attempts
    ]
    if not logs and view is View.FULL and job.reasons:
        logs = [{"logs": [], "outputs": [], "system_logs": _reasons(job)}]
    return {**shown, **least, "creation_time": instant(job.submitted_ms), "logs": logs}


def task_id(job: Job) -> str:
    """Return the task's identifier: the last part of the job's."""
    return job.id.rpartition(":")[2]


def instant(at_ms: int) -> str:
    """Return an instant as RFC 3339 has it.

    >>> instant(0)
    '1970-01-01T00:00:00.000+00:00'
    """
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _attempt_log(
    job: Job,
    attempt: Attempt,
    view: View,
    *,
    handover: Handover,
    commands: Sequence[CommandLog],
    outputs: Sequence[Mapping[str, str]],
) -> dict[str, object]:
    """Return the log of one attempt: a task that was tried again has several."""
    own = [one for one in commands if one.fence == attempt.fence]
    last = attempt is job.attempts[-1]
    found: dict[str, object] = {
        "logs": [_command_log(one, attempt, view) for one in own],
        "outputs": list(outputs) if last and job.state is JobState.SUCCEEDED else [],
        "metadata": {
            "job": job.id,
            "attempt": str(attempt.fence),
            "island": attempt.island,
            "provider": attempt.provider,
            "isolation": attempt.isolation,
        },
    }
    if attempt.started_ms:
        found["start_time"] = instant(attempt.started_ms)
    if attempt.ended_ms:
        found["end_time"] = instant(attempt.ended_ms)
    if view is View.FULL:
        said = [reason.message for reason in attempt.reasons]
        said += [f"attempt {attempt.fence}: {attempt.message}"] if attempt.message else []
        said += [attempt.cause.message] if attempt.cause else []
        said += [handover.why] if last and handover.why else []
        found["system_logs"] = [*said, *(_reasons(job) if last else ())]
    return found


def _command_log(one: CommandLog, attempt: Attempt, view: View) -> dict[str, object]:
    found: dict[str, object] = {"start_time": instant(one.start_ms), "exit_code": one.exit_code}
    if one.end_ms:
        found["end_time"] = instant(one.end_ms)
    elif attempt.ended_ms:
        found["end_time"] = instant(attempt.ended_ms)
        if attempt.state is not AttemptState.SUCCEEDED:
            # It was ended with its attempt: killed, or out of memory or time.
            found["exit_code"] = attempt.exit_code or KILLED
    if view is View.FULL:
        found |= {"stdout": one.stdout, "stderr": one.stderr}
    return found


def _reasons(job: Job) -> list[str]:
    return [reason.message for reason in job.reasons]


def _rows(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _without(one: Mapping[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in one.items() if key != name}
