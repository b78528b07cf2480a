"""One attempt in Kubernetes: what is known of it, and what that means. Pure.

    preparing -> submitting -> in Kubernetes -> over
         \\------------\\-----------> over (refused)

Two witnesses tell of an attempt: the records of its runners in its folder, and the API server. The
runners know first and best how a program ended; Kubernetes knows what they cannot tell: that it
waits, gave way, lost its node, used too much memory, or was never started. `judge` weighs them.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from causeway.adapters.kubernetes import reasons
from causeway.adapters.kubernetes.values import JobSeen, PodSeen, Told
from causeway.adapters.runner import Desk, End, RankSeen
from causeway.adapters.runner.ends import SIGNAL_BASE, Key, Outcome, failed_rank, how, is_plain
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports.engine import Launch

UNSEEN_FOLDER = 78
"""Exit code of a runner that does not find its folder (`program.main`)."""
NO_PYTHON = frozenset({"ContainerCannotRun", "StartError"})
SETTLE_MS = 15_000
"""How long records wait for what Kubernetes says of an end that may not be the program's own."""
GIVEN_BACK_MS = 5_000
"""How long the runner of a pod that was deleted may take to be gone."""
ANSWERS = 2
"""After so many answers without any of its objects, Kubernetes has none of them."""
LEASE_MARGIN_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is written down of an attempt before Kubernetes hears of it."""

    tag: str
    job: str
    fence: int
    ranks: int
    guard: bool
    cpu_milli: int
    """Of each rank."""
    memory_bytes: int
    """Of each rank."""
    accelerators: int
    """Of each rank."""
    watts: float = 0.0
    """Rated power of each of them."""
    time_limit_s: float = 0.0
    made: bool = False
    """Whether all its objects were made."""

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
    broken: Outcome | None = None
    """How it ends once nothing of it runs any more: only part of it was handed over."""
    unsure: bool = False
    """Whether an agent may have handed it over that died before it could write that down."""
    submitting: bool = False
    """Whether a thread is handing it over now; its folder is that thread's meanwhile."""
    submitted_ms: int = 0
    over_ms: int = 0
    """When its end was known."""
    again: Launch | None = None
    """The same start, asked for again while it was unsure."""
    begun_ms: int = 0
    """When a runner of it was first seen."""
    jobs: tuple[JobSeen, ...] = ()
    pods: tuple[PodSeen, ...] = ()
    heard: tuple[Told, ...] = ()
    """Events about its objects."""
    heard_ms: int = 0
    """When events were asked for last."""
    missing: int = 0
    """Answers in a row without any of its objects, after it was handed over."""
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
    imageless_ms: int = 0
    """Since when its image cannot be pulled; 0: nothing is known against it."""
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
    """When it is killed; 0: it is not to be."""
    back_ms: int = 0
    """When it was seen to have been taken off its nodes; 0: it was not."""
    killed: bool = False
    last_pods: tuple[PodSeen, ...] = ()
    """Those that were there before they vanished."""

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
        count = len({pod.rank for pod in self.pods if pod.active})
        told = self.told
        return Capacity(
            cpu_milli=told.cpu_milli * count,
            memory_bytes=told.memory_bytes * count,
            accelerators=told.accelerators * count,
        )


def judge(at: Attempt, now_ms: int) -> Outcome | None:
    """Return how an attempt ended; None while it goes on, or while that is not certain."""
    final = done(at)
    if at.over and all(rank.end is End.EXIT and rank.code == 0 for rank in at.ranks):
        return Outcome(phase=Phase.SUCCEEDED, exit_code=0)
    gone = at.over or final or guarded_to_death(at, now_ms)
    if at.stop_ms >= 0:
        code = next((rank.code for rank in at.ranks if rank.code is not None), None)
        stopped = Outcome(phase=Phase.STOPPED, exit_code=code, message="it was stopped")
        return stopped if gone else None
    if at.broken is not None:
        return at.broken if gone else None
    if at.back_ms:
        return _taken_away(at, now_ms)
    if not at.over and not final:
        return _silent_node(at, now_ms)
    own = _own_end(at)
    if own is not None:
        return own
    failed = failed_rank(at.ranks)
    if failed is not None and at.over and is_plain(at.ranks[failed]):
        return _program(at, failed)
    done_to = fate(at)
    if done_to is not None and not at.killed:
        return _ended(done_to, at)
    signalled = any(rank.end is End.SIGNAL for rank in at.ranks) and at.heard_ms < at.quiet_ms
    if (signalled or not final) and now_ms - at.quiet_ms < SETTLE_MS:
        return None
    if failed is not None:
        return _from_outside(at) or _program(at, failed)
    return _never_began(at)


def done(at: Attempt) -> bool:
    """Say whether Kubernetes has nothing of it that runs, or will."""
    if not at.jobs and not at.pods:
        return at.missing >= ANSWERS
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
    return not at.over and at.missing >= ANSWERS


