"""What is known of an attempt, whichever engine has it. Pure.

    preparing -> submitting -> in the engine -> over
         \\------------\\-----------> over (refused)

Two witnesses tell of an attempt: the records and beats of its runners in its folder, and the
engine. The runners know first and best how a program ended, and go on knowing it when the engine
does not answer. The engine knows what they cannot tell: that it waits, gave way, lost its node, or
was never started. Each adapter's `judge` weighs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from causeway.adapters.runner import Desk, End, RankSeen
from causeway.adapters.runner.ends import Key, Outcome
from causeway.model.resources import Capacity
from causeway.ports.engine import Launch

UNSEEN_FOLDER = 78
"""Exit code of a runner that does not find its folder (`program.main`)."""
SETTLE_MS = 15_000
"""How long records wait for what the engine says of an end that may not be the program's own."""
GIVEN_BACK_MS = 5_000
"""How long the runners of a job that the engine has ended may take to be gone."""
ANSWERS = 2
"""After so many answers of the engine without an attempt, the engine has forgotten it."""
LEASE_MARGIN_MS = 1_000
"""How much later than its lease a runner counts as gone: two clocks never run alike."""

S = TypeVar("S", bound="Submission")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is written down of an attempt before the engine hears of it."""

    tag: str
    job: str
    fence: int
    ranks: int
    guard: bool
    """Whether its runners end it when its lease is not granted further."""
    cpu_milli: int
    """Of each rank; what it is metered by."""
    memory_bytes: int
    """Of each rank."""
    accelerators: int
    """Of each rank."""
    watts: float = 0.0
    """Rated power of each accelerator."""
    time_limit_s: float = 0.0
    taken: bool = False
    """Whether the engine has said that it has it."""

    @property
    def key(self) -> Key:
        return self.job, self.fence

    def capacity(self, ranks: int) -> Capacity:
        """Return what that many of its ranks hold."""
        return Capacity(
            cpu_milli=self.cpu_milli * ranks,
            memory_bytes=self.memory_bytes * ranks,
            accelerators=self.accelerators * ranks,
        )


@dataclass(slots=True, kw_only=True)
class Attempt(Generic[S]):
    """Everything that the engine's thread knows of one attempt."""

    told: S
    folder: Path
    desk: Desk
    outcome: Outcome | None = None
    """Set when it is over; the first one stays."""
    unsure: bool = False
    """Whether it may have been submitted by an agent that died before it could write that down."""
    submitting: bool = False
    """Whether a thread is handing it over now; its folder is that thread's meanwhile."""
    submitted_ms: int = 0
    over_ms: int = 0
    """When its end was known."""
    again: Launch | None = None
    """The same start, asked for again while it was unsure."""
    begun_ms: int = 0
    """When a runner of it was first seen."""
    missing: int = 0
    """Answers of the engine in a row without it, after it was submitted."""
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
    back_ms: int = 0
    """When the engine was seen to have let go of it while it ran; 0: it has not."""
    killed: bool = False
    """Whether its runners were told to kill it, and the engine is soon."""

    @property
    def key(self) -> Key:
        return self.told.key

    @property
    def over(self) -> bool:
        """Whether all its ranks have ended by their own records."""
        return bool(self.ranks) and all(rank.end is not None for rank in self.ranks)

    @property
    def last_ended_ms(self) -> int:
        """When its last rank ended, by their own records; 0: one goes on."""
        if not self.over or not self.started_ms:
            return 0
        return min(self.seen_ms, self.started_ms + max(rank.ran_ms for rank in self.ranks))

    @property
    def begun(self) -> bool:
        """Whether a runner of it has begun, by the records that were read last."""
        return any(rank.waiting for rank in self.ranks)

    @property
    def broken_rank(self) -> bool:
        """Whether a program of it failed by itself, so that the others of its gang are to end."""
        failed = any(rank.end is End.EXIT and rank.code for rank in self.ranks)
        return failed and self.told.ranks > 1 and not self.over

    @property
    def forgotten(self) -> bool:
        """Whether the engine does not have it (any more)."""
        return self.missing >= ANSWERS

    @property
    def code(self) -> int | None:
        """The first exit code that any rank left; None: none did."""
        return next((rank.code for rank in self.ranks if rank.code is not None), None)

    @property
    def is_known(self) -> bool:
        """Whether the engine has said anything of it, so that its records are worth reading."""
        raise NotImplementedError

    @property
    def holds(self) -> Capacity:
        """What it holds of the cluster now."""
        raise NotImplementedError


def guarded_to_death(at: Attempt[S], now_ms: int) -> bool:
    """Say whether its guards have ended it by now, whatever the engine can see: since it was told
    to be killed no beat of it was answered."""
    if not at.told.guard or not at.kill_at_ms or not at.desk.granted_until_ms:
        return False
    return now_ms >= max(at.desk.granted_until_ms, at.kill_at_ms) + LEASE_MARGIN_MS


def surely_gone_ms(at: Attempt[S]) -> int:
    """Return when nothing can run any more of an attempt that the engine has let go of."""
    gone_ms = at.back_ms + GIVEN_BACK_MS
    if at.told.guard:
        gone_ms = max(gone_ms, at.desk.granted_until_ms + LEASE_MARGIN_MS)
    return gone_ms
