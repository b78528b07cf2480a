"""One attempt in Ray: what is known of it, and what that means. Pure.

    preparing -> submitting -> in Ray -> over
         \\------------\\---------> over (refused)

Two witnesses tell of an attempt: the records and beats of its runners in its folder, and Ray. The
runners know first and best how a program ended, and go on knowing it when Ray does not answer or
has lost its memory with its head. Ray knows what the runners cannot tell: that it waits, that a
node was lost, or that it was never started. `judge` weighs them.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from causeway.adapters.ray import reasons
from causeway.adapters.ray.answers import last_line
from causeway.adapters.ray.values import FINAL, JobRow, JobState
from causeway.adapters.runner import Desk, End, RankSeen
from causeway.adapters.runner.ends import SIGNAL_BASE, Key, Outcome, failed_rank, how, is_plain
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports.engine import Launch

SETTLE_MS = 15_000
"""How long the records wait for what Ray says of an end that may not be the program's own."""
GIVEN_BACK_MS = 5_000
"""How long the runners of a job that Ray has ended may take to be gone."""
ANSWERS = 2
"""After so many answers of Ray without the job, Ray has forgotten it."""
LEASE_MARGIN_MS = 1_000
SILENT_MS = 60_000
"""After so long without a beat, a runner that no lease ends counts as gone, where Ray does not know
its job (any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is written down of an attempt before Ray hears of it."""

    tag: str
    job: str
    fence: int
    ranks: int
    guard: bool
    cpu_milli: int
    """On each node; what it is metered by."""
    memory_bytes: int
    """On each node."""
    accelerators: int
    """On each node."""
    watts: float = 0.0
    """Rated power of each of them."""
    time_limit_s: float = 0.0
    asked: Mapping[str, float] = field(default_factory=dict)
    """What each rank asks of Ray, by Ray's names."""
    strategy: str = ""
    """How its placement group spreads."""
    id: str = ""
    """Ray's name for it."""
    taken: bool = False
    """Whether Ray has said that it has it."""

    @property
    def key(self) -> Key:
        return self.job, self.fence


@dataclass(slots=True, kw_only=True)
class Attempt:
    """Everything that the engine's thread knows of one attempt."""

    told: Submission
    folder: Path
    desk: Desk
    outcome: Outcome | None = None
    """Set when it is over; the first one stays."""
    unsure: bool = False
    """Whether it may have been submitted by an agent that died before it could write that down."""
    submitting: bool = False
    """Whether a thread is handing it to Ray now; its folder is that thread's meanwhile."""
    submitted_ms: int = 0
    over_ms: int = 0
    """When its end was known."""
    again: Launch | None = None
    """The same start, asked for again while it was unsure."""
    begun_ms: int = 0
    """When a runner of it was first seen."""
    row: JobRow | None = None
    row_ms: int = 0
    """When Ray was asked for it."""
    final_ms: int = 0
    """When Ray was first seen to have ended it."""
    missing: int = 0
    """Answers of Ray in a row without it, after it was submitted."""
    ranks: tuple[RankSeen, ...] = ()
    since_ms: int = 0
    """When it was handed over."""
    seen_ms: int = 0
    """When its folder was looked at last."""
    look_ms: int = 0
    """When its folder is looked at next."""
    beats: tuple[int, ...] = ()
    """The ranks' newest beats."""
    beat_ms: int = 0
    """When one of them was new."""
    for_ms: int = 0
    """What its last grant was for."""
    before_ms: int = 0
    """When it was last seen not to have started."""
    started_ms: int = 0
    ended_ms: int = 0
    quiet_ms: int = 0
    """When its last rank was seen to have ended; 0: some go on."""
    cpu_ms: int = 0
    energy_mj: int = 0
    memory_bytes: int = 0
    stop_ms: int = -1
    """Grace of the stop that was asked for; -1: none."""
    kill_at_ms: int = 0
    """When it is to be killed; 0: it is not to be."""
    killed: bool = False
    """Whether its runners were told to."""

    @property
    def key(self) -> Key:
        return self.told.key

    @property
    def over(self) -> bool:
        """Whether all its ranks have ended by their own records."""
        return bool(self.ranks) and all(rank.end is not None for rank in self.ranks)

    @property
    def quiet(self) -> bool:
        """Whether no rank that has begun goes on."""
        return all(rank.end is not None or not rank.waiting for rank in self.ranks)

    @property
    def forgotten(self) -> bool:
        """Whether Ray knew it, and does not any more."""
        return self.missing >= ANSWERS

    @property
    def final(self) -> bool:
        """Whether Ray says that it is over."""
        return self.row is not None and self.row.state in FINAL

    @property
    def holds(self) -> Capacity:
        """What it holds of the cluster now."""
        placed = self.begun_ms or self.told.ranks == 1
        running = self.row is not None and self.row.state is JobState.RUNNING
        if self.outcome is not None or not running or not placed:
            return Capacity()
        told = self.told
        return Capacity(
            cpu_milli=told.cpu_milli * told.ranks,
            memory_bytes=told.memory_bytes * told.ranks,
            accelerators=told.accelerators * told.ranks,
        )


def judge(at: Attempt, now_ms: int) -> Outcome | None:
    """Return how an attempt ended; None while it goes on, or while that is not certain."""
    if at.over and all(rank.end is End.EXIT and rank.code == 0 for rank in at.ranks):
        return Outcome(phase=Phase.SUCCEEDED, exit_code=0)
    if at.stop_ms >= 0:
        if at.over or _gone(at, now_ms):
            code = next((rank.code for rank in at.ranks if rank.code is not None), None)
            return Outcome(phase=Phase.STOPPED, exit_code=code, message="it was stopped")
        return None
    if at.over:
        return _by_record(at, now_ms)
    if not at.final and not at.forgotten:
        return _lease_is_over(at, now_ms)
    if not _gone(at, now_ms):
        return None
    return _by_record(at, now_ms) if failed_rank(at.ranks) is not None else _without_end(at)


