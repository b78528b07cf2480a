"""How a state looks: tone, icon and word, together and the same at every door.

Red is for failure only. Amber is blocked: waiting alone does not help. Grey waits its turn, blue is
starting, green runs, and what ended well is quiet.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from causeway.draw.svg import Svg, el
from causeway.model.islands import Island, IslandState
from causeway.model.jobs import AttemptState, Job, JobKind, JobState, StopIntent
from causeway.model.reasons import Severity


class Tone(StrEnum):
    RUN = "run"
    START = "start"
    WAIT = "wait"
    BLOCK = "block"
    FAIL = "fail"
    DONE = "done"


COLOURS: dict[Tone, str] = {
    Tone.RUN: "var(--run, #1a7f4b)",
    Tone.START: "var(--start, #2463c4)",
    Tone.WAIT: "var(--wait, #6b7280)",
    Tone.BLOCK: "var(--block, #a05a00)",
    Tone.FAIL: "var(--fail, #c22f2f)",
    Tone.DONE: "var(--done, #4d6a5c)",
}

ICONS: dict[str, str] = {
    "play": "M4.5 3v10l8.5-5z",
    "check": "M2.6 8.6 4 7.2l2.6 2.6L12 4.4l1.4 1.4-6.8 6.8z",
    "cross": "M3.3 4.7 4.7 3.3 8 6.6l3.3-3.3 1.4 1.4L9.4 8"
    "l3.3 3.3-1.4 1.4L8 9.4l-3.3 3.3-1.4-1.4L6.6 8z",
    "clock": "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8"
    "m0 1.6a4.6 4.6 0 1 0 0 9.2 4.6 4.6 0 0 0 0-9.2"
    "m.8 1.4v2.9l2 1.2-.8 1.3L7.2 8.6V4.8z",
    "half": "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8m0 1.7v9a4.5 4.5 0 1 0 0-9",
    "stop": "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8m-3.6 5.3v1.8h7.2V7.1z",
    "warn": "M8 1.6 15 14H1zm-.9 4.6.3 3.9h1.2l.3-3.9zm.1 4.8v1.6h1.6V11z",
    "cut": "M2 7.1h4v1.8H2zm8 0h4v1.8h-4zM7.3 3h1.4v3H7.3zm0 7h1.4v3H7.3z",
    "leave": "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8"
    "m0 1.8a4.4 4.4 0 1 0 0 8.8 4.4 4.4 0 0 0 0-8.8",
    "info": "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8m-.9 5v4.6h1.8V6.8zm0-2.6v1.7h1.8V4.2z",
}
"""Own drawings on a 16 by 16 field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    tone: Tone
    icon: str
    """A key of `ICONS`."""
    word: str


_JOBS: dict[JobState, Look] = {
    JobState.PENDING: Look(tone=Tone.WAIT, icon="clock", word="waits for others"),
    JobState.QUEUED: Look(tone=Tone.WAIT, icon="clock", word="queued"),
    JobState.PLACED: Look(tone=Tone.START, icon="half", word="placed"),
    JobState.STARTING: Look(tone=Tone.START, icon="half", word="starting"),
    JobState.RUNNING: Look(tone=Tone.RUN, icon="play", word="running"),
    JobState.DISCONNECTED: Look(tone=Tone.BLOCK, icon="cut", word="cut off"),
    JobState.STOPPING: Look(tone=Tone.WAIT, icon="stop", word="stopping"),
    JobState.SUCCEEDED: Look(tone=Tone.DONE, icon="check", word="succeeded"),
    JobState.FAILED: Look(tone=Tone.FAIL, icon="cross", word="failed"),
    JobState.CANCELLED: Look(tone=Tone.WAIT, icon="stop", word="cancelled"),
}

_ATTEMPTS: dict[AttemptState, Look] = {
    AttemptState.LEASED: Look(tone=Tone.START, icon="half", word="placed"),
    AttemptState.STARTING: Look(tone=Tone.START, icon="half", word="starting"),
    AttemptState.RUNNING: Look(tone=Tone.RUN, icon="play", word="running"),
    AttemptState.SUCCEEDED: Look(tone=Tone.DONE, icon="check", word="succeeded"),
    AttemptState.FAILED: Look(tone=Tone.FAIL, icon="cross", word="failed"),
    AttemptState.STOPPED: Look(tone=Tone.WAIT, icon="stop", word="stopped"),
    AttemptState.LOST: Look(tone=Tone.BLOCK, icon="cut", word="lost"),
    AttemptState.REFUSED: Look(tone=Tone.BLOCK, icon="stop", word="refused"),
}

_ISLANDS: dict[IslandState, Look] = {
    IslandState.LIVE: Look(tone=Tone.RUN, icon="check", word="live"),
    IslandState.SUSPECT: Look(tone=Tone.BLOCK, icon="warn", word="suspect"),
    IslandState.LOST: Look(tone=Tone.FAIL, icon="cut", word="lost"),
    IslandState.LEFT: Look(tone=Tone.WAIT, icon="leave", word="left"),
}

SEVERITIES: dict[Severity, Look] = {
    Severity.INFO: Look(tone=Tone.DONE, icon="info", word="note"),
    Severity.WAIT: Look(tone=Tone.WAIT, icon="clock", word="waits"),
    Severity.BLOCK: Look(tone=Tone.BLOCK, icon="warn", word="blocks"),
}


def job_look(job: Job) -> Look:
    """Return the look of a job; one that waiting alone cannot help is shown as blocked."""
    stuck = any(r.severity is Severity.BLOCK for r in job.reasons[:1])
    if job.state in (JobState.QUEUED, JobState.PENDING) and stuck:
        return Look(tone=Tone.BLOCK, icon="warn", word="blocked")
    if job.state is JobState.PENDING and job.spec.kind is JobKind.GROUP:
        return Look(tone=Tone.START, icon="half", word="in progress")
    if job.state is JobState.STOPPING and job.stop_intent is StopIntent.PREEMPT:
        return Look(tone=Tone.WAIT, icon="stop", word="giving way")
    return _JOBS[job.state]


def attempt_look(state: AttemptState) -> Look:
    """Return the look of an attempt."""
    return _ATTEMPTS[state]


def island_look(island: Island) -> Look:
    """Return the look of an island; drain and cordon are shown while it lives."""
    if island.state is IslandState.LIVE and island.draining:
        return Look(tone=Tone.WAIT, icon="stop", word="draining")
    if island.state is IslandState.LIVE and island.cordoned:
        return Look(tone=Tone.WAIT, icon="stop", word="cordoned")
    return _ISLANDS[island.state]


def icon(name: str, *, tone: Tone | None = None) -> Svg:
    """Return a small drawing; the word that belongs to it stands beside it."""
    return el(
        "svg",
        el(
            "path",
            d=ICONS[name],
            fill=COLOURS[tone] if tone else "currentColor",
            fill_rule="evenodd",
        ),
        viewBox="0 0 16 16",
        width=14.0,
        height=14.0,
        aria_hidden="true",
        focusable="false",
        class_="icon",
    )
