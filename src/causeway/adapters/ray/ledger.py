"""All attempts of one island in Ray, and what each turn of time or news does to them.

Used by the engine's one thread. It looks into folders and writes grants there, which takes
microseconds; it never asks Ray anything, and never waits. What Ray is to end or to forget it names
(`doomed`), again and again until Ray shows that it is so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from causeway.adapters.ray import keeping, reasons
from causeway.adapters.ray.attempts import (
    Attempt,
    Submission,
    judge,
    needs_killing,
    waiting,
)
from causeway.adapters.ray.doomed import Doomed
from causeway.adapters.ray.showing import Counts, status_of
from causeway.adapters.ray.values import FINAL, JobRow, JobState
from causeway.adapters.runner import Desk
from causeway.adapters.runner.ends import Key, Outcome
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Launch, Status

ORPHAN_MS = 5_000
"""How long a submission of an agent that died may still be on its way to Ray."""
LOOK_MS_MIN = 10
LOOK_MS_WAITING = 500
LOOK_MS_RUNNING = 250
LOOK_MS_MAX = 2_500
LOOK_SHARE = 20
"""A folder is looked at after a twentieth of the time that it has been as it is."""
GRANT_SHARE = 16
RUNNER_MS = 2_000
"""How long a runner has for killing its program before Ray is asked. It does that better: it
follows orphans, writes the end down, and sends no SIGTERM where there is no grace."""
UNSEEN_MS = 300_000
IDLE_MS = 60_000


class Ledger:
    """The attempts."""

    def __init__(self, root: Path, *, mark: str, clock: Clock) -> None:
        self.attempts: dict[Key, Attempt] = {}
        self.lost: list[Launch] = []
        """Asked for again, and certain never to begin by the first submission."""
        self.trouble = ""
        """Why a folder could not be used a moment ago."""
        self.doomed = Doomed()
        self.shown: dict[Key, Status] = {}
        """What `poll` is to show."""
        self._unseen = ("", 0)
        """What was said when nodes last failed to see the agent's folder, and when."""
        self._root = root
        self._mark = mark
        self._clock = clock
        self._leaving: dict[Key, Attempt] = {}
        """Forgotten, and not seen to be over in Ray: one that waits there may yet take up its rank,
        and whatever lies in its folder then."""
        self._strays: dict[Key, JobRow] = {}
        """Jobs with this island's mark that nobody here knows."""

    # -- beginning ------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take up what an earlier agent has left."""
        self.doomed.bury(*keeping.read_dead(self._root))
        for folder, told in keeping.read_all(self._root):
            now = self._now()
            at = Attempt(told=told, folder=folder, desk=Desk(folder, told.ranks), since_ms=now)
            at.unsure, at.beat_ms = not told.taken, now
            at.stop_ms = at.desk.asked_to_stop()
            if at.stop_ms >= 0:
                at.kill_at_ms = now + at.stop_ms
            self.attempts[at.key] = at
            self._try_look(at, until_ms=0)

    def add(self, launch: Launch, told: Submission) -> Attempt:
        """Take up a new attempt, which is being submitted."""
        at = Attempt(
            told=told,
            folder=launch.folder,
            desk=Desk(launch.folder, told.ranks),
            since_ms=self._now(),
            submitting=True,
        )
        self.attempts[at.key] = at
        self._touch(at)
        return at

    def submitted(self, at: Attempt, told: Submission, outcome: Outcome | None) -> None:
        """A submission is over: Ray took it, or it ended at once."""
        at.told, at.submitting, at.submitted_ms = told, False, self._now()
        at.look_ms = 0
        if self.attempts.get(at.key) is not at:
            # It was forgotten meanwhile.
            at.desk.call_off()
            self._bury(at, delete=True)
        elif outcome is not None:
            self._end(at, outcome)
        elif at.stop_ms >= 0:
            self._press(at)

    def doubtful(self, at: Attempt, why: str) -> None:
        """Ray's answer was lost, so nobody knows whether it has the job. Unless a runner has begun
        already, none ever will: then it is over, and certainly not begun twice."""
        at.submitting, at.submitted_ms, at.unsure = False, self._now(), True
        if self.attempts.get(at.key) is not at:
            at.desk.call_off()
            self._bury(at, delete=True)
        elif at.desk.call_off():
            self._end(at, _failed(FailureClass.ENGINE, f"it was not submitted: {why}"))

    # -- ending ---------------------------------------------------------------------------------

    def stop(self, key: Key, grace_ms: int) -> None:
        """Ask an attempt to end."""
        at = self.attempts.get(key)
        if at is None or at.outcome is not None or 0 <= at.stop_ms <= grace_ms:
            return
        at.stop_ms = max(0, grace_ms)
        at.kill_at_ms = self._now() + at.stop_ms
        if not at.submitting:
            self._press(at)

    def _press(self, at: Attempt) -> None:
        """Carry a stop out: runners that have begun are told, others never begin."""
        at.desk.stop(at.stop_ms)
        at.look_ms = 0
        if at.desk.call_off():
            self._end(at, Outcome(phase=Phase.STOPPED, message="it was stopped before it began"))

    def withdraw(self, at: Attempt, why: str) -> None:
        """Take a job back that waits in vain, so that the work goes elsewhere."""
        if at.desk.call_off():
            self._end(at, _failed(FailureClass.REFUSED, why))

    def forget(self, key: Key) -> None:
        """Kill what is left of an attempt and drop its record."""
        stray = self._strays.pop(key, None)
        if stray is not None:
            self.doomed.bury(stray.id)
            self.doomed.condemn(stray.id, at_ms=self._now(), delete=True)
        self.shown.pop(key, None)
        at = self.attempts.pop(key, None)
        if at is not None and not at.final:
            self._leaving[key] = at
        if at is None or at.submitting:
            return
        if at.outcome is None:
            at.desk.stop(0)
            at.desk.call_off()
        keeping.remove(at.folder)
        self._bury(at, delete=True)

    def is_leaving(self, key: Key) -> bool:
        """Say whether an attempt that was forgotten under this key may not be over in Ray yet."""
        return key in self._leaving

    def _see_off(self, there: Mapping[str, JobRow], asked_ms: int) -> None:
        """Let go of what was forgotten and is over in Ray, or not there."""
        for key, at in list(self._leaving.items()):
            row = there.get(at.told.id)
            gone = row is None and not at.submitting and at.submitted_ms <= asked_ms
            if gone or (row is not None and row.state in FINAL):
                del self._leaving[key]

    def _bury(self, at: Attempt, *, delete: bool) -> None:
        """Remember that its job must not go on any more, and, once it is forgotten, not be listed
        any more."""
        self.doomed.bury(at.told.id)
        if not delete and at.final:
            return
        begun = any(rank.waiting for rank in at.ranks)
        at_ms = self._now() + (RUNNER_MS if begun and not at.final else 0)
        self.doomed.condemn(at.told.id, at_ms=at_ms, delete=delete, final=at.final)

    def let_go(self) -> None:
        """Write down what must not be taken for a stray by the agent that comes after."""
        if self.doomed.over:
            keeping.write_dead(self._root, self.doomed.over)

    # -- what Ray says --------------------------------------------------------------------------

    def hear(self, rows: Iterable[JobRow], *, asked_ms: int) -> None:
        """Take an answer in that was asked for at `asked_ms`."""
        by_id = {at.told.id: at for at in self.attempts.values()}
        there = {row.id: row for row in rows if row.mark.island == self._mark}
        strays: dict[Key, JobRow] = {}
        for row in there.values():
            at = by_id.get(row.id)
            key = (row.mark.job, row.mark.fence)
            if at is not None:
                self._seen(at, row, asked_ms)
            elif self.doomed.is_over(row.id) or row.state in FINAL or key in self.attempts:
                self.doomed.condemn(
                    row.id, at_ms=self._now(), delete=True, final=row.state in FINAL
                )
            else:
                strays[key] = row
        self._show_strays(strays)
        self.doomed.hear(there, now_ms=self._now())
        self._see_off(there, asked_ms)
        for at in list(self.attempts.values()):
            if at.told.id not in there and not at.submitting and at.submitted_ms <= asked_ms:
                self._not_seen(at, asked_ms)

    def _seen(self, at: Attempt, row: JobRow, asked_ms: int) -> None:
        if at.unsure and not at.submitting:
            at.told, at.unsure = replace(at.told, taken=True), False
            keeping.write(at.folder, at.told)
        news = at.row != row
        at.row, at.row_ms, at.missing = row, asked_ms, 0
        if at.final and not at.final_ms:
            at.final_ms = self._now()
        if at.outcome is not None:
            if row.state not in FINAL:
                # It arrived after all, too late to begin, or goes on after its end.
                self._bury(at, delete=False)
            return
        if news:
            at.look_ms = 0
            if reasons.is_unseen(row):
                self._unseen = reasons.unseen(row.node), self._now()
            self._touch(at)

    def _not_seen(self, at: Attempt, asked_ms: int) -> None:
        at.look_ms = 0
        if not at.unsure:
            at.missing += 1
            if at.forgotten and at.outcome is None and at.desk.call_off():
                message = "Ray no longer knows the job, which had not begun"
                self._end(at, _failed(FailureClass.ENGINE, message))
        elif at.outcome is None and asked_ms - at.since_ms >= ORPHAN_MS:
            if not at.desk.call_off():
                # A runner has it, so Ray has it too, or had.
                at.missing += 1
            elif at.again is not None:
                self._bury(at, delete=True)
                self.lost.append(at.again)
                del self.attempts[at.key]
            else:
                message = "it was not submitted: the agent ended before Ray had it"
                self._end(at, _failed(FailureClass.ENGINE, message))

    def asked_again(self, launch: Launch) -> None:
        """The same start came again. Where nobody knows whether Ray has the first one, this one is
        submitted once it is certain that the first never begins."""
        at = self.attempts.get((launch.job, launch.fence))
        if at is not None and at.unsure:
            at.again = launch

    def weigh(self, never: Callable[[Submission], str]) -> None:
        """Withdraw what waits for what the cluster has lost for good."""
        for at in list(self.attempts.values()):
            waits = at.outcome is None and not at.begun_ms and not at.submitting
            if waits and (why := never(at.told)):
                self.withdraw(at, why)

    def _show_strays(self, strays: Mapping[Key, JobRow]) -> None:
        for key in self._strays.keys() - strays.keys():
            self.shown.pop(key, None)
        self._strays = dict(strays)
        for key, row in strays.items():
            phase = Phase.STARTING if row.state is JobState.PENDING else Phase.RUNNING
            self.shown[key] = Status(phase=phase, message="Ray has it; nobody here knows it")

    # -- what time brings -----------------------------------------------------------------------

    def watch(self, until_ms: int, *, wait_ms_max: int = 0) -> int:
        """Look into every folder that is due; return when the next one is."""
        now = self._now()
        due = now + IDLE_MS
        for at in list(self.attempts.values()):
            if at.submitting or at.outcome is not None:
                continue
            if at.look_ms <= now:
                self._try_look(at, until_ms=until_ms)
                if wait_ms_max and not at.started_ms and now - at.since_ms >= wait_ms_max:
                    reason = waiting(at)
                    self.withdraw(at, f"it waited in Ray for {wait_ms_max / 1000:g} s: {reason}")
            due = min(due, at.look_ms)
        return min([due, *self.doomed.next_ms()])

    def _try_look(self, at: Attempt, *, until_ms: int) -> None:
        """Look into a folder; one that cannot be read or written is tried again."""
        try:
            self._look(at, until_ms=until_ms)
        except OSError as error:
            self.trouble = f"an attempt's folder cannot be used: {error}"
            at.look_ms = self._now() + LOOK_MS_WAITING
        else:
            self.trouble = ""

    def _look(self, at: Attempt, *, until_ms: int) -> None:
        self._answer(at, until_ms)
        now = at.seen_ms
        if at.beats or at.row is not None or at.missing:
            self._read(at, now)
        if needs_killing(at) or 0 < at.kill_at_ms <= now:
            self._kill(at)
        outcome = judge(at, now)
        if outcome is not None:
            self._end(at, outcome)
            return
        at.look_ms = now + self._pause_ms(at, now)
        self._touch(at)

    def _answer(self, at: Attempt, until_ms: int) -> None:
        """Read the beats of its runners and let them live on."""
        beats = at.desk.beats()
        now = at.seen_ms = self._now()
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

    def _read(self, at: Attempt, now: int) -> None:
        """Read the records of its runners."""
        at.ranks = at.desk.seen()
        if not at.begun_ms and any(rank.waiting for rank in at.ranks):
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
            at.cpu_ms = max(at.cpu_ms, sum(rank.cpu_ms for rank in at.ranks))

    def _kill(self, at: Attempt) -> None:
        """Have all that is left of it killed: by its runners, and soon by Ray."""
        if not at.killed:
            at.killed = True
            at.desk.stop(0)
            at.desk.call_off()
            if not at.final:
                at_ms = self._now() + RUNNER_MS
                self.doomed.condemn(at.told.id, at_ms=at_ms, delete=False)

    def _pause_ms(self, at: Attempt, now: int) -> int:
        """Return after how long its folder is to be looked at again."""
        if at.quiet_ms or at.stop_ms >= 0:
            share = (now - max(at.quiet_ms, at.kill_at_ms - at.stop_ms)) // LOOK_SHARE
            return min(max(LOOK_MS_MIN, share), LOOK_MS_RUNNING)
        if not at.started_ms:
            share = (now - at.since_ms) // LOOK_SHARE
            begun = any(rank.waiting for rank in at.ranks)
            return LOOK_MS_MIN if begun else min(max(LOOK_MS_MIN, share), LOOK_MS_WAITING)
        share = (now - at.started_ms) // LOOK_SHARE
        most = min(max(LOOK_MS_RUNNING, at.for_ms // GRANT_SHARE), LOOK_MS_MAX)
        return min(max(LOOK_MS_MIN, share), most)

    def _end(self, at: Attempt, outcome: Outcome) -> None:
        now = self._now()
        at.outcome, at.over_ms = outcome, now
        if at.started_ms:
            ran_ms = max((rank.ran_ms for rank in at.ranks), default=0)
            at.ended_ms = min(now, at.started_ms + ran_ms) if at.over else now
        refused = outcome.failure is FailureClass.REFUSED and not at.told.taken and not at.unsure
        if not at.over and not refused:
            at.desk.stop(0)
            at.desk.call_off()
        if outcome.phase == Phase.SUCCEEDED:
            self._unseen = "", 0
        if outcome.phase == Phase.SUCCEEDED or refused:
            self.doomed.bury(at.told.id)
        else:
            self._bury(at, delete=False)
        self._touch(at)

    # -- what is shown --------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Return how much there is to ask for."""
        open_ = [at for at in self.attempts.values() if at.outcome is None]
        waits = sum(1 for at in open_ if not at.started_ms or at.quiet_ms or at.stop_ms >= 0)
        return Counts(open=len(open_), waiting=waits + len(self.doomed))

    @property
    def unseen(self) -> str:
        """Say that nodes have lately failed to see the agent's folder; after a while, or after a
        success, it is tried again."""
        said, at_ms = self._unseen
        return said if said and self._now() - at_ms < UNSEEN_MS else ""

    def holds(self) -> Capacity:
        """Return what this island's own jobs hold of the cluster."""
        each = [at.holds for at in self.attempts.values()]
        return Capacity(
            cpu_milli=sum(one.cpu_milli for one in each),
            memory_bytes=sum(one.memory_bytes for one in each),
            accelerators=sum(one.accelerators for one in each),
        )

    def _touch(self, at: Attempt) -> None:
        """Work out anew what `poll` shows of an attempt."""
        if self.attempts.get(at.key) is at:
            self.shown[at.key] = status_of(at)

    def _now(self) -> int:
        return self._clock.monotonic_ms()


def _failed(failure: FailureClass, message: str) -> Outcome:
    return Outcome(phase=Phase.FAILED, failure=failure, message=message)
