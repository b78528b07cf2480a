"""All attempts of one island in Kubernetes: what is Kubernetes' own about them."""

from __future__ import annotations

from dataclasses import replace

from causeway.adapters.kubernetes import reasons
from causeway.adapters.kubernetes.attempts import (
    Attempt,
    Submission,
    judge,
    never,
    taken_away,
    unseen,
    waiting,
)
from causeway.adapters.kubernetes.doomed import Doomed
from causeway.adapters.kubernetes.inventory import ISOLATION
from causeway.adapters.kubernetes.objects import name_of
from causeway.adapters.kubernetes.speaker import Seen
from causeway.adapters.kubernetes.values import JobSeen, PodSeen
from causeway.adapters.outside import ledger
from causeway.adapters.outside.attempts import UNSEEN_FOLDER
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.ledger import RUNNER_MS, Rules
from causeway.adapters.runner.ends import Key, Outcome, failed
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.ports import Clock
from causeway.ports.engine import Status

RULES = Rules(attempt=Attempt, judge=judge, waiting=waiting, taken_away=taken_away)


class Ledger(ledger.Ledger[Attempt, str]):
    """The attempts. A stray is shown by the tag of its objects."""

    engine = "Kubernetes"

    def __init__(
        self, *, kept: Kept[Submission], mark: str, clock: Clock, image_ms_max: int = 0
    ) -> None:
        """After `image_ms_max` of failing to pull its image an attempt is refused."""
        self.doomed = Doomed()
        super().__init__(rules=RULES, kept=kept, doomed=self.doomed, clock=clock)
        self.isolation = ISOLATION[-1]
        self._mark = mark
        self._image_ms_max = image_ms_max

    def overdue(self, at: Attempt, *, wait_ms_max: int) -> str:
        if at.imageless_ms and self.now() - at.imageless_ms >= self._image_ms_max:
            return waiting(at)
        return super().overdue(at, wait_ms_max=wait_ms_max)

    def status(self, at: Attempt) -> Status:
        first = (pod.address for pod in at.pods if pod.rank == 0 and pod.phase == "Running")
        return replace(super().status(at), address=next(first, ""))

    def stray_phase(self, stray: str) -> str:
        return Phase.RUNNING

    # -- ending ---------------------------------------------------------------------------------

    def end_stray(self, stray: str) -> None:
        self.doomed.condemn(stray, at_ms=self.now())

    def condemn(self, at: Attempt, *, at_ms: int) -> None:
        self.doomed.condemn(at.told.tag, at_ms=at_ms)

    def bury(self, at: Attempt, *, forgotten: bool) -> None:
        """Have its objects deleted: at once, or when its runners had their time to end it. Those of
        a success stay until it is forgotten."""
        self.doomed.bury(at.told.tag)
        natural = at.outcome is not None and at.outcome.phase == Phase.SUCCEEDED
        if forgotten or not natural:
            begun = at.begun and not at.over
            self.condemn(at, at_ms=self.now() + (RUNNER_MS if begun else 0))

    def is_doubtful(self, at: Attempt, outcome: Outcome) -> None:
        """It would go on with the ranks that are there: it is ended first."""
        at.broken, at.kill_at_ms = outcome, self.now()
        at.desk.call_off()
        self.kill(at)

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
            else:
                self.not_seen(at, asked_ms)
        self._find_strays(seen.jobs)
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
            whole = len(jobs) == at.told.ranks or any(job.kind != jobs[0].kind for job in jobs)
            if whole or (asked_ms - at.since_ms >= self.orphan_ms and _is_set(jobs)):
                self.make_sure(at, replace(at.told, taken=True))
            elif asked_ms - at.since_ms >= self.orphan_ms:
                message = "the agent ended while it handed it over: not all of its ranks were there"
                self.is_doubtful(at, failed(FailureClass.ENGINE, message))
        if any(pod.code == UNSEEN_FOLDER for pod in pods):
            self.is_unseen(unseen(pods[0].node))
        why = never(at)
        if why:
            self.withdraw(at, why)
        if not any(pod.waiting in reasons.NO_IMAGE for pod in pods):
            at.imageless_ms = 0
        elif not at.imageless_ms:
            at.imageless_ms = asked_ms
        self.touch(at)

    def not_seen(self, at: Attempt, asked_ms: int) -> None:
        if not at.submitting and at.submitted_ms <= asked_ms:
            at.jobs, at.pods = (), ()
        super().not_seen(at, asked_ms)

    def _find_strays(self, jobs: tuple[JobSeen, ...]) -> None:
        """Show what carries our mark and nobody here knows; what is over for us is deleted."""
        known = {at.told.tag for at in self.attempts.values()}
        strays: dict[Key, str] = {}
        for job in jobs:
            tag, key = job.mark.tag, (job.mark.job, job.mark.fence)
            if job.mark.island != self._mark or tag in known or tag in self.doomed or job.leaving:
                continue
            if self.doomed.is_over(tag) or job.over or key in self.attempts:
                self.doomed.condemn(tag, at_ms=self.now())
            else:
                strays[key] = tag
        self.show_strays(strays)


def _is_set(jobs: tuple[JobSeen, ...]) -> bool:
    """Say whether a gang is one object, so that it is there whole or not at all."""
    return bool(jobs) and jobs[0].kind.endswith("jobsets")
