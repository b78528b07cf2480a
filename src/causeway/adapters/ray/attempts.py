"""One attempt in Ray: what is known of it beside what is known of any. Pure.

The runners go on knowing how a program ended when Ray has lost its memory with its head. Ray knows
what they cannot tell: that an attempt waits, that a node was lost, or that it was never started.
`judge` weighs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from causeway.adapters.outside import attempts
from causeway.adapters.outside.attempts import GIVEN_BACK_MS, LEASE_MARGIN_MS, SETTLE_MS
from causeway.adapters.ray import reasons
from causeway.adapters.ray.answers import last_line
from causeway.adapters.ray.values import FINAL, JobRow, JobState
from causeway.adapters.runner import End
from causeway.adapters.runner.ends import (
    Outcome,
    failed,
    failed_rank,
    is_plain,
    own_end,
    program_end,
)
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity

SILENT_MS = 60_000
"""After so long without a beat, a runner that no lease ends counts as gone, where Ray does not know
its job (any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission(attempts.Submission):
    """What is written down of an attempt before Ray hears of it."""

    asked: Mapping[str, float] = field(default_factory=dict)
    """What each rank asks of Ray, by Ray's names."""
    strategy: str = ""
    """How its placement group spreads."""
    id: str = ""
    """Ray's name for it."""


@dataclass(slots=True, kw_only=True)
class Attempt(attempts.Attempt[Submission]):
    """Everything that the engine's thread knows of one attempt."""

    row: JobRow | None = None
    row_ms: int = 0
    """When Ray was asked for it."""
    final_ms: int = 0
    """When Ray was first seen to have ended it."""

    @property
    def is_known(self) -> bool:
        return self.row is not None or self.missing > 0

    @property
    def quiet(self) -> bool:
        """Whether no rank that has begun goes on."""
        return all(rank.end is not None or not rank.waiting for rank in self.ranks)

    @property
    def final(self) -> bool:
        """Whether Ray says that it is over."""
        return self.row is not None and self.row.state in FINAL

    @property
    def holds(self) -> Capacity:
        placed = self.begun_ms or self.told.ranks == 1
        running = self.row is not None and self.row.state is JobState.RUNNING
        if self.outcome is not None or not running or not placed:
            return Capacity()
        return self.told.capacity(self.told.ranks)


def judge(at: Attempt, now_ms: int) -> Outcome | None:
    """Return how an attempt ended; None while it goes on, or while that is not certain."""
    if at.over and all(rank.end is End.EXIT and rank.code == 0 for rank in at.ranks):
        return Outcome(phase=Phase.SUCCEEDED, exit_code=0)
    if at.stop_ms >= 0:
        if at.over or _gone(at, now_ms):
            return Outcome(phase=Phase.STOPPED, exit_code=at.code, message="it was stopped")
        return None
    if at.over:
        return _by_record(at, now_ms)
    if not at.final and not at.forgotten:
        return _lease_is_over(at, now_ms)
    if not _gone(at, now_ms):
        return None
    return _by_record(at, now_ms) if failed_rank(at.ranks) is not None else _without_end(at)


def taken_away(at: Attempt) -> bool:
    """Say whether Ray has let go of an attempt that has not ended by its own records."""
    return at.final and not at.over


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
    return failed(FailureClass.NODE, message)


def _by_record(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end that its runners wrote down, with what Ray knows better."""
    own = own_end(at.ranks, time_limit_s=at.told.time_limit_s)
    if own is not None:
        return own
    first = failed_rank(at.ranks)
    if first is not None and at.over and is_plain(at.ranks[first]):
        return program_end(at.ranks, first)
    # A signal was in it: Ray may know why.
    settled = at.final or now_ms - at.quiet_ms >= SETTLE_MS
    if not settled:
        return None
    said = reasons.end(at.row) if at.row is not None else None
    if said is not None:
        return failed(*said, at.code)
    if any(rank.end is End.SIGNAL for rank in at.ranks):
        message = "Ray ended it, or lost the process that held it"
        return failed(FailureClass.ENGINE, message, at.code)
    return program_end(at.ranks, first) if first is not None else _without_end(at)


def _without_end(at: Attempt) -> Outcome:
    """Return the end of a job whose runners left no word of one."""
    row, engine = at.row, FailureClass.ENGINE
    if row is None or at.forgotten:
        message = "Ray no longer knows the job, and its runner wrote no end"
        return failed(engine, message, at.code)
    if reasons.is_unseen(row):
        return failed(engine, reasons.unseen(row.node), at.code)
    said = reasons.end(row)
    if said is not None:
        return failed(*said, at.code)
    what = "its runner ended without a word" if at.begun_ms else "its runner did not start"
    words = last_line(row.message) if row.state is JobState.FAILED else ""
    return failed(engine, f"{what} ({row.state}{': ' if words else ''}{words})", at.code)


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
