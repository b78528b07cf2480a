"""What Kubernetes' reasons mean, in words. Pure."""

from __future__ import annotations

from causeway.adapters.kubernetes.values import PodSeen, Told
from causeway.model.jobs import FailureClass

CREATING = {
    "ContainerCreating": "its container is being made",
    "PodInitializing": "its pod is being made ready",
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and must not be pulled",
    "InvalidImageName": "its image has no valid name",
    "CreateContainerConfigError": "its container cannot be made",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
}
NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
"""May pass: refused after a while only."""
NEVER = frozenset(
    {
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Would wait for ever, or until somebody mends what is not the job's."""
REFUSALS = (
    ("exceeded quota", "a quota of the namespace is used up"),
    ("maximum memory usage", "it asks for more memory than the namespace gives to one container"),
    ("maximum cpu usage", "it asks for more processors than the namespace gives to one container"),
    ("violates PodSecurity", "the namespace does not allow such a pod"),
    ("no PriorityClass", "its priority class is not there"),
    ("admission webhook", "an admission webhook of the cluster does not take it"),
    ("serviceaccount", "its service account is not there"),
    ("is forbidden", "the cluster does not allow it"),
    ("is invalid", "the cluster does not take it as it is"),
    ("not found", "something that it names is not there"),
)
"""Parts of Kubernetes' sentences -> ours, the surest first."""
PREEMPTED = frozenset(
    {"Preempted", "PreemptionByScheduler", "EvictionByEvictionAPI", "PreemptionByKueueScheduler"}
)
LOST = frozenset(
    {
        "NodeLost",
        "NodeShutdown",
        "Shutdown",
        "Terminated",
        "NodeNotReady",
        "DeletionByTaintManager",
        "DeletionByPodGC",
        "TerminationByKubelet",
        "TaintManagerEviction",
    }
)
"""Reasons of pods, conditions and events: its node is gone, or about to."""
KUBELET = ("OutOf", "NodeAffinity", "UnexpectedAdmissionError", "Preempting", "MatchNodeSelector")
"""How reasons begin of pods that a kubelet turned away."""
ASKED = ("FailedCreate", "Preempted", "TaintManagerEviction", "FailedMount", "FailedAttachVolume")
"""Reasons of the events that are asked for."""
End = tuple[FailureClass, str]


def refusal(said: str) -> str:
    """Return what a refused object means: our words, then Kubernetes' own.

    >>> refusal('pods "a" is forbidden: exceeded quota: q')
    'Kubernetes refused it: a quota of the namespace is used up (exceeded quota: q)'
    """
    words = next((ours for theirs, ours in REFUSALS if theirs in said), "")
    own = said.partition("is forbidden: ")[2] or said
    return f"Kubernetes refused it: {words} ({own})" if words else f"Kubernetes refused it: {own}"


def waiting(pod: PodSeen, told: Told | None) -> str:
    """Return what a pod waits for, in words, with Kubernetes' own."""
    if pod.unschedulable:
        return f"it waits in Kubernetes for a node: {pod.unschedulable}"
    if told is not None and told.reason in ("FailedMount", "FailedAttachVolume"):
        return f"its volume cannot be mounted on {pod.node} ({told.reason}: {told.message})"
    if pod.waiting:
        words = CREATING.get(pod.waiting, "it waits in Kubernetes")
        own = f"{pod.waiting}: {pod.waiting_message}" if pod.waiting_message else pod.waiting
        return f"{words} ({own})"
    return f"its pod starts on {pod.node}" if pod.node else "Kubernetes has not looked at it yet"


def fate(pod: PodSeen, told: tuple[Told, ...]) -> End | None:
    """Return what Kubernetes did to a pod, where its end was not its program's own."""
    where = f" on {pod.node}" if pod.node else ""
    own = f"{pod.reason}: {pod.message}".rstrip(": ") if pod.reason else ""
    if pod.ended == "OOMKilled":
        return FailureClass.LIMIT, f"it used more memory than it asked for{where} (OOMKilled)"
    if pod.reason == "DeadlineExceeded":
        return FailureClass.LIMIT, f"it ran into the limit that Kubernetes keeps{where} ({own})"
    if pod.reason == "Evicted":
        if "exceeds the" in pod.message or "exceeded its" in pod.message:
            return FailureClass.LIMIT, f"it used more of its node's disk than it may{where} ({own})"
        return (
            FailureClass.PREEMPTION,
            f"its node was short of something and ended it{where} ({own})",
        )
    heard = [one.reason for one in told]
    for reason in (pod.disrupted, *heard):
        if reason in PREEMPTED:
            return FailureClass.PREEMPTION, f"it gave way to other work{where} ({reason})"
    for reason in (pod.disrupted, pod.reason, *heard):
        if reason in LOST:
            return FailureClass.NODE, f"its node is gone, or about to{where} ({reason})"
    if pod.reason.startswith(KUBELET):
        return FailureClass.ENGINE, f"its node turned it away{where} ({own})"
    return None
