"""All attempts of one island in its engine, and what each turn of time or news does to them.

Used by the engine's one thread. It looks into folders and writes grants there, which takes
microseconds; it never asks the engine anything, and never waits. What is to be ended it names
(`doomed`), again and again until the engine shows that it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from causeway.adapters.outside.attempts import Attempt
from causeway.adapters.outside.doomed import Doomed
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.showing import status_of
from causeway.adapters.runner import Desk
from causeway.adapters.runner.ends import Key, Outcome, failed
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Launch, Status

LOOK_MS_MIN = 10
LOOK_MS_WAITING = 500
LOOK_MS_RUNNING = 250
LOOK_MS_MAX = 2_500
LOOK_SHARE = 20
"""A folder is looked at after a twentieth of the time that it has been as it is."""
FRESH_MS = 60_000
LOOK_MS_EACH = 20
"""What has been handed over lately is looked at as often as this allows for all such together: a
job that the engine starts within seconds must not wait for a twentieth of them once more."""
GRANT_SHARE = 16
RUNNER_MS = 2_000
"""How long a runner has for killing its program before the engine is asked. It does that better: it
follows orphans, writes the end down, and sends no SIGTERM where there is no grace."""
UNSEEN_MS = 300_000
IDLE_MS = 60_000

A = TypeVar("A", bound=Attempt[Any])
X = TypeVar("X")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much there is to ask the engine for."""

    open: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules(Generic[A]):
    """An adapter's pure functions of one attempt."""

    attempt: Callable[..., A]
    """Makes one of which nothing is known yet."""
    judge: Callable[[A, int], Outcome | None]
    """Says how it ended; None while it goes on, or while that is not certain."""
    waiting: Callable[[A], str]
    """Says what it waits for, by the engine's word."""
    taken_away: Callable[[A], bool]
    """Says whether the engine has let go of it before it ended by itself."""


