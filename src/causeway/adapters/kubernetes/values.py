"""What an adapter of Kubernetes knows of a cluster. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from causeway.model.resources import Capacity

JOBS = "batch/v1/jobs"
JOB_SETS = "jobset.x-k8s.io/v1alpha2/jobsets"
PODS = "v1/pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Whose an object is."""

    island: str
    tag: str
    """Of the submission; part of the object's name."""
    job: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
    """A Job, or a JobSet, of ours."""

    kind: str
    """`JOBS` or `JOB_SETS`."""
    name: str
    mark: Mark
    failed: bool = False
    succeeded: bool = False
    reason: str = ""
    """Why it failed, by Kubernetes."""
    suspended: bool = False
    leaving: bool = False
    """Whether it is being deleted."""

    @property
    def over(self) -> bool:
        """Whether Kubernetes has done with it."""
        return self.failed or self.succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """A pod of ours."""

    name: str
    tag: str
    rank: int = 0
    phase: str = "Pending"
    """`Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`."""
    node: str = ""
    unschedulable: str = ""
    """What the scheduler says of why it has no node."""
    reason: str = ""
    """The pod's own: `Evicted`, `DeadlineExceeded`, `NodeLost`, ..."""
    message: str = ""
    waiting: str = ""
    """What its container waits for: `ImagePullBackOff`, ..."""
    waiting_message: str = ""
    ended: str = ""
    """How its container ended: `OOMKilled`, `Error`, ..."""
    code: int | None = None
    words: str = ""
    """The last words of its container."""
    disrupted: str = ""
    """Reason of its condition DisruptionTarget."""
    ready: bool = False
    leaving: bool = False
    address: str = ""
    """In the cluster's network; its own, so that nobody but its container listens there."""

    @property
    def active(self) -> bool:
        """Whether something of it may run."""
        return self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event about an object of ours."""

    about: str
    """The object's name."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the cluster."""

    name: str
    ready: bool
    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)
    """Extended resources that it has."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[tuple[str, str, str], ...] = ()
    """Key, value and effect of those that keep pods away."""
    os: str = ""
    architecture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a ResourceQuota of the namespace allows in all, and what of it is used."""

    name: str
    hard: Mapping[str, int]
    used: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The cluster as a whole, as far as the agent may look."""

    version: str = ""
    groups: frozenset[str] = frozenset()
    """API groups with their versions: `batch/v1`, ..."""
    nodes: tuple[Node, ...] | None = None
    """None: the agent may not list them."""
    quotas: tuple[Quota, ...] = ()
    others: Capacity = field(default_factory=Capacity)
    """What pods of the namespace that are not ours ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """An object that is to be made."""

    kind: str
    """`JOBS`, ..."""
    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["metadata"]["name"])
