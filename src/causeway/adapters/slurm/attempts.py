"""One attempt in Slurm: what is known of it, and what that means. Pure.

    preparing -> submitting -> in Slurm -> over
         \\------------\\---------> over (refused)

Two witnesses tell of an attempt: the records of its runners in its folder, and Slurm. The runners
know first and best how a program ended; Slurm knows what the runners cannot tell: that it waits,
was preempted, lost its node, or was never started. `judge` weighs them.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from causeway.adapters.runner import Desk, End, RankSeen
from causeway.adapters.runner.ends import SIGNAL_BASE, Key, Outcome, failed_rank, how, is_plain
from causeway.adapters.slurm import reasons
from causeway.adapters.slurm.values import FINAL, Accounted, JobRow, JobState
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports.engine import Launch

UNSEEN_FOLDER = 78
"""Exit code of a runner that does not find its folder (`program.main`)."""
SETTLE_MS = 15_000
"""How long the records wait for what Slurm says of an end that may not be the program's own."""
GIVEN_BACK_MS = 5_000
"""How long the runner of a job that Slurm took off its nodes may take to be gone."""
ANSWERS = 2
"""After so many answers of Slurm without the job, Slurm has forgotten it."""
LEASE_MARGIN_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is written down of an attempt before Slurm hears of it."""

    tag: str
    job: str
    fence: int
    ranks: int
    guard: bool
    cores: int
    """On each node; what it is metered by."""
    memory_bytes: int
    """On each node."""
    accelerators: int
    """On each node."""
    watts: float = 0.0
    """Rated power of each of them."""
    time_limit_s: float = 0.0
    number: int = 0
    """Slurm's; 0: not submitted, or the answer was lost."""

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
    """Whether a thread is handing it to Slurm now; its folder is that thread's meanwhile."""
    submitted_ms: int = 0
    published: bool = False
    """Whether its end is shown, with all that is known of it."""
    over_ms: int = 0
    """When its end was known."""
    again: Launch | None = None
    """The same start, asked for again while it was unsure."""
    begun_ms: int = 0
    """When a runner of it was first seen."""
    row: JobRow | None = None
    row_ms: int = 0
    """When Slurm was asked for it."""
    missing: int = 0
    """Answers of Slurm in a row without it, after it was submitted."""
    accounted: Accounted | None = None
    ranks: tuple[RankSeen, ...] = ()
    since_ms: int = 0
    """When it was handed over."""
    seen_ms: int = 0
    """When its folder was looked at last."""
    look_ms: int = 0
    """When its folder is looked at next."""
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
    """When Slurm is asked to kill it; 0: it is not to be."""
    back_ms: int = 0
    """When Slurm was seen to have taken it off its nodes; 0: it has not."""
    killed: bool = False
    """Whether Slurm was asked to."""
    output: str = ""
    """Last words of its batch script, once it failed."""

    @property
    def key(self) -> Key:
        return self.told.key

    @property
    def over(self) -> bool:
        """Whether all its ranks have ended by their own records."""
        return bool(self.ranks) and all(rank.end is not None for rank in self.ranks)

    @property
    def holds(self) -> Capacity:
        """What it holds of the cluster now."""
        if self.outcome is not None or self.row is None or self.row.state is JobState.PENDING:
            return Capacity()
        told = self.told
        return Capacity(
            cpu_milli=told.cores * told.ranks * 1000,
            memory_bytes=told.memory_bytes * told.ranks,
            accelerators=told.accelerators * told.ranks,
        )


def judge(at: Attempt, now_ms: int) -> Outcome | None:
    """Return how an attempt ended; None while it goes on, or while that is not certain."""
    final = _final(at)
    if at.over and all(rank.end is End.EXIT and rank.code == 0 for rank in at.ranks):
        return Outcome(phase=Phase.SUCCEEDED, exit_code=0)
    if at.stop_ms >= 0:
        if at.over or final is not None or _guarded_to_death(at, now_ms):
            code = next((rank.code for rank in at.ranks if rank.code is not None), None)
            return Outcome(phase=Phase.STOPPED, exit_code=code, message="it was stopped")
        return None
    if at.back_ms:
        return _taken_away(at, now_ms)
    if not at.over and final is None:
        return None
    own = _own_end(at)
    if own is not None:
        return own
    settled = final is not None or now_ms - at.quiet_ms >= SETTLE_MS
    failed = failed_rank(at.ranks)
    if failed is not None and at.over and is_plain(at.ranks[failed]):
        return _program(at, failed)
    if not settled:
        return None
    if final is not None and final.value in reasons.ENDS and not at.killed:
        return _slurm_end(at, final)
    if failed is not None:
        return _program(at, failed)
    return _never_began(at, final)


