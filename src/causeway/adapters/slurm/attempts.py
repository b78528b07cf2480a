"""One attempt in Slurm: what is known of it beside what is known of any. Pure.

Slurm knows what runners cannot tell: that an attempt waits, was preempted, lost its node, or was
never started. `judge` weighs that and their records.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from causeway.adapters.outside import attempts
from causeway.adapters.outside.attempts import (
    SETTLE_MS,
    UNSEEN_FOLDER,
    guarded_to_death,
    surely_gone_ms,
)
from causeway.adapters.runner import End
from causeway.adapters.runner.ends import (
    SIGNAL_BASE,
    Outcome,
    failed,
    failed_rank,
    is_plain,
    own_end,
    program_end,
)
from causeway.adapters.slurm import reasons
from causeway.adapters.slurm.values import FINAL, Accounted, JobRow, JobState
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission(attempts.Submission):
    """What is written down of an attempt before Slurm hears of it."""

    number: int = 0
    """Slurm's; 0: not submitted, or the answer was lost."""


@dataclass(slots=True, kw_only=True)
class Attempt(attempts.Attempt[Submission]):
    """Everything that the engine's thread knows of one attempt."""

    row: JobRow | None = None
    row_ms: int = 0
    """When Slurm was asked for it."""
    accounted: Accounted | None = None
    published: bool = False
    """Whether its end is shown, with all that is known of it."""
    output: str = ""
    """Last words of its batch script, once it failed."""

    @property
    def is_known(self) -> bool:
        return self.row is not None

    @property
    def final(self) -> bool:
        """Whether Slurm's queue shows that it is over."""
        return self.row is not None and self.row.state in FINAL

    @property
    def holds(self) -> Capacity:
        if self.outcome is not None or self.row is None or self.row.state is JobState.PENDING:
            return Capacity()
        return self.told.capacity(self.told.ranks)


def judge(at: Attempt, now_ms: int) -> Outcome | None:
    """Return how an attempt ended; None while it goes on, or while that is not certain."""
    final = _final(at)
    if at.over and all(rank.end is End.EXIT and rank.code == 0 for rank in at.ranks):
        return Outcome(phase=Phase.SUCCEEDED, exit_code=0)
    if at.stop_ms >= 0:
        if at.over or final is not None or guarded_to_death(at, now_ms):
            return Outcome(phase=Phase.STOPPED, exit_code=at.code, message="it was stopped")
        return None
    if at.back_ms:
        return _taken_away(at, now_ms)
    if not at.over and final is None:
        return None
    own = own_end(at.ranks, time_limit_s=at.told.time_limit_s)
    if own is not None:
        return own
    settled = final is not None or now_ms - at.quiet_ms >= SETTLE_MS
    first = failed_rank(at.ranks)
    if first is not None and at.over and is_plain(at.ranks[first]):
        return program_end(at.ranks, first)
    if not settled:
        return None
    if final is not None and final.value in reasons.ENDS and not at.killed:
        return _slurm_end(at, final)
    if first is not None:
        return _program(at, first)
    return _never_began(at, final)


def _taken_away(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end of an attempt that Slurm no longer sees on its nodes, once nothing of it can
    run there any more."""
    if not at.over and now_ms < surely_gone_ms(at):
        return None
    if requeued(at):
        failure = FailureClass.PREEMPTION
        message = "Slurm took it off its nodes and put it back into its queue"
    else:
        failure = FailureClass.ENGINE
        message = "Slurm no longer knows the job; what was left of it was ended"
    return failed(failure, message)


def taken_away(at: Attempt) -> bool:
    """Say whether Slurm no longer sees an attempt on its nodes that has begun, and not ended by
    itself."""
    if not at.begun_ms:
        return False
    if requeued(at):
        return not at.over or any(rank.end is End.SIGNAL for rank in at.ranks)
    known = at.accounted is not None and at.accounted.over
    return not at.over and at.forgotten and not known


def requeued(at: Attempt) -> bool:
    """Say whether Slurm would start it a second time. Its runner would not: it begins once."""
    # Slurm must have been asked after its runner was seen: before that it may well have waited.
    back = at.row is not None and at.row.state in (JobState.PENDING, JobState.REQUEUED)
    return any(rank.again for rank in at.ranks) or (back and 0 < at.begun_ms < at.row_ms)


def _final(at: Attempt) -> JobState | None:
    """Return Slurm's final state of it, from the queue or, when it is purged there, the accounts;
    FAILED when neither knows it any more."""
    if at.row is not None and at.final:
        return at.row.state
    if at.forgotten:
        if at.accounted is not None and at.accounted.over:
            return JobState(at.accounted.state.rstrip("+"))
        return JobState.FAILED
    return None


def _program(at: Attempt, number: int) -> Outcome:
    code = at.ranks[number].code
    if code == SIGNAL_BASE + signal.SIGKILL and "memory" in at.output.lower():
        return failed(*reasons.ENDS["OUT_OF_MEMORY"], code)
    return program_end(at.ranks, number)


def _slurm_end(at: Attempt, state: JobState) -> Outcome:
    failure, message = reasons.ENDS[state.value]
    token = at.row.reason if at.row is not None and at.row.reason else state.value
    never = reasons.never(token)
    if state is JobState.CANCELLED and never:
        failure, message = FailureClass.REFUSED, never
    nodes = f" on {at.row.nodes}" if at.row is not None and at.row.nodes else ""
    return failed(failure, f"{message}{nodes} ({state.value})", at.code)


def _never_began(at: Attempt, state: JobState | None) -> Outcome:
    """Return the end of a job whose runners left no word of one."""
    row, engine = at.row, FailureClass.ENGINE
    if row is not None and (never := reasons.never(row.reason)):
        return failed(FailureClass.REFUSED, never)
    if row is None and at.forgotten:
        return failed(engine, "Slurm no longer knows the job, and its runner wrote no end")
    if "memory limit" in at.output.lower():
        return failed(*reasons.ENDS["OUT_OF_MEMORY"], SIGNAL_BASE + signal.SIGKILL)
    where = f" on {row.nodes}" if row is not None and row.nodes else ""
    if row is not None and row.exit_status >> 8 == UNSEEN_FOLDER:
        return failed(engine, unseen(row.nodes))
    said = f": {at.output}" if at.output else ""
    what = "its runner ended without a word" if at.begun else "its runner did not start"
    token = f" ({state.value})" if state is not None else ""
    return failed(engine, f"{what}{where}{said}{token}")


def unseen(nodes: str) -> str:
    """Say that nodes do not see the agent's folder."""
    return (
        f"{nodes or 'a node'} does not see the agent's folder: it must lie on a file system that "
        "all nodes share, under the same path"
    )


def waiting(at: Attempt) -> str:
    """Return what Slurm says that an attempt waits for."""
    if at.row is None:
        return "it is being handed to Slurm"
    if at.row.state is JobState.PENDING:
        return reasons.waiting(at.row.reason)
    if at.row.state is JobState.CONFIGURING:
        return "Slurm makes its nodes ready (CONFIGURING)"
    if at.row.state is JobState.SUSPENDED:
        return "Slurm has suspended it (SUSPENDED)"
    return f"its runner starts on {at.row.nodes}" if at.row.nodes else ""
