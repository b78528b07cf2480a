"""The attempts that an island holds, and every move that one of them can make.

`AgentCore` takes the stimuli apart and asks this book of attempts; what is to be done as a
consequence is collected here, in order, until the core hands it to the shell. Deterministic and
without I/O, like the core.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from causeway.agent import renting, ticks
from causeway.agent.acceptance import refusal
from causeway.agent.attempt import (
    ENDED,
    FENCED,
    OPEN,
    STORIES,
    AgentJournal,
    Cause,
    Held,
    Key,
    Stage,
    aborted,
    ended,
    observed,
)
from causeway.agent.environment import attempt_folder, environment, terminal_socket
from causeway.agent.instructions import (
    CancelStage,
    Forget,
    Grant,
    Instruction,
    LastLook,
    Problem,
    Stop,
    UploadCheckpoint,
    UploadOutputs,
    Wipe,
    WriteJournal,
)
from causeway.agent.instructions import Stage as StageInputs
from causeway.agent.progress import Progress
from causeway.model.islands import Inventory, Profile
from causeway.model.jobs import FailureClass, JobKind
from causeway.model.protocol import Phase, StartCommand, Wiped
from causeway.model.resources import Capacity
from causeway.model.values import replace
from causeway.ports.engine import Launch, Status

ATTEMPTS_MAX = 1_024
"""Attempts held at a time; further starts are passed over until some are released."""
FENCES_KEPT = 4_096
FENCES_JOURNALLED = 256
UPLOAD_TRIES = 5
RETRY_MS = 1_000
RETRY_MS_MAX = 8_000


class Holdings:
    """All attempts here, with what is to be done about them."""

    def __init__(
        self,
        journal: AgentJournal,
        *,
        profile: Profile,
        inventory: Inventory,
        root: Path,
        base_envs: Mapping[str, str],
        tick_ms: int,
        outlived: bool = False,
    ) -> None:
        self.island = journal.island
        self.profile = profile
        self.inventory = inventory
        self.deadline_ms: int | None = None
        self.leaving = False
        self.news = 0
        self.revision = 0
        self.held: dict[Key, Held] = {
            held.key: replace(held, uploading=False, wiping=False, looked=False, retry_ms=0)
            for held in journal.attempts
        }
        self.progress = {key: Progress(held.last_step) for key, held in self.held.items()}
        self._restored = set(self.held)
        self._fences = dict(journal.fences)
        self._secrets: dict[Key, Mapping[str, str]] = {}
        self._root = root
        self._base_envs = dict(base_envs)
        self._tick_ms = tick_ms
        self._outlived = outlived
        self._dirty = False
        self._todo: list[Instruction] = []

    def journal(self) -> AgentJournal:
        """Return everything that must survive a kill."""
        newest = list(itertools.islice(reversed(self._fences.items()), FENCES_JOURNALLED))
        return AgentJournal(
            island=self.island, attempts=tuple(self.held.values()), fences=dict(reversed(newest))
        )

    def put(self, held: Held, *, durable: bool = True, news: bool = False) -> None:
        """Keep a changed record; an unchanged one is no change."""
        if self.held.get(held.key) is not held:
            self.held[held.key] = held
            self.news += news
            if durable:
                self._changed()

    def _changed(self) -> None:
        self._dirty = True
        self.revision += 1

    def instructions(self) -> list[Instruction]:
        """Return what is to be done since the last call, the journal first."""
        todo, self._todo = self._todo, []
        if self._dirty:
            todo.insert(0, WriteJournal())
            self._dirty = False
        return todo

    def free(self) -> Capacity:
        """Return the capacity that no open attempt holds, and no rental that is not wiped. What is
        being killed otherwise counts as free."""
        left = self.inventory.capacity
        for held in self.held.values():
            taken = held.stage in OPEN and held.cause not in FENCED
            if taken or renting.to_be_wiped(held):
                left = left.less(held.start.spec.resources, held.start.spec.num_nodes)
        return left

    # -- beginning ------------------------------------------------------------------------------

    def start(self, start: StartCommand) -> None:
        """Take a start in: once per fence, never an older fence than one already seen."""
        key = (start.job, start.fence)
        if start.fence <= self._fences.get(start.job, -1) or len(self.held) >= ATTEMPTS_MAX:
            return
        self._remember_fence(start.job, start.fence)
        for older in [held for held in self.held.values() if held.start.job == start.job]:
            self.stop(older, 0, Cause.SUPERSEDED)
        why = "the island is leaving" if self.leaving else self._refusal(start)
        bare = replace(start, secrets={})
        self.progress[key] = Progress(start.resume_step)
        if why:
            refused = Held(
                start=bare,
                stage=Stage.REFUSED,
                phase=Phase.REFUSED,
                failure=FailureClass.REFUSED,
                message=why,
            )
            self.put(refused, news=True)
            return
        self.put(Held(start=bare, last_step=start.resume_step))
        self._secrets[key] = start.secrets
        self._todo.append(StageInputs(start=bare))

    def _refusal(self, start: StartCommand) -> str:
        return refusal(
            start, policy=self.profile.policy, inventory=self.inventory, free=self.free()
        )

    def pass_over(self, job: str, fence: int) -> None:
        """A stop came before its start, or without one: a start that still comes is too late. The
        centre takes it for done as soon as it hears that this answer was handled."""
        if fence > self._fences.get(job, -1):
            self._remember_fence(job, fence)
            self._changed()

    def _remember_fence(self, job: str, fence: int) -> None:
        self._fences.pop(job, None)
        self._fences[job] = fence
        if len(self._fences) > FENCES_KEPT:
            live = {job for job, _ in self.held}
            oldest = next(job for job in self._fences if job not in live)
            del self._fences[oldest]

    def launch_ready(self) -> None:
        """Hand over to the engine whatever is staged and has no live older attempt here."""
        ready = [held for held in self.held.values() if held.stage is Stage.READY]
        if not ready:
            return
        alive = {held.start.job for held in self.held.values() if held.stage is Stage.ENGINE}
        for held in ready:
            if held.start.job in alive:
                continue
            alive.add(held.start.job)
            folder = attempt_folder(self._root, *held.key)
            envs = environment(
                held.start,
                island=self.island,
                folder=folder,
                base=self._base_envs,
                secrets=self._secrets.pop(held.key, {}),
            )
            self.put(replace(held, stage=Stage.ENGINE))
            job, fence = held.key
            interactive = held.start.spec.kind is JobKind.INTERACTIVE
            launch = Launch(
                job=job,
                fence=fence,
                spec=held.start.spec,
                folder=folder,
                envs=envs,
                deadline_stop=held.start.deadline_stop,
                terminal=terminal_socket(self._root, job, fence) if interactive else None,
            )
            self._todo.append(launch)

    # -- ending ---------------------------------------------------------------------------------

    def stop(self, held: Held, grace_ms: int, cause: Cause) -> None:
        """End an open attempt; repeated requests only ever shorten the grace."""
        if held.stage in (Stage.STAGING, Stage.READY):
            failure, story = STORIES[cause]
            self.abort(held, phase=Phase.STOPPED, failure=failure, message=story)
        elif held.stage is Stage.ENGINE and (held.grace_ms < 0 or grace_ms < held.grace_ms):
            job, fence = held.key
            self.put(replace(held, grace_ms=grace_ms, cause=cause))
            self._todo.append(Stop(job=job, fence=fence, grace_ms=grace_ms))

    def abort(self, held: Held, *, phase: str, failure: FailureClass | None, message: str) -> None:
        """End an attempt that the engine never had."""
        if held.stage is Stage.STAGING:
            self._todo.append(CancelStage(job=held.start.job, fence=held.start.fence))
        self._secrets.pop(held.key, None)
        self.put(aborted(held, phase=phase, failure=failure, message=message), news=True)

    def release(self, key: Key) -> None:
        """Forget an attempt; one that the engine still has is killed first and seen to be gone."""
        held = self.held.get(key)
        if held is None:
            return
        if held.stage is Stage.ENGINE:
            self.stop(held, 0, Cause.SUPERSEDED)
            now = self.held[key]
            self.put(replace(now, released=True, cause=Cause.SUPERSEDED))
            return
        if renting.to_be_wiped(held):
            self.put(replace(held, released=True))
            return
        if held.stage is Stage.STAGING:
            self._todo.append(CancelStage(job=held.start.job, fence=held.start.fence))
        self._drop(key)

    def _drop(self, key: Key) -> None:
        del self.held[key]
        del self.progress[key]
        self._secrets.pop(key, None)
        self._changed()
        self._todo.append(Forget(job=key[0], fence=key[1]))

    def extend(self, until_ms: int) -> None:
        """The lease is good until then, if not longer already."""
        self.deadline_ms = max(self.deadline_ms or until_ms, until_ms)
        if self._outlived:
            self._todo.append(Grant(until_ms=self.deadline_ms))

    def expire(self, now_ms: int) -> None:
        """Kill what may not outlive the lease, once the lease has run out."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return
        for held in [held for held in self.held.values() if ends_at_deadline(held)]:
            self.stop(held, 0, Cause.DEADLINE)

    # -- what the engine says -------------------------------------------------------------------

    def poll(self, statuses: Mapping[Key, Status], now_ms: int) -> None:
        """Compare every attempt with what the engine says of it."""
        restored, self._restored = self._restored, set()
        for key, held in list(self.held.items()):
            status = statuses.get(key)
            if key in restored:
                self._resume(held, status)
            now = self.held.get(key)
            if now is not None and now.stage is Stage.ENGINE:
                self._look(now, status, now_ms)
        for job, fence in statuses:
            if (job, fence) not in self.held:
                self._todo.append(Forget(job=job, fence=fence))

    def _resume(self, held: Held, status: Status | None) -> None:
        """Go on after a restart of the agent: what the engine lost is over, its remains are not."""
        job, fence = held.key
        if held.stage is Stage.ENGINE and status is not None:
            if held.grace_ms >= 0:
                # The agent may have died before the engine heard of it.
                self._todo.append(Stop(job=job, fence=fence, grace_ms=held.grace_ms))
            # The old lease is unknown, so it counts as run out, unless the engine has guarded it.
            if held.start.deadline_stop and not self._outlived:
                self.stop(held, 0, Cause.DEADLINE)
            return
        gone = aborted(
            held,
            phase=Phase.FAILED,
            failure=FailureClass.ENGINE,
            message="the agent restarted",
        )
        if held.stage in (Stage.STAGING, Stage.READY):
            self.put(gone, news=True)
        elif held.stage is Stage.ENGINE and held.released:
            self._end(replace(gone, stage=Stage.CLOSING))
        elif held.stage is Stage.ENGINE:
            over_ms = held.started_ms + held.cut_ms
            self.put(replace(gone, stage=Stage.CLOSING, ended_ms=over_ms))
            self._todo.append(LastLook(job=job, fence=fence))
        elif held.stage is Stage.CLOSING:
            self._todo.append(LastLook(job=job, fence=fence))

    def _look(self, held: Held, status: Status | None, now_ms: int) -> None:
        if status is None:
            gone = Status(
                phase=Phase.FAILED,
                failure=FailureClass.ENGINE,
                message="the engine no longer knows this attempt",
                ended_monotonic_ms=held.started_ms + held.cut_ms,
            )
            self._end(ended(held, gone, now_ms))
            return
        held, status = renting.metered(held, status, now_ms)
        seen = observed(held, status)
        if status.phase in ENDED:
            over = ended(seen, status, now_ms)
            if over.started_ms:
                over = ticks.cut(over, status, over.elapsed_ms(now_ms))
            self._end(over)
            return
        self.put(seen, news=seen.phase != held.phase)
        # Its processes may be over before the engine knows how they ended: nobody uses that wait.
        elapsed_ms = seen.elapsed_ms(status.ended_monotonic_ms or now_ms)
        if seen.started_ms and elapsed_ms - seen.cut_ms >= self._tick_ms:
            self.put(ticks.cut(seen, status, elapsed_ms))

    def _end(self, over: Held) -> None:
        if over.released and over.start.spec.rental is None:
            self._drop(over.key)
            return
        self.put(over)
        self._todo.append(LastLook(job=over.start.job, fence=over.start.fence))

    # -- what it leaves -------------------------------------------------------------------------

    def further(self, key: Key, now_ms: int) -> None:
        """Begin the upload that is due, or close an attempt that has nothing on its way."""
        held = self.held.get(key)
        if held is None or held.uploading or held.wiping:
            return
        if held.stage is Stage.CLOSING and held.looked and renting.to_be_wiped(held):
            if now_ms >= held.retry_ms:
                self.put(replace(held, wiping=True, retry_ms=0), durable=False)
                self._todo.append(Wipe(job=held.start.job, fence=held.start.fence))
            return
        if held.released:
            return
        if held.stage not in (Stage.ENGINE, Stage.CLOSING):
            return
        job, fence = key
        succeeded = held.stage is Stage.CLOSING and held.phase == Phase.SUCCEEDED
        may_try = held.tries < UPLOAD_TRIES
        if held.behind and may_try and not succeeded and held.cause not in FENCED:
            if now_ms >= held.retry_ms:
                self.put(replace(held, uploading=True), durable=False)
                self._todo.append(UploadCheckpoint(job=job, fence=fence, step=held.found_step))
        elif held.stage is Stage.CLOSING and held.looked:
            wanted = held.start.spec.outputs if succeeded and not held.outputs else ()
            if not wanted:
                self.put(replace(held, stage=Stage.DONE, retry_ms=0), news=True)
            elif not may_try:
                failed = replace(held, stage=Stage.DONE, phase=Phase.FAILED, retry_ms=0)
                self.put(failed, news=True)
            elif now_ms >= held.retry_ms:
                self.put(replace(held, uploading=True), durable=False)
                self._todo.append(UploadOutputs(job=job, fence=fence, paths=wanted))

    def wiped(self, held: Held, outcome: Wiped, now_ms: int) -> None:
        """Go on where nothing is left, and wipe again after a while where something is."""
        wait_ms = min(RETRY_MS << min(held.tries, UPLOAD_TRIES), RETRY_MS_MAX)
        seen = replace(held, wiped=outcome, wiping=False, tries=0, retry_ms=0)
        if outcome.left:
            seen = replace(seen, tries=held.tries + 1, retry_ms=now_ms + wait_ms)
        self.put(seen, news=seen.wiped != held.wiped)
        if held.released and not outcome.left:
            self._drop(held.key)

    def upload_failed(self, held: Held, problem: Problem, now_ms: int) -> None:
        """Count a failed upload, and set when the next try is due. Tries while the centre is out
        of reach are not counted: a job that ended well then is not failed for it."""
        cut_off = self.deadline_ms is None or now_ms >= self.deadline_ms
        tries = held.tries + (0 if cut_off else 1)
        if not problem.retry:
            tries = UPLOAD_TRIES
        wait_ms = min(RETRY_MS << held.tries, RETRY_MS_MAX)
        failed = replace(
            held,
            uploading=False,
            tries=tries,
            retry_ms=now_ms + wait_ms if tries < UPLOAD_TRIES else 0,
        )
        if held.stage is Stage.CLOSING and held.phase == Phase.SUCCEEDED:
            message = f"its outputs could not be kept: {problem.message}"
            failed = replace(failed, failure=problem.failure, message=message)
        self.put(failed, durable=False)

    def next_ms(self) -> int | None:
        """Return the next instant at which time alone changes something."""
        if not self.held:
            return None
        due = [
            held.retry_ms
            for held in self.held.values()
            if held.retry_ms and not held.uploading and held.stage in (Stage.ENGINE, Stage.CLOSING)
        ]
        if self.deadline_ms is not None and any(map(ends_at_deadline, self.held.values())):
            due.append(self.deadline_ms)
        return min(due, default=None)


def ends_at_deadline(held: Held) -> bool:
    """Say whether the end of the lease would still do something to this attempt."""
    return held.start.deadline_stop and held.stage in OPEN and held.grace_ms != 0
