"""One attempt in Kubernetes: what is known of it beside what is known of any. Pure.

Kubernetes knows what runners cannot tell: that an attempt waits, gave way, lost its node, used too
much memory, or was never started. `judge` weighs that and their records.
"""

from __future__ import annotations

from dataclasses import dataclass

from causeway.adapters.kubernetes import reasons
from causeway.adapters.kubernetes.values import JobSeen, PodSeen, Told
from causeway.adapters.outside import attempts
from causeway.adapters.outside.attempts import (
    LEASE_MARGIN_MS,
    SETTLE_MS,
    UNSEEN_FOLDER,
    guarded_to_death,
    surely_gone_ms,
)
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

NO_PYTHON = frozenset({"ContainerCannotRun", "StartError"})
WORDS_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission(attempts.Submission):
    """What is written down of an attempt before Kubernetes hears of it."""


@dataclass(slots=True, kw_only=True)
class Attempt(attempts.Attempt[Submission]):
    """Everything that the engine's thread knows of one attempt."""

    broken: Outcome | None = None
    """How it ends once nothing of it runs any more: only part of it was handed over."""
    jobs: tuple[JobSeen, ...] = ()
    pods: tuple[PodSeen, ...] = ()
    last_pods: tuple[PodSeen, ...] = ()
    """Those that were there before they vanished."""
    heard: tuple[Told, ...] = ()
    """Events about its objects."""
    heard_ms: int = 0
    """When events were asked for last."""
    imageless_ms: int = 0
    """Since when its image cannot be pulled; 0: nothing is known against it."""

    @property
    def is_known(self) -> bool:
        return bool(self.pods)

    @property
    def holds(self) -> Capacity:
        return self.told.capacity(len({pod.rank for pod in self.pods if pod.active}))


def judge(at: Attempt, now_ms: int) -> Outcome | None:
    """Return how an attempt ended; None while it goes on, or while that is not certain."""
    final = done(at)
    if at.over and all(rank.end is End.EXIT and rank.code == 0 for rank in at.ranks):
        return Outcome(phase=Phase.SUCCEEDED, exit_code=0)
    gone = at.over or final or guarded_to_death(at, now_ms)
    if at.stop_ms >= 0:
        stopped = Outcome(phase=Phase.STOPPED, exit_code=at.code, message="it was stopped")
        return stopped if gone else None
    if at.broken is not None:
        return at.broken if gone else None
    if at.back_ms:
        return _taken_away(at, now_ms)
    if not at.over and not final:
        return _silent_node(at, now_ms)
    own = own_end(at.ranks, time_limit_s=at.told.time_limit_s)
    if own is not None:
        return own
    first = failed_rank(at.ranks)
    if first is not None and at.over and is_plain(at.ranks[first]):
        return program_end(at.ranks, first)
    done_to = fate(at)
    if done_to is not None and not at.killed:
        return _ended(done_to, at)
    signalled = any(rank.end is End.SIGNAL for rank in at.ranks) and at.heard_ms < at.quiet_ms
    if (signalled or not final) and now_ms - at.quiet_ms < SETTLE_MS:
        return None
    if first is not None:
        return _from_outside(at) or program_end(at.ranks, first)
    return _never_began(at)


def done(at: Attempt) -> bool:
    """Say whether Kubernetes has nothing of it that runs, or will."""
    if not at.jobs and not at.pods:
        return at.forgotten
    jobs = all(job.over or job.leaving for job in at.jobs)
    return jobs and not any(pod.active for pod in at.pods)


def fate(at: Attempt) -> reasons.End | None:
    """Return what Kubernetes did to it, where it did something."""
    for pod in at.pods or at.last_pods:
        told = tuple(one for one in at.heard if one.about == pod.name)
        said = reasons.fate(pod, told)
        if said is not None:
            return said
    gone = tuple(one for one in at.heard if one.reason in reasons.PREEMPTED | reasons.LOST)
    if gone:
        return reasons.fate(PodSeen(name=gone[-1].about, tag=at.told.tag), gone[-1:])
    if at.begun_ms and any(job.suspended for job in at.jobs):
        return FailureClass.PREEMPTION, "Kueue took its nodes back and suspended it (Suspended)"
    return None


def taken_away(at: Attempt) -> bool:
    """Say whether an attempt that has begun, and not ended by itself, was taken off its nodes."""
    if not at.begun_ms:
        return False
    if any(rank.again for rank in at.ranks):
        return not at.over or any(rank.end is End.SIGNAL for rank in at.ranks)
    return not at.over and at.forgotten