class Ledger(Generic[A, X]):
    """The attempts. `X` is how the engine shows a job that nobody here knows.

    An adapter says how one attempt is judged and ended there; it takes in what its engine says by a
    `hear` of its own, and calls `not_seen` for what is missing in it.
    """

    engine: ClassVar[str]
    orphan_ms: ClassVar[int] = 3_000
    """How long a submission of an agent that died may still be on its way to the engine."""

    def __init__(
        self, *, rules: Rules[A], kept: Kept[Any], doomed: Doomed[Any], clock: Clock
    ) -> None:
        self.attempts: dict[Key, A] = {}
        self.lost: list[Launch] = []
        """Asked for again, and certain never to begin by the first submission."""
        self.trouble = ""
        """Why a folder could not be used a moment ago."""
        self.shown: dict[Key, Status] = {}
        """What `poll` is to show."""
        self.isolation = "process"
        self.unseen_said = ("", 0)
        """What was said when nodes last failed to see the agent's folder, and when."""
        self.strays: dict[Key, X] = {}
        """Jobs with this island's mark that nobody here knows."""
        self._rules = rules
        self._dead: Doomed[Any] = doomed
        self._kept = kept
        self._clock = clock
        self._expected = 0
        """How many have not started yet."""

    # -- what the adapter says ------------------------------------------------------------------

    def condemn(self, at: A, *, at_ms: int) -> None:
        """Have the engine end an attempt at that instant, unless it is over before."""
        raise NotImplementedError

    def bury(self, at: A, *, forgotten: bool) -> None:
        """Remember that nothing of it must go on any more; have the engine end what does, and let
        go of it where it is `forgotten`."""
        raise NotImplementedError

    def end_stray(self, stray: X) -> None:
        """Have the engine end a job that nobody here knows."""
        raise NotImplementedError

    def stray_phase(self, stray: X) -> str:
        """Return how a job is shown that nobody here knows."""
        raise NotImplementedError

    def overdue(self, at: A, *, wait_ms_max: int) -> str:
        """Return why an attempt has waited for too long; empty: it has not."""
        waited_ms = self.now() - at.since_ms
        if at.started_ms or not wait_ms_max or waited_ms < wait_ms_max:
            return ""
        return f"it waited in {self.engine} for {wait_ms_max / 1000:g} s: {self._rules.waiting(at)}"

    def is_settled(self, at: A) -> bool:
        """Say whether its end is known and shown, with all that is known of it."""
        return at.outcome is not None

    def is_doubtful(self, at: A, outcome: Outcome) -> None:
        """The engine has a part of an attempt, or all, and a runner has begun: it goes on."""

    def leaves(self, at: A) -> None:
        """An attempt is being forgotten."""

    def read_more(self, at: A) -> None:
        """Read what else is in an attempt's folder."""

    # -- beginning ------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take up what an earlier agent has left."""
        self._dead.bury(*self._kept.dead())
        for folder, told in self._kept.all():
            at = self._made(told, folder)
            at.unsure = not told.taken
            at.stop_ms = at.desk.asked_to_stop()
            if at.stop_ms >= 0:
                at.kill_at_ms = self.now() + at.stop_ms
            self._try_look(at, until_ms=0)

    def add(self, launch: Launch, told: Any) -> A:
        """Take up a new attempt, which is being submitted."""
        at = self._made(told, launch.folder)
        at.submitting = True
        self.touch(at)
        return at

    def _made(self, told: Any, folder: Path) -> A:
        at = self._rules.attempt(told=told, folder=folder, desk=Desk(folder, told.ranks))
        at.since_ms = self.now()
        self.attempts[at.key] = at
        return at

    def submitted(self, at: A, told: Any, outcome: Outcome | None) -> None:
        """A submission is over: the engine took it, or it ended at once."""
        at.told, at.submitting, at.submitted_ms = told, False, self.now()
        at.look_ms = 0
        if self._is_forgotten(at):
            self._end_forgotten(at)
        elif outcome is not None:
            self.end(at, outcome)
        elif at.stop_ms >= 0:
            self._press(at)

    def doubtful(self, at: A, outcome: Outcome) -> None:
        """An answer was lost, or only a part was taken, so nobody knows what the engine has. Unless
        a runner has begun already, none ever will: then it is over, and certainly not begun
        twice."""
        at.submitting, at.submitted_ms, at.unsure = False, self.now(), True
        if self._is_forgotten(at):
            self._end_forgotten(at)
        elif at.desk.call_off():
            self.end(at, outcome)
        else:
            self.is_doubtful(at, outcome)

    def _is_forgotten(self, at: A) -> bool:
        return self.attempts.get(at.key) is not at

    def _end_forgotten(self, at: A) -> None:
        """End what was forgotten while it was being submitted."""
        at.desk.stop(0)
        at.desk.call_off()
        self.bury(at, forgotten=True)

    def asked_again(self, launch: Launch) -> None:
        """The same start came again. Where nobody knows whether the engine has the first one, this
        one is submitted once it is certain that the first never begins."""
        at = self.attempts.get((launch.job, launch.fence))
        if at is not None and at.unsure:
            at.again = launch

    # -- ending ---------------------------------------------------------------------------------

    def stop(self, key: Key, grace_ms: int) -> None:
        """Ask an attempt to end."""
        at = self.attempts.get(key)
        if at is None or at.outcome is not None or 0 <= at.stop_ms <= grace_ms:
            return
        at.stop_ms = max(0, grace_ms)
        at.kill_at_ms = self.now() + at.stop_ms
        if not at.submitting:
            self._press(at)

    def _press(self, at: A) -> None:
        """Carry a stop out: runners that have begun are told, others never begin."""
        at.desk.stop(at.stop_ms)
        at.look_ms = 0
        if at.desk.call_off():
            self.end(at, Outcome(phase=Phase.STOPPED, message="it was stopped before it began"))

    def withdraw(self, at: A, why: str) -> None:
        """Take a job back that waits in vain, so that the work goes elsewhere."""
        if at.desk.call_off():
            self.end(at, failed(FailureClass.REFUSED, why))

    def forget(self, key: Key) -> None:
        """Kill what is left of an attempt and drop its record."""
        if key in self.strays:
            self.end_stray(self.strays.pop(key))
        self.shown.pop(key, None)
        at = self.attempts.pop(key, None)
        if at is None:
            return
        self.leaves(at)
        if at.submitting:
            return
        if at.outcome is None:
            at.desk.stop(0)
            at.desk.call_off()
        self._kept.remove(at.folder)
        self.bury(at, forgotten=True)

    def kill(self, at: A) -> None:
        """Have all that is left of it killed: by its runners, and soon by the engine."""
        if not at.killed:
            at.killed = True
            at.desk.stop(0)
            at.desk.call_off()
            self.condemn(at, at_ms=self.now() + RUNNER_MS)

    def end(self, at: A, outcome: Outcome) -> None:
        """An attempt is over."""
        now = self.now()
        at.outcome, at.over_ms = outcome, now
        if at.started_ms and not at.ended_ms:
            at.ended_ms = now
        if not at.over:
            at.desk.stop(0)
            at.desk.call_off()
        if outcome.phase == Phase.SUCCEEDED:
            self.unseen_said = "", 0
        self.bury(at, forgotten=False)
        at.look_ms = now
        self.touch(at)

    def let_go(self) -> None:
        """Write down what must not be taken for a stray by the agent that comes after."""
        if self._dead.over:
            self._kept.write_dead(self._dead.over)

    # -- what the engine says -------------------------------------------------------------------

    def make_sure(self, at: A, told: Any) -> None:
        """The engine has an attempt of which nobody knew that; write that down."""
        at.told, at.unsure = told, False
        self._kept.write(at.folder, told)

    def not_seen(self, at: A, asked_ms: int) -> None:
        """The engine has shown what it has, and an attempt was not in it."""
        if at.submitting or at.submitted_ms > asked_ms:
            return
        at.look_ms = 0
        if not at.unsure:
            at.missing += 1
        elif at.outcome is None and asked_ms - at.since_ms >= self.orphan_ms:
            if not at.desk.call_off():
                # A runner has it, so the engine has it too, or had.
                at.missing += 1
            elif at.again is not None:
                self.bury(at, forgotten=True)
                self.lost.append(at.again)
                del self.attempts[at.key]
            else:
                message = f"it was not submitted: the agent ended before {self.engine} had it"
                self.end(at, failed(FailureClass.ENGINE, message))

    def show_strays(self, strays: Mapping[Key, X]) -> None:
        """Show the jobs that carry our mark and that nobody here knows."""
        for key in self.strays.keys() - strays.keys():
            self.shown.pop(key, None)
        self.strays = dict(strays)
        message = f"{self.engine} has it; nobody here knows it"
        for key, stray in strays.items():
            self.shown[key] = Status(phase=self.stray_phase(stray), message=message)

    # -- what time brings -----------------------------------------------------------------------

    def watch(self, until_ms: int, *, wait_ms_max: int = 0) -> int:
        """Look into every folder that is due; return when the next one is."""
        now = self.now()
        due = now + IDLE_MS
        expected = (not at.started_ms and at.outcome is None for at in self.attempts.values())
        self._expected = sum(expected)
        for at in list(self.attempts.values()):
            if at.submitting or self.is_settled(at):
                continue
            if at.look_ms <= now:
                self._try_look(at, until_ms=until_ms)
                why = self.overdue(at, wait_ms_max=wait_ms_max) if at.outcome is None else ""
                if why:
                    self.withdraw(at, why)
            due = min(due, at.look_ms)
        return min([due, *self._dead.next_ms()])

    def _try_look(self, at: A, *, until_ms: int) -> None:
        """Look into a folder; one that cannot be read or written is tried again."""
        try:
            self._look(at, until_ms=until_ms)
        except OSError as error:
            self.trouble = f"an attempt's folder cannot be used: {error}"
            at.look_ms = self.now() + LOOK_MS_WAITING
        else:
            self.trouble = ""

    def _look(self, at: A, *, until_ms: int) -> None:
        if at.outcome is not None:
            self.touch(at)
            at.look_ms = self.now() + LOOK_MS_RUNNING
            return
        self._answer(at, until_ms)
        now = at.seen_ms
        if at.beats or at.is_known:
            self._read(at, now)
        if not at.back_ms and self._rules.taken_away(at):
            at.back_ms = now
        if at.back_ms or at.broken_rank or 0 < at.kill_at_ms <= now:
            self.kill(at)
        outcome = self._rules.judge(at, now)
        if outcome is not None:
            self.end(at, outcome)
            return
        at.look_ms = now + self._pause_ms(at, now)
        self.touch(at)

    def _answer(self, at: A, until_ms: int) -> None:
        """Read the beats of its runners and let them live on."""
        beats = at.desk.beats()
        now = at.seen_ms = self.now()
        alive = [(rank, beat) for rank, beat in enumerate(beats) if beat is not None]
        for rank, beat in alive:
            if at.told.guard and not 0 < at.kill_at_ms <= now:
                at.desk.answer(rank, beat, now_ms=now, until_ms=until_ms)
                at.for_ms = until_ms - now
            if beat.age_ms and not at.started_ms:
                at.started_ms = now - beat.age_ms
        numbers = tuple(beat.number for _, beat in alive)
        if numbers != at.beats:
            at.beats, at.beat_ms = numbers, now
        at.cpu_ms = max(at.cpu_ms, sum(beat.cpu_ms for _, beat in alive))
        at.memory_bytes = sum(beat.memory_bytes for _, beat in alive)

    def _read(self, at: A, now: int) -> None:
        """Read the records of its runners."""
        at.ranks = at.desk.seen()
        if not at.begun_ms and at.begun:
            at.begun_ms = now
        started = [rank.started_ms for rank in at.ranks if rank.started_ms]
        if started and not at.started_ms:
            # By the wall clocks of two machines, but not before it was last seen not to have begun.
            by_wall_ms = now - max(0, self._clock.now_ms() - min(started))
            at.started_ms = max(1, by_wall_ms, at.before_ms)
        if not started:
            at.before_ms = now
        if at.over and not at.quiet_ms:
            at.quiet_ms = now
            # From here on it is the same, whatever the engine says later, and however late.
            at.ended_ms = at.last_ended_ms
            at.cpu_ms = max(at.cpu_ms, sum(rank.cpu_ms for rank in at.ranks))
        self.read_more(at)

    def _pause_ms(self, at: A, now: int) -> int:
        """Return after how long its folder is to be looked at again."""
        if at.quiet_ms or at.stop_ms >= 0:
            share = (now - max(at.quiet_ms, at.kill_at_ms - at.stop_ms)) // LOOK_SHARE
            return min(max(LOOK_MS_MIN, share), LOOK_MS_RUNNING)
        if not at.started_ms:
            if at.begun:
                return LOOK_MS_MIN
            age = now - at.since_ms
            share = age // LOOK_SHARE
            if age < FRESH_MS:
                share = min(share, self._expected * LOOK_MS_EACH)
            return min(max(LOOK_MS_MIN, share), LOOK_MS_WAITING)
        share = (now - at.started_ms) // LOOK_SHARE
        most = min(max(LOOK_MS_RUNNING, at.for_ms // GRANT_SHARE), LOOK_MS_MAX)
        return min(max(LOOK_MS_MIN, share), most)

    # -- what is shown --------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Return how much there is to ask for."""
        open_ = [at for at in self.attempts.values() if at.outcome is None]
        waits = sum(1 for at in open_ if not at.started_ms or at.quiet_ms or at.stop_ms >= 0)
        # What the engine may have got after all is ended as soon as it shows.
        waits += sum(1 for at in self.attempts.values() if at.outcome is not None and at.unsure)
        return Counts(open=len(open_), waiting=waits + len(self._dead))

    def is_unseen(self, said: str) -> None:
        """A node did not see the agent's folder."""
        self.unseen_said = said, self.now()

    @property
    def unseen(self) -> str:
        """Say that nodes have lately failed to see the agent's folder; after a while, or after a
        success, it is tried again."""
        said, at_ms = self.unseen_said
        return said if said and self.now() - at_ms < UNSEEN_MS else ""

    def holds(self) -> Capacity:
        """Return what this island's own attempts hold of the cluster."""
        each = [at.holds for at in self.attempts.values()]
        return Capacity(
            cpu_milli=sum(one.cpu_milli for one in each),
            memory_bytes=sum(one.memory_bytes for one in each),
            accelerators=sum(one.accelerators for one in each),
        )

    def touch(self, at: A) -> None:
        """Work out anew what `poll` shows of an attempt."""
        if self.attempts.get(at.key) is at:
            self.shown[at.key] = self.status(at)

    def status(self, at: A) -> Status:
        """Return what `poll` shows of an attempt."""
        return status_of(
            at,
            at.outcome,
            waiting="" if at.started_ms else self._rules.waiting(at),
            isolation=self.isolation,
            cpu_ms=at.cpu_ms,
        )

    def now(self) -> int:
        return self._clock.monotonic_ms()
