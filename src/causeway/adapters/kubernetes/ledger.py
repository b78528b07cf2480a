"""All attempts of one island in Kubernetes, and what each turn of time or news does to them.

Used by the engine's one thread. It looks into folders and writes grants there, which takes
microseconds; it never asks Kubernetes anything, and never waits. What is to be deleted it names
(`doomed`), again and again until Kubernetes shows that it is gone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from causeway.adapters.kubernetes import keeping, reasons
from causeway.adapters.kubernetes.attempts import (
    UNSEEN_FOLDER,
    Attempt,
    Submission,
    judge,
    never,
    taken_away,
    unseen,
    waiting,
)
from causeway.adapters.kubernetes.doomed import Doomed
from causeway.adapters.kubernetes.objects import name_of
from causeway.adapters.kubernetes.showing import status_of
from causeway.adapters.kubernetes.speaker import Seen
from causeway.adapters.kubernetes.values import JobSeen, PodSeen
from causeway.adapters.runner import Desk, End
from causeway.adapters.runner.ends import Key, Outcome
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Launch, Status

ORPHAN_MS = 3_000
"""How long an object of an agent that died may still be on its way to the API server."""
LOOK_MS_MIN = 10
LOOK_MS_WAITING = 500
LOOK_MS_RUNNING = 250
LOOK_MS_MAX = 2_500
LOOK_SHARE = 20
"""A folder is looked at after a twentieth of the time that it has been as it is."""
GRANT_SHARE = 16
RUNNER_MS = 2_000
"""How long a runner has for killing its program before Kubernetes is asked. It does that better: it
writes the end down, and sends no SIGTERM where there is no grace."""
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
        """What was said when pods last failed to see the agent's folder, and when."""
        self._root = root
        self._mark = mark
        self._clock = clock
        self._strays: dict[Key, str] = {}
        """Tags of objects with this island's mark that nobody here knows."""

    # -- beginning ------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take up what an earlier agent has left."""
        self.doomed.bury(*keeping.read_dead(self._root))
        for folder, told in keeping.read_all(self._root):
            desk = Desk(folder, told.ranks)
            at = Attempt(told=told, folder=folder, desk=desk, since_ms=self._now())
            at.unsure = not told.made
            at.stop_ms = desk.asked_to_stop()
            if at.stop_ms >= 0:
                at.kill_at_ms = self._now() + at.stop_ms
            self.attempts[at.key] = at
            self._try_look(at, until_ms=0)

    def add(self, launch: Launch, told: Submission) -> Attempt:
        """Take up a new attempt, which is being handed over."""
        desk = Desk(launch.folder, told.ranks)
        at = Attempt(told=told, folder=launch.folder, desk=desk, since_ms=self._now())
        at.submitting = True
        self.attempts[at.key] = at
        self._touch(at)
        return at

    def submitted(self, at: Attempt, told: Submission, outcome: Outcome | None) -> None:
        """Handing over is done: all of it is there, or nothing is, and it ended at once."""
        at.told, at.submitting, at.submitted_ms = told, False, self._now()
        at.look_ms = 0
        if self.attempts.get(at.key) is not at:
            # It was forgotten meanwhile.
            at.desk.stop(0)
            at.desk.call_off()
            self._bury(at)
        elif outcome is not None:
            self._end(at, outcome)
        elif at.stop_ms >= 0:
            self._press(at)

    def doubtful(self, at: Attempt, outcome: Outcome) -> None:
        """Only part of it was taken, or an answer was lost. Unless a runner has begun already, none
        ever will: then it is over. Else it is ended first."""
        at.submitting, at.submitted_ms, at.unsure = False, self._now(), True
        if at.desk.call_off():
            self._end(at, outcome)
        else:
            self._break(at, outcome)

    def _break(self, at: Attempt, outcome: Outcome) -> None:
        at.broken, at.kill_at_ms = outcome, self._now()
        at.desk.call_off()
        self._kill(at)

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
            self.doomed.condemn(stray, at_ms=self._now())
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
        """Have its objects deleted: at once, or when its runners had their time to end it."""
        self.doomed.bury(at.told.tag)
        begun = any(rank.waiting for rank in at.ranks) and not at.over
        self.doomed.condemn(at.told.tag, at_ms=self._now() + (RUNNER_MS if begun else 0))

    def let_go(self) -> None:
        """Write down what must not be taken for a stray by the agent that comes after."""
        if self.doomed.tags:
            keeping.write_dead(self._root, self.doomed.tags)

    # -- what Kubernetes says ---------------------------------------------------------------------

    def hear(self, seen: Seen, *, asked_ms: int) -> None:
        """Take an answer in that was asked for at `asked_ms`."""
        jobs: dict[str, list[JobSeen]] = {}
        pods: dict[str, list[PodSeen]] = {}
        for job in seen.jobs:
            jobs.setdefault(job.mark.tag, []).append(job)
        for pod in seen.pods:
            pods.setdefault(pod.tag, []).append(pod)
        for at in list(self.attempts.values()):
            tag = at.told.tag
            if tag in jobs or tag in pods:
                if seen.told is not None:
                    # Pods come and go; all of a submission's names begin with its tag.
                    own = name_of(tag)
                    at.heard = tuple(one for one in seen.told if one.about.startswith(own))
                    at.heard_ms = asked_ms
                self._seen(at, tuple(jobs.get(tag, ())), tuple(pods.get(tag, ())), asked_ms)
            elif not at.submitting and at.submitted_ms <= asked_ms:
                self._not_seen(at, asked_ms)
        self._show_strays(seen.jobs)
        self.doomed.hear(jobs.keys() | pods.keys())

    def _seen(
        self, at: Attempt, jobs: tuple[JobSeen, ...], pods: tuple[PodSeen, ...], asked_ms: int
    ) -> None:
        at.jobs, at.pods, at.missing = jobs, pods, 0
        at.last_pods = pods or at.last_pods
        at.look_ms = 0
        if at.outcome is not None or at.submitting:
            return
        if at.unsure and at.broken is None:
            if len(jobs) == at.told.ranks or any(job.kind != jobs[0].kind for job in jobs):
                self._sure(at)
            elif asked_ms - at.since_ms >= ORPHAN_MS:
                self._made_sure(at, jobs)
        if any(pod.code == UNSEEN_FOLDER for pod in pods):
            self._unseen = unseen(pods[0].node), self._now()
        why = never(at)
        if why:
            self.withdraw(at, why)
        if not any(pod.waiting in reasons.NO_IMAGE for pod in pods):
            at.imageless_ms = 0
        elif not at.imageless_ms:
            at.imageless_ms = asked_ms
        self._touch(at)

    def _made_sure(self, at: Attempt, jobs: tuple[JobSeen, ...]) -> None:
        """Decide on an attempt of which fewer objects are there than it has ranks."""
        if jobs and jobs[0].kind.endswith("jobsets"):
            self._sure(at)
            return
        message = "the agent ended while it handed it over: only some of its ranks were there"
        self._break(at, failed(FailureClass.ENGINE, message))

    def _sure(self, at: Attempt) -> None:
        at.told, at.unsure = replace(at.told, made=True), False
        keeping.write(at.folder, at.told)

    def withdraw(self, at: Attempt, why: str) -> None:
        """Take back what waits in vain, so that the work goes elsewhere."""
        if at.desk.call_off():
            self._end(at, failed(FailureClass.REFUSED, why))

    def _not_seen(self, at: Attempt, asked_ms: int) -> None:
        at.look_ms, at.jobs, at.pods = 0, (), ()
        if not at.unsure:
            at.missing += 1
        elif at.outcome is None and asked_ms - at.since_ms >= ORPHAN_MS:
            if not at.desk.call_off():
                # A runner has it, so Kubernetes has it too, or had.
                at.missing += 1
            elif at.again is not None:
                self.doomed.bury(at.told.tag)
                self.lost.append(at.again)
                del self.attempts[at.key]
            else:
                message = "it was not handed over: the agent ended before Kubernetes had it"
                self._end(at, failed(FailureClass.ENGINE, message))

    def asked_again(self, launch: Launch) -> None:
        """The same start came again. Where nobody knows whether Kubernetes has the first one, this
        one is handed over once it is certain that the first never begins."""
        at = self.attempts.get((launch.job, launch.fence))
        if at is not None and at.unsure:
            at.again = launch

    def _show_strays(self, jobs: tuple[JobSeen, ...]) -> None:
        """Show what carries our mark and nobody here knows; what is over for us is deleted."""
        known = {at.told.tag for at in self.attempts.values()}
        strays: dict[Key, str] = {}
        for job in jobs:
            tag, key = job.mark.tag, (job.mark.job, job.mark.fence)
            if job.mark.island != self._mark or tag in known or tag in self.doomed or job.leaving:
                continue
            if self.doomed.is_over(tag) or job.over or key in self.attempts:
                self.doomed.condemn(tag, at_ms=self._now())
            else:
                strays[key] = tag
        for key in self._strays.keys() - strays.keys():
            self.shown.pop(key, None)
        self._strays = strays
        for key in strays:
            message = "Kubernetes has it; nobody here knows it"
            self.shown[key] = Status(phase=Phase.RUNNING, message=message)

    # -- what time brings -----------------------------------------------------------------------

    def watch(self, until_ms: int, *, wait_ms_max: int = 0, image_ms_max: int = 0) -> int:
        """Look into every folder that is due; return when the next one is."""
        now = self._now()
        due = now + IDLE_MS
        for at in list(self.attempts.values()):
            if at.submitting or at.outcome is not None:
                continue
            if at.look_ms <= now:
                self._try_look(at, until_ms=until_ms)
                waited = now - at.since_ms
                if wait_ms_max and not at.started_ms and waited >= wait_ms_max:
                    why = f"it waited in Kubernetes for {wait_ms_max / 1000:g} s: {waiting(at)}"
                    self.withdraw(at, why)
                if at.imageless_ms and now - at.imageless_ms >= image_ms_max:
                    self.withdraw(at, waiting(at))
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
        if alive or at.pods:
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

    def _kill(self, at: Attempt) -> None:
        """Have all that is left of it killed: by its runners, and soon by Kubernetes."""
        if not at.killed:
            at.killed = True
            at.desk.stop(0)
            self.doomed.condemn(at.told.tag, at_ms=self._now() + RUNNER_MS)

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
        if not at.over:
            at.desk.stop(0)
            at.desk.call_off()
        if outcome.phase == Phase.SUCCEEDED:
            self._unseen = "", 0
        else:
            self._bury(at)
        self._touch(at)

    # -- what is shown --------------------------------------------------------------------------

    def counts(self) -> tuple[int, int]:
        """Return how many attempts are open, and how much is waited for in Kubernetes."""
        open_ = [at for at in self.attempts.values() if at.outcome is None]
        waits = sum(1 for at in open_ if not at.started_ms or at.quiet_ms or at.stop_ms >= 0)
        return len(open_), waits + len(self.doomed)

    @property
    def unseen(self) -> str:
        """Say that pods have lately failed to see the agent's folder; after a while, or after a
        success, it is tried again."""
        said, at_ms = self._unseen
        return said if said and self._now() - at_ms < UNSEEN_MS else ""

    def holds(self) -> Capacity:
        """Return what this island's own pods ask for."""
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


def failed(failure: FailureClass, message: str) -> Outcome:
    """Return a bad end."""
    return Outcome(phase=Phase.FAILED, failure=failure, message=message)
