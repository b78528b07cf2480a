"""A launch as objects of Kubernetes. Pure.

One Job per rank, or one JobSet for a gang where the cluster knows them. A Job never makes a second
pod by itself (`backoffLimit: 0`, `restartPolicy: Never`); should one come all the same, because the
first was deleted, its runner finds the rank taken and goes away. Names hold the tag of the
submission, which is on the disk before: creating the same again is a conflict, never a second Job.

Pods fit the level `restricted` of the pod security standards where the agent does not run as root.
They see of the shared volume the attempt's own folder and the runner, and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causeway.adapters.kubernetes.answers import FENCE, ISLAND, JOB, RANK, TAG
from causeway.adapters.kubernetes.settings import Settings, Toleration
from causeway.adapters.kubernetes.values import JOB_SETS, JOBS, Mark, Thing
from causeway.ports.engine import Launch

CLAIM_TEMPLATES = "resourceclaimtemplates"
DRA = ("resource.k8s.io/v1", "resource.k8s.io/v1beta2", "resource.k8s.io/v1beta1")
"""Versions of dynamic resource allocation, the best first."""
QUEUE = "kueue.x-k8s.io/queue-name"
ADDRESS = "POD_IP"
INDEX_ENV = "JOB_COMPLETION_INDEX"
LIMIT_MARGIN_S = 90
"""Kubernetes' limit is the runner's plus this: the runner ends a job in time, and says why."""
CPU_MILLI_MIN = 10
KEEP = (
    *("NVIDIA_", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_", "ROCR_VISIBLE_DEVICES"),
    *("HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "ASCEND_", "HABANA_", "TPU_", "LD_LIBRARY_PATH"),
)
"""What device plugins and images set in a container and the program sees."""
LOST = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a job's accelerators are in this cluster, on each node."""

    resources: Mapping[str, int] = field(default_factory=dict)
    """Extended resources."""
    node_labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Label -> values of it that will do."""
    device_class: str = ""
    """Of dynamic resource allocation; empty: a device plugin's resource."""
    count: int = 0
    """Of the device class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the same for every job of an island."""

    settings: Settings
    island: str
    groups: frozenset[str] = frozenset()
    """API groups with versions that the cluster serves."""
    user: int = 0
    """Numeric user and group of the agent, whose files jobs write and read."""
    group: int = 0
    program: Path = Path()
    """The runner, in the shared volume."""

    @property
    def job_sets(self) -> bool:
        """Whether gangs become JobSets."""
        return self.settings.jobset and JOB_SETS.rpartition("/")[0] in self.groups

    @property
    def dra(self) -> str:
        """The version of dynamic resource allocation that is served; empty: none."""
        return next((one for one in DRA if one in self.groups), "")


def things(
    launch: Launch, terms: Terms, *, tag: str, wish: Wish, command: Sequence[str]
) -> tuple[Thing, ...]:
    """Return what is to be made, in order; `command` runs a rank whose number follows it."""
    mark = Mark(island=terms.island, tag=tag, job=launch.job, fence=launch.fence)
    made: list[Thing] = []
    if wish.device_class:
        made.append(_claim_template(terms, mark, wish))
    ranks = launch.spec.num_nodes
    if ranks > 1 and terms.job_sets:
        return (*made, _job_set(launch, terms, mark=mark, wish=wish, command=command))
    for rank in range(ranks):
        numbered = [*command, str(rank)]
        spec = _job_spec(launch, terms, mark=mark, wish=wish, command=numbered)
        spec["template"]["metadata"]["labels"][RANK] = str(rank)
        meta = _meta(mark, name=f"{name_of(tag)}-{rank}", settings=terms.settings)
        meta["labels"][RANK] = str(rank)
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
        if terms.settings.queue:
            spec["suspend"] = True
        made.append(Thing(kind=JOBS, body=body))
    return tuple(made)


def name_of(tag: str) -> str:
    """Return the beginning of the names of all objects of a submission.

    >>> name_of("0f3a")
    'causeway-0f3a'
    """
    return f"causeway-{tag}"


def _meta(mark: Mark, *, name: str, settings: Settings) -> Json:
    labels = {ISLAND: mark.island, TAG: mark.tag, "app.kubernetes.io/managed-by": "causeway"}
    if settings.queue:
        labels[QUEUE] = settings.queue
    notes = {JOB: mark.job, FENCE: str(mark.fence)}
    return {"name": name, "labels": labels, "annotations": notes}


def _job_set(
    launch: Launch, terms: Terms, *, mark: Mark, wish: Wish, command: Sequence[str]
) -> Thing:
    """One replicated job of as many indexed pods as there are ranks. The index is the rank; the
    runner reads it from its environment."""
    ranks = launch.spec.num_nodes
    spec = _job_spec(launch, terms, mark=mark, wish=wish, command=command)
    spec |= {"completionMode": "Indexed", "completions": ranks, "parallelism": ranks}
    # A JobSet has its own; Jobs below it that vanished by themselves would count as lost.
    keep_s = spec.pop("ttlSecondsAfterFinished")
    body: Json = {
        "apiVersion": JOB_SETS.rpartition("/")[0],
        "kind": "JobSet",
        "metadata": _meta(mark, name=name_of(mark.tag), settings=terms.settings),
        "spec": {
            "failurePolicy": {"maxRestarts": 0},
            "ttlSecondsAfterFinished": keep_s,
            "replicatedJobs": [{"name": "rank", "replicas": 1, "template": {"spec": spec}}],
        },
    }
    if terms.settings.queue:
        body["spec"]["suspend"] = True
    return Thing(kind=JOB_SETS, body=body)