def needs_killing(at: Attempt) -> bool:
    """Say whether what is left of it must be ended: Ray has let go of it, or a rank failed."""
    if at.outcome is not None or at.over:
        return False
    broken = any(rank.end is End.EXIT and rank.code for rank in at.ranks)
    return at.final or (broken and at.told.ranks > 1)


def _gone(at: Attempt, now_ms: int) -> bool:
    """Say whether nothing of it can run any more."""
    if at.final and at.quiet:
        return True
    if at.told.guard and at.desk.granted_until_ms:
        # Whatever anybody can see: it ends by itself when no beat of it is answered any more.
        return now_ms >= max(at.desk.granted_until_ms, at.kill_at_ms) + LEASE_MARGIN_MS
    if at.final:
        return now_ms >= at.final_ms + GIVEN_BACK_MS
    return at.forgotten and now_ms >= max(at.beat_ms, at.since_ms) + SILENT_MS


def _lease_is_over(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end of a guarded attempt that has not been heard of since its lease ended: its
    guard has ended it, or its node is gone. Ray is given a while to say which node."""
    granted = at.desk.granted_until_ms
    if not at.told.guard or not granted or not at.begun_ms:
        return None
    if now_ms < granted + LEASE_MARGIN_MS + SETTLE_MS:
        return None
    message = "its runner has not been heard of since its lease ended: its node is gone"
    return Outcome(phase=Phase.FAILED, failure=FailureClass.NODE, message=message)


def _by_record(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end that its runners wrote down, with what Ray knows better."""
    own = _own_end(at)
    if own is not None:
        return own
    failed = failed_rank(at.ranks)
    if failed is not None and at.over and is_plain(at.ranks[failed]):
        return _program(at, failed)
    # A signal was in it: Ray may know why.
    settled = at.final or now_ms - at.quiet_ms >= SETTLE_MS
    if not settled:
        return None
    said = reasons.end(at.row) if at.row is not None else None
    if said is not None:
        return _failed(said[0], said[1], at)
    if any(rank.end is End.SIGNAL for rank in at.ranks):
        return _failed(FailureClass.ENGINE, "Ray ended it, or lost the process that held it", at)
    return _program(at, failed) if failed is not None else _without_end(at)


def _own_end(at: Attempt) -> Outcome | None:
    """Return what its runners themselves ended it for."""
    for rank in at.ranks:
        match rank.end:
            case End.LEASE:
                message = "its lease was not granted further, so its guard ended it"
                code = SIGNAL_BASE + signal.SIGKILL
                return _ended(FailureClass.ISLAND, message, code)
            case End.LIMIT:
                message = f"it ran longer than its limit of {at.told.time_limit_s:g} s"
                return _ended(FailureClass.LIMIT, message, rank.code)
            case End.START:
                where = f" on {rank.host}" if rank.host else ""
                message = f"its program could not be started{where}: {rank.message}"
                return _ended(FailureClass.ENGINE, message, None)
    return None


def _program(at: Attempt, number: int) -> Outcome:
    rank = at.ranks[number]
    who = "setup" if rank.part == "setup" else f"rank {number}"
    return _ended(FailureClass.USER, f"{who} {how(rank.code or 0)}", rank.code)


def _without_end(at: Attempt) -> Outcome:
    """Return the end of a job whose runners left no word of one."""
    row = at.row
    if row is None or at.forgotten:
        message = "Ray no longer knows the job, and its runner wrote no end"
        return _failed(FailureClass.ENGINE, message, at)
    if reasons.is_unseen(row):
        return _failed(FailureClass.ENGINE, reasons.unseen(row.node), at)
    said = reasons.end(row)
    if said is not None:
        return _failed(said[0], said[1], at)
    what = "its runner ended without a word" if at.begun_ms else "its runner did not start"
    words = last_line(row.message) if row.state is JobState.FAILED else ""
    return _failed(FailureClass.ENGINE, f"{what} ({row.state}{': ' if words else ''}{words})", at)


def _failed(failure: FailureClass, message: str, at: Attempt) -> Outcome:
    code = next((rank.code for rank in at.ranks if rank.code is not None), None)
    return _ended(failure, message, code)


def _ended(failure: FailureClass, message: str, code: int | None) -> Outcome:
    return Outcome(phase=Phase.FAILED, exit_code=code, failure=failure, message=message)


def waiting(at: Attempt) -> str:
    """Return what an attempt waits for, by what Ray says."""
    if at.row is None:
        return "it is being handed to Ray"
    if at.row.state is JobState.PENDING:
        return f"it waits in Ray: {_first_sentence(at.row.message)} (PENDING)"
    if at.row.state is JobState.RUNNING and at.told.ranks > 1 and not at.begun_ms:
        return f"it waits in Ray for the places of its {at.told.ranks} ranks (placement group)"
    return "its runner starts" if at.row.state is JobState.RUNNING else ""


def _first_sentence(message: str) -> str:
    """Return what Ray says of a job that waits, without what it says of every job.

    >>> _first_sentence("Job has not started yet. It may be waiting for resources.")
    'it may be waiting for resources'
    """
    said = message.replace("Job has not started yet.", "").strip().rstrip(".")
    return said[:1].lower() + said[1:300] if said else "it has not been started yet"