def _taken_away(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end of an attempt that was taken off its nodes, once nothing of it can run there
    any more."""
    if not at.over and now_ms < surely_gone_ms(at):
        return None
    done_to = fate(at)
    if done_to is not None:
        return _ended(done_to, at)
    if any(rank.again for rank in at.ranks):
        message = "its pod was deleted and Kubernetes made another, which did not begin"
        return failed(FailureClass.PREEMPTION, message)
    return failed(FailureClass.ENGINE, "Kubernetes no longer has it; what was left of it was ended")


def _silent_node(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end of an attempt one of whose nodes is gone, once its guard must have ended it
    there."""
    lost = [pod for pod in at.pods if pod.phase in ("Running", "Unknown") and not pod.ready]
    if not lost or not at.told.guard or not at.desk.granted_until_ms or not at.started_ms:
        return None
    if now_ms < at.desk.granted_until_ms + LEASE_MARGIN_MS:
        return None
    message = f"its node {lost[0].node} does not answer, and its lease is over (NotReady)"
    return failed(FailureClass.NODE, message)


def _from_outside(at: Attempt) -> Outcome | None:
    """Return the end of an attempt whose pod somebody deleted."""
    if not any(rank.end is End.SIGNAL for rank in at.ranks) or at.killed:
        return None
    message = "it was ended from outside: its Job or pod was deleted"
    return failed(FailureClass.ENGINE, message, at.code)


def _ended(done_to: reasons.End, at: Attempt) -> Outcome:
    codes = [rank.code for rank in at.ranks if rank.code is not None]
    codes += [pod.code for pod in at.pods or at.last_pods if pod.code]
    return failed(*done_to, codes[0] if codes else None)


def _never_began(at: Attempt) -> Outcome:
    """Return the end of an attempt whose runners left no word of one."""
    engine = FailureClass.ENGINE
    pods = at.pods or at.last_pods
    if not at.pods and at.forgotten:
        return failed(engine, "Kubernetes no longer has it: its Job was deleted")
    pod = next((one for one in pods if one.code), pods[0] if pods else None)
    where = f" on {pod.node}" if pod is not None and pod.node else ""
    words = " ".join((pod.words or pod.message).split())[-WORDS_MAX:] if pod is not None else ""
    said = f": {words}" if words else ""
    if pod is not None and pod.code == UNSEEN_FOLDER:
        return failed(engine, unseen(pod.node))
    if pod is not None and pod.ended in NO_PYTHON:
        message = f"its container could not be started{where}: has its image a Python 3?{said}"
        return failed(FailureClass.REFUSED, message)
    what = "its runner ended without a word" if at.begun else "its runner did not start"
    token = next((f" ({job.reason})" for job in at.jobs if job.reason), "")
    return failed(engine, f"{what}{where}{said}{token}")


def unseen(node: str) -> str:
    """Say that a pod does not see the agent's folder."""
    return (
        f"a pod on {node or 'a node'} does not see the agent's folder: claim and mount must name "
        "the volume that holds the agent's root, and every node must be able to mount it"
    )


def never(at: Attempt) -> str:
    """Return why Kubernetes would never start it; nothing where its turn may come."""
    for one in at.heard:
        final = any(word in one.message for word in ("forbidden", "is invalid", "not found"))
        if one.reason == "FailedCreate" and final and not at.pods:
            return reasons.refusal(one.message.removeprefix("Error creating: "))
    for pod in at.pods:
        if pod.waiting in reasons.NEVER:
            return f"Kubernetes would never start it: {reasons.waiting(pod, None)}"
    return ""


def waiting(at: Attempt) -> str:
    """Return what Kubernetes says that an attempt waits for."""
    if not at.jobs and not at.pods:
        return "it is being handed to Kubernetes"
    if any(job.suspended for job in at.jobs):
        return "it waits for Kueue to admit it (Suspended)"
    starting = [pod for pod in at.pods if pod.phase == "Pending"]
    if not starting:
        refused = next((one for one in at.heard if one.reason == "FailedCreate"), None)
        return (
            f"its pods are being made: {refused.message}" if refused else "its pods are being made"
        )
    pod = starting[0]
    told = next((one for one in reversed(at.heard) if one.about == pod.name), None)
    return reasons.waiting(pod, told)
