"""All attempts of one island in Slurm, and what each turn of time or news does to them.

Used by the engine's one thread. It looks into folders and writes grants there, which takes
microseconds; it never asks Slurm anything, and never waits. What is to be cancelled it names
(`doomed`), again and again until Slurm shows that it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from causeway.adapters.runner import Desk, End
from causeway.adapters.runner.ends import Key, Outcome
from causeway.adapters.slurm import keeping, orders, reasons
from causeway.adapters.slurm.attempts import (
    UNSEEN_FOLDER,
    Attempt,
    Submission,
    judge,
    taken_away,
    unseen,
    waiting,
)
from causeway.adapters.slurm.doomed import Doomed, tag_of
from causeway.adapters.slurm.showing import Counts, status_of
from causeway.adapters.slurm.values import FINAL, Accounted, JobRow, JobState
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Launch, Status

ORPHAN_MS = 3_000
"""How long a submission of an agent that died may still be on its way to Slurm."""
LOOK_MS_MIN = 10
LOOK_MS_WAITING = 500
LOOK_MS_RUNNING = 250
LOOK_MS_MAX = 2_500
LOOK_SHARE = 20
"""A folder is looked at after a twentieth of the time that it has been as it is."""
FRESH_MS = 60_000
LOOK_MS_EACH = 20
"""What has been handed over lately is looked at as often as this allows for all such together: a
job that Slurm starts within seconds must not wait for a twentieth of them once more."""
GRANT_SHARE = 16
RUNNER_MS = 2_000
"""How long a runner has for killing its program before Slurm is asked. It does that better: it
follows orphans, writes the end down, and sends no SIGTERM where there is no grace."""
ACCOUNTS_MS = 10_000
"""How long an end waits for what the accounting says of it."""
UNSEEN_MS = 300_000
IDLE_MS = 60_000
OUTPUT_BYTES = 2_048


class Ledger:
    """The attempts."""

    def __init__(self, root: Path, *, mark: str, clock: Clock) -> None:
        self.attempts: dict[Key, Attempt] = {}
        self.lost: list[Launch] = []
        """Asked for again, and certain never to begin by the first submission."""
        self.isolation = "process"
        self.accounting = False
        """Whether the cluster keeps accounts; then they are the truth about usage."""
        self._unseen = ("", 0)
        """What was said when nodes last failed to see the agent's folder, and when."""
        self.trouble = ""
        """Why a folder could not be used a moment ago."""
        self._root = root
        self._mark = mark
        self._clock = clock
        self._strays: dict[Key, JobRow] = {}
        """Jobs with this island's mark that nobody here knows."""
        self.doomed = Doomed()
        self.shown: dict[Key, Status] = {}
        """What `poll` is to show."""
        self._expected = 0
        """How many have not started yet."""

    # -- beginning ------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take up what an earlier agent has left."""
        self.doomed.bury(*keeping.read_dead(self._root))
        for folder, told in keeping.read_all(self._root):
            desk = Desk(folder, told.ranks)
            at = Attempt(told=told, folder=folder, desk=desk, since_ms=self._now())
            at.unsure = told.number == 0
            at.stop_ms = desk.asked_to_stop()
            if at.stop_ms >= 0:
                at.kill_at_ms = self._now() + at.stop_ms
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
        """A submission is over: Slurm took it, or it ended at once."""
        at.told, at.submitting, at.submitted_ms = told, False, self._now()
        at.look_ms = 0
        if self.attempts.get(at.key) is not at:
            # It was forgotten meanwhile.
            at.desk.call_off()
            self._bury(at)
        elif outcome is not None:
            self._end(at, outcome)
        elif at.stop_ms >= 0:
            self._press(at)

    def doubtful(self, at: Attempt, why: str) -> None:
        """Slurm's answer was lost, so nobody knows whether it has the job. Unless a runner has
        begun already, none ever will: then it is over, and certainly not begun twice."""
        at.submitting, at.submitted_ms, at.unsure = False, self._now(), True
        if at.desk.call_off():
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

    def forget(self, key: Key) -> None:
        """Kill what is left of an attempt and drop its record."""
        stray = self._strays.pop(key, None)
        if stray is not None:
            self.doomed.condemn(stray.id, tag_of(stray), at_ms=self._now())
        self.shown.pop(key, None)
        at = self.attempts.pop(key, None)
        if at is None or at.submitting:
            return
        if at.outcome is None:
            at.desk.stop(0)
            at.desk.call_off()
        keeping.remove(at.folder)
        self._bury(at)

    def _bury(self, at: Attempt) -> None:
        """Remember that its job must not be there any more."""
        self.doomed.bury(at.told.tag)
        natural = at.outcome is not None and at.outcome.phase == Phase.SUCCEEDED
        if at.told.number and not natural and not (at.row and at.row.state in FINAL):
            begun = any(rank.waiting for rank in at.ranks)
            at_ms = self._now() + (RUNNER_MS if begun else 0)
            self.doomed.condemn(at.told.number, at.told.tag, at_ms=at_ms)

    def let_go(self) -> None:
        """Write down what must not be taken for a stray by the agent that comes after."""
        if self.doomed.tags:
            keeping.write_dead(self._root, self.doomed.tags)

    # -- what Slurm says ------------------------------------------------------------------------

    def hear(
        self, rows: Iterable[JobRow], accounted: Iterable[Accounted], *, asked_ms: int
    ) -> None:
        """Take an answer in that was asked for at `asked_ms`."""
        by_tag = {at.told.tag: at for at in self.attempts.values()}
        found, strays = set(), {}
        there = {}
        for row in rows:
            there[row.id] = row
            mark = orders.parse_mark(row.comment)
            if mark is None or mark.island != self._mark:
                continue
            at = by_tag.get(mark.tag)
            if at is not None:
                found.add(mark.tag)
                self._seen(at, row, asked_ms)
            elif row.state not in FINAL:
                key = (mark.job, mark.fence)
                if self.doomed.is_over(mark.tag) or key in self.attempts:
                    self.doomed.condemn(row.id, mark.tag, at_ms=self._now())
                elif row.id not in self.doomed:
                    strays[key] = row
        self._show_strays(strays)
        self.doomed.hear(there)
        accounts = {one.id: one for one in accounted}
        for at in list(self.attempts.values()):
            at.accounted = accounts.get(at.told.number, at.accounted)
            if at.told.tag not in found and not at.submitting and at.submitted_ms <= asked_ms:
                self._not_seen(at, asked_ms)

    def _seen(self, at: Attempt, row: JobRow, asked_ms: int) -> None:
        if not at.told.number and not at.submitting:
            at.told, at.unsure = replace(at.told, number=row.id), False
            keeping.write(at.folder, at.told)
        news = at.row != row
        at.row, at.row_ms, at.missing = row, asked_ms, 0
        if at.outcome is not None:
            # It arrived after all, too late to begin.
            if at.outcome.phase != Phase.SUCCEEDED and row.state not in FINAL:
                self.doomed.condemn(row.id, at.told.tag, at_ms=self._now())
            return
        if not news:
            return
        at.look_ms = 0
        if row.exit_status >> 8 == UNSEEN_FOLDER and row.state is JobState.FAILED:
            self._unseen = unseen(row.nodes), self._now()
        never = reasons.never(row.reason) if row.state is JobState.PENDING else ""
        if never:
            self.withdraw(at, never)
        self._touch(at)

    def withdraw(self, at: Attempt, why: str) -> None:
        """Take a job back that waits in vain, so that the work goes elsewhere."""
        if at.desk.call_off():
            self._end(at, _failed(FailureClass.REFUSED, why))

    def _not_seen(self, at: Attempt, asked_ms: int) -> None:
        at.look_ms = 0
        if not at.unsure:
            at.missing += 1
        elif at.outcome is None and asked_ms - at.since_ms >= ORPHAN_MS:
            if not at.desk.call_off():
                # A runner has it, so Slurm has it too, or had.
                at.missing += 1
            elif at.again is not None:
                self._bury(at)
                self.lost.append(at.again)
                del self.attempts[at.key]
            else:
                message = "it was not submitted: the agent ended before Slurm had it"
                self._end(at, _failed(FailureClass.ENGINE, message))

    def asked_again(self, launch: Launch) -> None:
        """The same start came again. Where nobody knows whether Slurm has the first one, this one
        is submitted once it is certain that the first never begins."""
        at = self.attempts.get((launch.job, launch.fence))
        if at is not None and at.unsure:
            at.again = launch

    def _show_strays(self, strays: Mapping[Key, JobRow]) -> None:
        for key in self._strays.keys() - strays.keys():
            self.shown.pop(key, None)
        self._strays = dict(strays)
        for key, row in strays.items():
            phase = Phase.STARTING if row.state is JobState.PENDING else Phase.RUNNING
            self.shown[key] = Status(phase=phase, message="Slurm has it; nobody here knows it")

    # -- what time brings -----------------------------------------------------------------------

    def watch(self, until_ms: int, *, wait_ms_max: int = 0) -> int:
        """Look into every folder that is due; return when the next one is."""
        now = self._now()
        due = now + IDLE_MS
        expected = (not at.started_ms and at.outcome is None for at in self.attempts.values())
        self._expected = sum(expected)
        for at in list(self.attempts.values()):
            if at.submitting or (at.outcome is not None and at.published):
                continue
            if at.look_ms <= now:
                self._try_look(at, until_ms=until_ms)
                if wait_ms_max and not at.started_ms and now - at.since_ms >= wait_ms_max:
                    reason = waiting(at)
                    self.withdraw(at, f"it waited in Slurm for {wait_ms_max / 1000:g} s: {reason}")
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
        if at.outcome is not None:
            self._touch(at)
            at.look_ms = self._now() + LOOK_MS_RUNNING
            return
        beats = at.desk.beats()
        now = at.seen_ms = self._now()
        alive = [(rank, beat) for rank, beat in enumerate(beats) if beat is not None]
        for rank, beat in alive:
            if at.told.guard and not 0 < at.kill_at_ms <= now:
                at.desk.answer(rank, beat, now_ms=now, until_ms=until_ms)
                at.for_ms = until_ms - now
            if beat.age_ms and not at.started_ms:
                at.started_ms = now - beat.age_ms
        at.cpu_ms = max(at.cpu_ms, sum(beat.cpu_ms for _, beat in alive))
        at.memory_bytes = sum(beat.memory_bytes for _, beat in alive)
        if alive or at.row is not None:
            self._read(at, now)
        if not at.back_ms and taken_away(at):
            at.back_ms = now
            self._kill(at)
        if 0 < at.kill_at_ms <= now:
            self._kill(at)
        outcome = judge(at, now)
        if outcome is not None:
            self._end(at, outcome)
        at.look_ms = now + self._pause_ms(at, now)
        self._touch(at)

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
        broken = any(rank.end is End.EXIT and rank.code for rank in at.ranks)
        if broken and at.told.ranks > 1 and not at.over:
            self._kill(at)
        failed = at.row is not None and at.row.state in FINAL and at.row.exit_status
        if failed and not at.output:
            at.output = _last_words(at.folder)

    def _kill(self, at: Attempt) -> None:
        """Have all that is left of it killed: by its runners, and soon by Slurm."""
        if not at.killed:
            at.killed = True
            at.desk.stop(0)
            if at.told.number:
                at_ms = self._now() + RUNNER_MS
                self.doomed.condemn(at.told.number, at.told.tag, at_ms=at_ms)

    def _pause_ms(self, at: Attempt, now: int) -> int:
        """Return after how long its folder is to be looked at again."""
        if at.quiet_ms or at.stop_ms >= 0:
            share = (now - max(at.quiet_ms, at.kill_at_ms - at.stop_ms)) // LOOK_SHARE
            return min(max(LOOK_MS_MIN, share), LOOK_MS_RUNNING)
        if not at.started_ms:
            if any(rank.waiting for rank in at.ranks):
                return LOOK_MS_MIN
            age = now - at.since_ms
            share = age // LOOK_SHARE
            if age < FRESH_MS:
                share = min(share, self._expected * LOOK_MS_EACH)
            return min(max(LOOK_MS_MIN, share), LOOK_MS_WAITING)
        share = (now - at.started_ms) // LOOK_SHARE
        most = min(max(LOOK_MS_RUNNING, at.for_ms // GRANT_SHARE), LOOK_MS_MAX)
        return min(max(LOOK_MS_MIN, share), most)

    def _end(self, at: Attempt, outcome: Outcome) -> None:
        now = self._now()
        at.outcome, at.over_ms = outcome, now
        if at.started_ms:
            ran_ms = max((rank.ran_ms for rank in at.ranks), default=0)
            at.ended_ms = min(now, at.started_ms + ran_ms) if at.over else now
        if not at.over and (at.told.number or at.unsure):
            at.desk.stop(0)
            at.desk.call_off()
        if outcome.phase == Phase.SUCCEEDED:
            self._unseen = "", 0
        self._bury(at)
        at.look_ms = now
        self._touch(at)

    # -- what is shown --------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Return how much there is to ask for."""
        open_ = [at for at in self.attempts.values() if at.outcome is None]
        waits = sum(1 for at in open_ if not at.started_ms or at.quiet_ms or at.stop_ms >= 0)
        accounts = [at.told.number for at in self.attempts.values() if self._wants_accounts(at)]
        return Counts(
            open=len(open_),
            waiting=waits + len(self.doomed) + len(accounts),
            accounts=tuple(accounts),
        )

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

    def _wants_accounts(self, at: Attempt) -> bool:
        """Say whether an end is held back until the accounting has it."""
        if not self.accounting or at.outcome is None or not at.started_ms or not at.told.number:
            return False
        known = at.accounted is not None and at.accounted.over
        return not known and self._now() - at.over_ms < ACCOUNTS_MS

    def _touch(self, at: Attempt) -> None:
        """Work out anew what `poll` shows of an attempt."""
        held_back = self._wants_accounts(at)
        if self.attempts.get(at.key) is at:
            at.published = at.outcome is not None and not held_back
            self.shown[at.key] = status_of(
                at, None if held_back else at.outcome, isolation=self.isolation
            )

    def _now(self) -> int:
        return self._clock.monotonic_ms()


def _failed(failure: FailureClass, message: str) -> Outcome:
    return Outcome(phase=Phase.FAILED, failure=failure, message=message)


def _last_words(folder: Path) -> str:
    """Return the end of what the batch script itself said; nothing when there is none."""
    try:
        data = (folder / "runner" / "slurm.out").read_bytes()[-OUTPUT_BYTES:]
    except OSError:
        return ""
    lines: Sequence[str] = data.decode("utf-8", "replace").strip().splitlines()
    return " ".join(lines[-3:])[-300:]