def _job_spec(
    launch: Launch, terms: Terms, *, mark: Mark, wish: Wish, command: Sequence[str]
) -> Json:
    meta = _meta(mark, name="", settings=terms.settings)
    # Kueue looks at whole Jobs; a queue's name on a pod would be a second workload.
    meta["labels"].pop(QUEUE, None)
    del meta["name"]
    return {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "ttlSecondsAfterFinished": terms.settings.keep_s,
        "template": {
            "metadata": meta,
            "spec": _pod_spec(launch, terms, mark=mark, wish=wish, command=command),
        },
    }


def _pod_spec(
    launch: Launch, terms: Terms, *, mark: Mark, wish: Wish, command: Sequence[str]
) -> Json:
    settings = terms.settings
    container = {
        "name": "job",
        "image": launch.spec.image or settings.image,
        "command": list(command),
        "env": [{"name": ADDRESS, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "resources": resources(launch, wish),
        "volumeMounts": _mounts(launch, terms),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.grace_s,
        "securityContext": _security(terms),
        "tolerations": _tolerations(settings),
        "containers": [container],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": settings.claim}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
        ],
    }
    if launch.spec.time_limit_s:
        # Of the pod, not of the Job: that one's would count the time of waiting for a node.
        spec["activeDeadlineSeconds"] = int(launch.spec.time_limit_s) + LIMIT_MARGIN_S
    if wish.device_class:
        spec["resourceClaims"] = [
            {"name": "device", "resourceClaimTemplateName": name_of(mark.tag)}
        ]
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    if settings.node_labels:
        spec["nodeSelector"] = dict(settings.node_labels)
    if wish.node_labels:
        spec["affinity"] = _affinity(wish.node_labels)
    named = {
        "priorityClassName": settings.priority_class,
        "serviceAccountName": settings.service_account,
        "runtimeClassName": settings.runtime_class,
    }
    return spec | {field: name for field, name in named.items() if name}


def _security(terms: Terms) -> Json:
    said: Json = {
        "runAsUser": terms.user,
        "runAsGroup": terms.group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return said | {"runAsNonRoot": True} if terms.user else said


def resources(launch: Launch, wish: Wish) -> Json:
    """Return what a container asks for; it is held to that, and no more than that is set aside."""
    need = launch.spec.resources
    amounts = {"cpu": f"{max(CPU_MILLI_MIN, need.cpu_milli)}m"}
    if need.memory_bytes:
        amounts["memory"] = str(need.memory_bytes)
    amounts |= {name: str(count) for name, count in wish.resources.items()}
    said: Json = {"requests": amounts, "limits": dict(amounts)}
    return said | {"claims": [{"name": "device"}]} if wish.device_class else said


def _mounts(launch: Launch, terms: Terms) -> list[Json]:
    """Return the attempt's folder and the runner's, under the paths that the agent knows."""
    mount = Path(terms.settings.mount)
    found: list[Json] = [{"name": "memory", "mountPath": "/dev/shm"}]
    for folder, fixed in ((launch.folder, False), (terms.program.parent, True)):
        below = folder.relative_to(mount)
        found.append({"name": "shared", "mountPath": str(folder), "subPath": str(below)})
        if fixed:
            found[-1]["readOnly"] = True
    return found


def _tolerations(settings: Settings) -> list[Json]:
    """Return the profile's, and for how long a node may be lost: Kubernetes' own five minutes are
    long for work that starts anew elsewhere."""
    found = [_toleration(one) for one in settings.tolerations]
    lost = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": settings.node_lost_s}
    return [*found, *({"key": key, **lost} for key in LOST)]


def _toleration(one: Toleration) -> Json:
    said = {"key": one.key, "operator": one.operator, "value": one.value, "effect": one.effect}
    return {name: value for name, value in said.items() if value}


def _affinity(labels: Mapping[str, Sequence[str]]) -> Json:
    wanted = [
        {"key": label, "operator": "In", "values": list(values)} for label, values in labels.items()
    ]
    terms = {"nodeSelectorTerms": [{"matchExpressions": wanted}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _claim_template(terms: Terms, mark: Mark, wish: Wish) -> Thing:
    """A template, not a claim: each pod of a gang gets devices of its own."""
    version = terms.dra
    exactly: Json = {"deviceClassName": wish.device_class, "count": wish.count}
    exactly["allocationMode"] = "ExactCount"
    flat = version.endswith("v1beta1")
    request = {"name": "device", **exactly} if flat else {"name": "device", "exactly": exactly}
    body: Json = {
        "apiVersion": version,
        "kind": "ResourceClaimTemplate",
        "metadata": _meta(mark, name=name_of(mark.tag), settings=terms.settings),
        "spec": {"spec": {"devices": {"requests": [request]}}},
    }
    body["metadata"]["labels"].pop(QUEUE, None)
    return Thing(kind=f"{version}/{CLAIM_TEMPLATES}", body=body)
