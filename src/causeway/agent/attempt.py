"""One attempt at the island: its durable record, and how it moves towards its end.

    staging --> ready --> engine --> closing --> done
       |          |                                ^
       +----------+------- (failed, stopped) ------+        refused (never begun)

`staging`: inputs are fetched. `ready`: waits until an older attempt of the same job is really gone.
`engine`: the engine has it. `closing`: its processes are gone; what it left (checkpoint, outputs,
last logs) is on its way. `done` and `refused`: everything is said; kept until the centre releases
it. A `Held` is a frozen value, and the journal is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from causeway.model.jobs import FailureClass, JobKind
from causeway.model.protocol import (
    AttemptReport,
    CheckpointReport,
    Phase,
    ProgressPoint,
    StartCommand,
    Wiped,
)
from causeway.model.usage import UsageTick
from causeway.model.values import replace
from causeway.ports.engine import Status

Key = tuple[str, int]
"""(job, fence)."""
MESSAGE_CHARS_MAX = 2_000
TICKS_PER_REPORT = 100


class Stage(StrEnum):
    """Where an attempt is at the island."""

    STAGING = "staging"
    READY = "ready"
    ENGINE = "engine"
    CLOSING = "closing"
    DONE = "done"
    REFUSED = "refused"


OPEN = frozenset({Stage.STAGING, Stage.READY, Stage.ENGINE})
"""Stages in which it holds capacity here."""
ENDED = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED})


class Cause(StrEnum):
    """Why a stop was asked for."""

    NONE = "none"
    ASKED = "asked"
    """By the centre."""
    DEADLINE = "deadline"
    """The lease ran out."""
    SUPERSEDED = "superseded"
    """A newer attempt of the same job came."""
    LEAVING = "leaving"
    """The agent leaves."""


STORIES: Mapping[Cause, tuple[FailureClass | None, str]] = {
    Cause.NONE: (None, ""),
    Cause.ASKED: (None, "stopped as asked"),
    Cause.DEADLINE: (
        FailureClass.ISLAND,
        "stopped at the lease deadline: the centre could not be reached",
    ),
    Cause.SUPERSEDED: (FailureClass.ISLAND, "stopped: a newer attempt of this job came"),
    Cause.LEAVING: (FailureClass.PREEMPTION, "stopped: the island leaves"),
}
"""Failure class and message of an attempt that was stopped for a cause."""
FENCED = frozenset({Cause.DEADLINE, Cause.SUPERSEDED})
"""Causes after which nothing that the attempt left will be accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Everything durable about one attempt. Instants are of the island's monotonic clock."""

    start: StartCommand
    """Without secrets: they never reach the disk of the agent."""
    stage: Stage = Stage.STAGING
    phase: str = Phase.STARTING
    """What is reported once `done`; before that, what the engine said last."""
    cause: Cause = Cause.NONE
    released: bool = False
    """The centre has released it; it is forgotten as soon as the engine says that it is gone."""
    grace_ms: int = -1
    """Grace of the stop that the engine was asked for; -1: none was."""
    exit_code: int | None = None
    failure: FailureClass | None = None
    message: str = ""
    isolation: str = ""
    warm: bool = False
    restarts: int = 0
    started_ms: int = 0
    """0 until its processes have started; of a rental: until its hand-over."""
    ended_ms: int = 0
    """When its meter stopped: as its processes ended; of a rental: as its return was asked for."""
    ticks: tuple[UsageTick, ...] = ()
    """Not acknowledged yet."""
    acked: int = 0
    """How many ticks the centre has."""
    cut_ms: int = 0
    """End of the last tick, since the start."""
    cut_cpu_ms: int = 0
    cut_energy_mj: int = 0
    last_step: int = -1
    found_step: int = -1
    """Newest complete checkpoint in its folder."""
    checkpoint: CheckpointReport | None = None
    """Newest one at the centre."""
    uploading: bool = False
    """Whether an upload is under way; false again after a restart."""
    tries: int = 0
    """Failed uploads in a row."""
    retry_ms: int = 0
    looked: bool = False
    wiping: bool = False
    """Whether a wipe is under way; false again after a restart."""
    wiped: Wiped | None = None
    """What the last wipe of a rental found."""
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return (self.start.job, self.start.fence)

    @property
    def behind(self) -> bool:
        """Whether a local checkpoint is newer than the one at the centre."""
        at_centre = self.checkpoint.step if self.checkpoint else -1
        return self.found_step > at_centre

    def elapsed_ms(self, now_ms: int) -> int:
        """Return how long its processes have run."""
        if not self.started_ms:
            return 0
        return max(self.cut_ms, (self.ended_ms or now_ms) - self.started_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentJournal:
    """All that an agent must not forget when it is killed."""

    island: str
    attempts: tuple[Held, ...] = ()
    fences: Mapping[str, int] = field(default_factory=dict)
    """Job -> highest fence seen lately."""
    version: int = 1


def observed(held: Held, status: Status) -> Held:
    """Return the record with what the engine says now; the same one when nothing changed."""
    changed = (
        status.phase != held.phase
        or status.started_monotonic_ms != held.started_ms
        or status.restarts != held.restarts
        or status.isolation != held.isolation
        or status.warm != held.warm
        or (status.phase == Phase.STARTING and status.message != held.message)
    )
    if not changed:
        return held
    return replace(
        held,
        phase=Phase.RUNNING if status.phase in ENDED else status.phase,
        started_ms=status.started_monotonic_ms or held.started_ms,
        restarts=max(held.restarts, status.restarts),
        isolation=status.isolation or held.isolation,
        warm=status.warm or held.warm,
        message=status.message[:MESSAGE_CHARS_MAX] if status.phase == Phase.STARTING else "",
    )


def ended(held: Held, status: Status, now_ms: int) -> Held:
    """Return the record of an attempt whose processes are gone, with what its end means."""
    phase, failure, message = status.phase, status.failure, status.message
    if phase == Phase.SUCCEEDED and held.start.spec.kind is JobKind.SERVICE:
        phase, failure = Phase.FAILED, FailureClass.USER
        message = message or "the service ended by itself; a service runs until it is stopped"
    elif phase != Phase.SUCCEEDED and held.cause is not Cause.NONE:
        failure, story = STORIES[held.cause]
        phase, message = Phase.STOPPED, story
    elif phase != Phase.SUCCEEDED:
        phase = Phase.FAILED
        failure = failure or (
            FailureClass.ENGINE if status.phase == Phase.STOPPED else FailureClass.USER
        )
    return replace(
        held,
        stage=Stage.CLOSING,
        phase=phase,
        failure=failure,
        message=message[:MESSAGE_CHARS_MAX],
        exit_code=status.exit_code,
        ended_ms=status.ended_monotonic_ms or now_ms,
        tries=0,
        retry_ms=0,
    )


def aborted(held: Held, *, phase: str, failure: FailureClass | None, message: str) -> Held:
    """Return the record of an attempt that ends without ever having had processes."""
    return replace(
        held,
        stage=Stage.DONE,
        phase=phase,
        failure=failure,
        message=message[:MESSAGE_CHARS_MAX],
    )


def report(held: Held, now_ms: int, progress: tuple[ProgressPoint, ...]) -> AttemptReport:
    """Return the whole present of an attempt as the centre is told. An end is told last."""
    final = held.stage in (Stage.DONE, Stage.REFUSED)
    said = held.phase if final or held.stage is Stage.ENGINE else Phase.STARTING
    if held.stage is Stage.CLOSING:
        said = Phase.RUNNING if held.started_ms else Phase.STARTING
    ticks = held.ticks[:TICKS_PER_REPORT]
    return AttemptReport(
        job=held.start.job,
        fence=held.start.fence,
        phase=said,
        elapsed_ms=held.elapsed_ms(now_ms),
        exit_code=held.exit_code if final else None,
        failure=held.failure if final else None,
        message=held.message if final or said == Phase.STARTING else "",
        isolation=held.isolation,
        warm=held.warm,
        resumed_step=held.start.resume_step,
        last_step=held.last_step,
        restarts=held.restarts,
        checkpoint=held.checkpoint,
        progress=progress,
        ticks=ticks,
        final=final and len(ticks) == len(held.ticks),
        outputs=held.outputs if final else {},
        wiped=held.wiped,
    )