def _taken_away(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end of an attempt that was taken off its nodes, once nothing of it can run there
    any more."""
    gone_ms = at.back_ms + GIVEN_BACK_MS
    if at.told.guard:
        gone_ms = max(gone_ms, at.desk.granted_until_ms + LEASE_MARGIN_MS)
    if not at.over and now_ms < gone_ms:
        return None
    done_to = fate(at)
    if done_to is not None:
        return _ended(done_to, at)
    if any(rank.again for rank in at.ranks):
        message = "its pod was deleted and Kubernetes made another, which did not begin"
        return Outcome(phase=Phase.FAILED, failure=FailureClass.PREEMPTION, message=message)
    message = "Kubernetes no longer has it; what was left of it was ended"
    return Outcome(phase=Phase.FAILED, failure=FailureClass.ENGINE, message=message)


def _silent_node(at: Attempt, now_ms: int) -> Outcome | None:
    """Return the end of an attempt one of whose nodes is gone, once its guard must have ended it
    there."""
    lost = [pod for pod in at.pods if pod.phase in ("Running", "Unknown") and not pod.ready]
    if not lost or not at.told.guard or not at.desk.granted_until_ms or not at.started_ms:
        return None
    if now_ms < at.desk.granted_until_ms + LEASE_MARGIN_MS:
        return None
    message = f"its node {lost[0].node} does not answer, and its lease is over (NotReady)"
    return Outcome(phase=Phase.FAILED, failure=FailureClass.NODE, message=message)


def guarded_to_death(at: Attempt, now_ms: int) -> bool:
    """Say whether its guards have ended it by now, whatever Kubernetes can see: since it was told
    to be killed no beat of it was answered."""
    if not at.told.guard or not at.kill_at_ms or not at.desk.granted_until_ms:
        return False
    return now_ms >= max(at.desk.granted_until_ms, at.kill_at_ms) + LEASE_MARGIN_MS


def _own_end(at: Attempt) -> Outcome | None:
    """Return what its runners themselves ended it for."""
    ends = {rank.end: rank for rank in reversed(at.ranks) if rank.end is not None}
    failure, code, message = FailureClass.ENGINE, None, ""
    if End.LEASE in ends:
        failure, code = FailureClass.ISLAND, SIGNAL_BASE + int(signal.SIGKILL)
        message = "its lease was not granted further, so its guard ended it"
    elif End.LIMIT in ends:
        failure, code = FailureClass.LIMIT, ends[End.LIMIT].code
        message = f"it ran longer than its limit of {at.told.time_limit_s:g} s"
    elif End.START in ends:
        said = ends[End.START]
        message = f"its program could not be started on {said.host}: {said.message}"
    if not message:
        return None
    return Outcome(phase=Phase.FAILED, exit_code=code, failure=failure, message=message)


def _program(at: Attempt, number: int) -> Outcome:
    rank = at.ranks[number]
    code = rank.code or 0
    who = "setup" if rank.part == "setup" else f"rank {number}"
    message = f"{who} {how(code)}"
    return Outcome(phase=Phase.FAILED, exit_code=code, failure=FailureClass.USER, message=message)


def _from_outside(at: Attempt) -> Outcome | None:
    """Return the end of an attempt whose pod somebody deleted."""
    if not any(rank.end is End.SIGNAL for rank in at.ranks) or at.killed:
        return None
    code = next((rank.code for rank in at.ranks if rank.code is not None), None)
    message = "it was ended from outside: its Job or pod was deleted"
    return Outcome(phase=Phase.FAILED, exit_code=code, failure=FailureClass.ENGINE, message=message)


def _ended(done_to: reasons.End, at: Attempt) -> Outcome:
    failure, message = done_to
    codes = [rank.code for rank in at.ranks if rank.code is not None]
    codes += [pod.code for pod in at.pods or at.last_pods if pod.code]
    code = codes[0] if codes else None
    return Outcome(phase=Phase.FAILED, exit_code=code, failure=failure, message=message)


def _never_began(at: Attempt) -> Outcome:
    """Return the end of an attempt whose runners left no word of one."""
    failed, engine = Phase.FAILED, FailureClass.ENGINE
    pods = at.pods or at.last_pods
    if not at.pods and at.missing >= ANSWERS:
        message = "Kubernetes no longer has it: its Job was deleted"
        return Outcome(phase=failed, failure=engine, message=message)
    pod = next((one for one in pods if one.code), pods[0] if pods else None)
    where = f" on {pod.node}" if pod is not None and pod.node else ""
    words = " ".join((pod.words or pod.message).split())[-300:] if pod is not None else ""
    said = f": {words}" if words else ""
    if pod is not None and pod.code == UNSEEN_FOLDER:
        return Outcome(phase=failed, failure=engine, message=unseen(pod.node))
    if pod is not None and pod.ended in NO_PYTHON:
        message = f"its container could not be started{where}: has its image a Python 3?{said}"
        return Outcome(phase=failed, failure=FailureClass.REFUSED, message=message)
    began = any(rank.waiting for rank in at.ranks)
    what = "its runner ended without a word" if began else "its runner did not start"
    token = next((f" ({job.reason})" for job in at.jobs if job.reason), "")
    return Outcome(phase=failed, failure=engine, message=f"{what}{where}{said}{token}")


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