def _taken_away(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end of an attempt that Slurm no longer sees on its nodes, once nothing of it can
    run there any more."""
    gone_ms = at.back_ms + GIVEN_BACK_MS
    if at.told.guard:
        gone_ms = max(gone_ms, at.desk.granted_until_ms + LEASE_MARGIN_MS)
    if not at.over and now_ms < gone_ms:
        return None
    if requeued(at):
        failure = FailureClass.PREEMPTION
        message = "Slurm took it off its nodes and put it back into its queue"
    else:
        failure = FailureClass.ENGINE
        message = "Slurm no longer knows the job; what was left of it was ended"
    return Outcome(phase=Phase.FAILED, failure=failure, message=message)


def taken_away(at: Attempt) -> bool:
    """Say whether Slurm no longer sees an attempt on its nodes that has begun, and not ended by
    itself."""
    if not at.begun_ms:
        return False
    if requeued(at):
        return not at.over or any(rank.end is End.SIGNAL for rank in at.ranks)
    known = at.accounted is not None and at.accounted.over
    return not at.over and at.missing >= ANSWERS and not known


def requeued(at: Attempt) -> bool:
    """Say whether Slurm would start it a second time. Its runner would not: it begins once."""
    # Slurm must have been asked after its runner was seen: before that it may well have waited.
    back = at.row is not None and at.row.state in (JobState.PENDING, JobState.REQUEUED)
    return any(rank.again for rank in at.ranks) or (back and 0 < at.begun_ms < at.row_ms)


def _final(at: Attempt) -> JobState | None:
    """Return Slurm's final state of it, from the queue or, when it is purged there, the accounts;
    FAILED when neither knows it any more."""
    if at.row is not None and at.row.state in FINAL:
        return at.row.state
    if at.missing >= ANSWERS:
        if at.accounted is not None and at.accounted.over:
            return JobState(at.accounted.state.rstrip("+"))
        return JobState.FAILED
    return None


def _guarded_to_death(at: Attempt, now_ms: int) -> bool:
    """Say whether its guards have ended it by now, whatever Slurm can see: since it was told to be
    killed no beat of it was answered."""
    if not at.told.guard or not at.kill_at_ms or not at.desk.granted_until_ms:
        return False
    return now_ms >= max(at.desk.granted_until_ms, at.kill_at_ms) + LEASE_MARGIN_MS


def _own_end(at: Attempt) -> Outcome | None:
    """Return what its runners themselves ended it for."""
    ends = {rank.end for rank in at.ranks}
    if End.LEASE in ends:
        return Outcome(
            phase=Phase.FAILED,
            exit_code=SIGNAL_BASE + signal.SIGKILL,
            failure=FailureClass.ISLAND,
            message="its lease was not granted further, so its guard ended it",
        )
    if End.LIMIT in ends:
        limit = f"it ran longer than its limit of {at.told.time_limit_s:g} s"
        return Outcome(
            phase=Phase.FAILED,
            exit_code=next(rank.code for rank in at.ranks if rank.end is End.LIMIT),
            failure=FailureClass.LIMIT,
            message=limit,
        )
    if End.START in ends:
        said = next(rank for rank in at.ranks if rank.end is End.START)
        where = f" on {said.host}" if said.host else ""
        return Outcome(
            phase=Phase.FAILED,
            failure=FailureClass.ENGINE,
            message=f"its program could not be started{where}: {said.message}",
        )
    return None


def _program(at: Attempt, number: int) -> Outcome:
    rank = at.ranks[number]
    code = rank.code or 0
    if code == SIGNAL_BASE + signal.SIGKILL and "memory" in at.output.lower():
        failure, message = reasons.ENDS["OUT_OF_MEMORY"]
        return Outcome(phase=Phase.FAILED, exit_code=code, failure=failure, message=message)
    who = "setup" if rank.part == "setup" else f"rank {number}"
    return Outcome(
        phase=Phase.FAILED,
        exit_code=code,
        failure=FailureClass.USER,
        message=f"{who} {how(code)}",
    )


def _slurm_end(at: Attempt, state: JobState) -> Outcome:
    failure, message = reasons.ENDS[state.value]
    token = at.row.reason if at.row is not None and at.row.reason else state.value
    never = reasons.never(token)
    if state is JobState.CANCELLED and never:
        failure, message = FailureClass.REFUSED, never
    code = next((rank.code for rank in at.ranks if rank.code is not None), None)
    nodes = f" on {at.row.nodes}" if at.row is not None and at.row.nodes else ""
    return Outcome(
        phase=Phase.FAILED,
        exit_code=code,
        failure=failure,
        message=f"{message}{nodes} ({state.value})",
    )


def _never_began(at: Attempt, state: JobState | None) -> Outcome:
    """Return the end of a job whose runners left no word of one."""
    row, failed = at.row, Phase.FAILED
    if row is not None and (never := reasons.never(row.reason)):
        return Outcome(phase=failed, failure=FailureClass.REFUSED, message=never)
    if row is None and at.missing >= ANSWERS:
        message = "Slurm no longer knows the job, and its runner wrote no end"
        return Outcome(phase=failed, failure=FailureClass.ENGINE, message=message)
    if "memory limit" in at.output.lower():
        failure, message = reasons.ENDS["OUT_OF_MEMORY"]
        return Outcome(phase=failed, exit_code=137, failure=failure, message=message)
    where = f" on {row.nodes}" if row is not None and row.nodes else ""
    if row is not None and row.exit_status >> 8 == UNSEEN_FOLDER:
        return Outcome(phase=failed, failure=FailureClass.ENGINE, message=unseen(row.nodes))
    said = f": {at.output}" if at.output else ""
    began = any(rank.waiting for rank in at.ranks)
    what = "its runner ended without a word" if began else "its runner did not start"
    token = f" ({state.value})" if state is not None else ""
    return Outcome(phase=failed, failure=FailureClass.ENGINE, message=f"{what}{where}{said}{token}")


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
