"""What the API server says -> values. Pure.

Fields that a version of Kubernetes does not know are absent, and then mean what their absence means
there: nothing is asked of the version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from causeway.adapters.kubernetes.values import (
    JOBS,
    JobSeen,
    Mark,
    Node,
    PodSeen,
    Quota,
    Told,
)
from causeway.model.resources import Capacity

ISLAND, TAG, RANK = "causeway/island", "causeway/tag", "causeway/rank"
"""Labels."""
JOB, FENCE = "causeway/job", "causeway/fence"
"""Annotations."""
INDEX = "batch.kubernetes.io/job-completion-index"
"""Annotation of pods of an indexed Job."""
SUFFIXES = {
    **{"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60},
    **{"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18},
}
Json = Mapping[str, Any]


def milli(quantity: str | int) -> int:
    """Return thousandths of a quantity, rounded up.

    >>> milli("1500m"), milli("2"), milli("128Mi"), milli("1e3"), milli("0.5"), milli("100u")
    (1500, 2000, 134217728000, 1000000, 500, 1)
    """
    text = str(quantity)
    for suffix, parts in (("m", 1), ("u", 1_000), ("n", 1_000_000)):
        if text.endswith(suffix):
            return -(-int(text.removesuffix(suffix)) // parts)
    for suffix, size in SUFFIXES.items():
        if text.endswith(suffix):
            return round(float(text.removesuffix(suffix)) * size * 1000)
    return round(float(text) * 1000)


def whole(quantity: str | int) -> int:
    """Return a quantity in whole units, rounded up.

    >>> whole("16Gi"), whole("1500m"), whole("3")
    (17179869184, 2, 3)
    """
    return -(-milli(quantity) // 1000)


def mark(meta: Json) -> Mark | None:
    """Return whose an object is; None when it is not an island's."""
    labels, notes = meta.get("labels") or {}, meta.get("annotations") or {}
    if ISLAND not in labels or TAG not in labels or not str(notes.get(FENCE, "")).isdecimal():
        return None
    return Mark(
        island=labels[ISLAND], tag=labels[TAG], job=notes.get(JOB, ""), fence=int(notes[FENCE])
    )


def jobs(listed: Json, *, kind: str = JOBS) -> tuple[JobSeen, ...]:
    """Return the Jobs, or JobSets, of a list that are an island's."""
    return tuple(_jobs(listed, kind))


def _jobs(listed: Json, kind: str) -> Iterable[JobSeen]:
    for one in listed.get("items") or ():
        whose = mark(one["metadata"])
        if whose is None:
            continue
        said = conditions(one)
        failed = said.get("Failed") or said.get("FailureTarget")
        yield JobSeen(
            kind=kind,
            name=one["metadata"]["name"],
            mark=whose,
            failed=failed is not None,
            succeeded="Complete" in said or "Completed" in said,
            reason=str(failed.get("reason") or "") if failed else "",
            suspended=bool(one["spec"].get("suspend")),
            leaving=bool(one["metadata"].get("deletionTimestamp")),
        )


def conditions(one: Json) -> dict[str, Json]:
    """Return the conditions of an object that hold, by type."""
    listed = (one.get("status") or {}).get("conditions") or ()
    return {said["type"]: said for said in listed if said.get("status") == "True"}


def pods(listed: Json) -> tuple[PodSeen, ...]:
    """Return the pods of a list that have the label of a submission."""
    return tuple(
        _pod(one)
        for one in listed.get("items") or ()
        if TAG in (one["metadata"].get("labels") or {})
    )


def _pod(one: Json) -> PodSeen:
    meta, status = one["metadata"], one.get("status") or {}
    states = [said.get("state") or {} for said in status.get("containerStatuses") or ()]
    state = states[0] if states else {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    notes = meta.get("annotations") or {}
    labels = meta["labels"]
    holds = conditions(one)
    return PodSeen(
        name=meta["name"],
        tag=labels[TAG],
        rank=int(labels.get(RANK) or notes.get(INDEX) or labels.get(INDEX) or 0),
        phase=status.get("phase") or "Pending",
        node=one["spec"].get("nodeName") or "",
        unschedulable=_unschedulable(status),
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        waiting=waiting.get("reason") or "",
        waiting_message=waiting.get("message") or "",
        ended=ended.get("reason") or "",
        code=ended.get("exitCode"),
        words=ended.get("message") or "",
        disrupted=str((holds.get("DisruptionTarget") or {}).get("reason") or ""),
        ready="Ready" in holds,
        leaving=bool(meta.get("deletionTimestamp")),
        address=status.get("podIP") or "" if not one["spec"].get("hostNetwork") else "",
    )


def _unschedulable(status: Json) -> str:
    for said in status.get("conditions") or ():
        if said["type"] == "PodScheduled" and said["status"] == "False":
            return str(said.get("message") or said.get("reason") or "")
    return ""


def events(listed: Json) -> tuple[Told, ...]:
    """Return events, the newest last."""
    found = sorted(listed.get("items") or (), key=lambda one: str(one.get("lastTimestamp") or ""))
    return tuple(
        Told(
            about=one["involvedObject"].get("name") or "",
            reason=one.get("reason") or "",
            message=one.get("message") or "",
        )
        for one in found
    )


def nodes(listed: Json) -> tuple[Node, ...]:
    """Return nodes."""
    return tuple(_node(one) for one in listed.get("items") or ())


def _node(one: Json) -> Node:
    status = one.get("status") or {}
    has = status.get("allocatable") or {}
    spec, info = one.get("spec") or {}, status.get("nodeInfo") or {}
    taints = [
        (said["key"], said.get("value") or "", said["effect"]) for said in spec.get("taints") or ()
    ]
    return Node(
        name=one["metadata"]["name"],
        ready="Ready" in conditions(one) and not spec.get("unschedulable"),
        cpu_milli=milli(has.get("cpu", 0)),
        memory_bytes=whole(has.get("memory", 0)),
        disk_bytes=whole(has.get("ephemeral-storage", 0)),
        resources={name: whole(count) for name, count in has.items() if "/" in name},
        labels=one["metadata"].get("labels") or {},
        taints=tuple(taint for taint in taints if taint[2] != "PreferNoSchedule"),
        os=info.get("osImage") or "",
        architecture=info.get("architecture") or "",
    )


def quotas(listed: Json) -> tuple[Quota, ...]:
    """Return the quotas of the namespace that hold for all its pods."""
    found = []
    for one in listed.get("items") or ():
        spec, status = one.get("spec") or {}, one.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        hard, used = status.get("hard") or spec.get("hard") or {}, status.get("used") or {}
        found.append(
            Quota(
                name=one["metadata"]["name"],
                hard={name: milli(amount) for name, amount in hard.items()},
                used={name: milli(amount) for name, amount in used.items()},
            )
        )
    return tuple(found)


def requested(listed: Json, *, accelerators: Iterable[str]) -> Capacity:
    """Return what pods that are not an island's ask for."""
    kinds = frozenset(accelerators)
    cpu = memory = devices = 0
    for one in listed.get("items") or ():
        labels, phase = one["metadata"].get("labels") or {}, (one.get("status") or {}).get("phase")
        if TAG in labels or phase in ("Succeeded", "Failed"):
            continue
        for container in one["spec"].get("containers") or ():
            asks = container.get("resources") or {}
            wants = {**(asks.get("limits") or {}), **(asks.get("requests") or {})}
            cpu += milli(wants.get("cpu", 0))
            memory += whole(wants.get("memory", 0))
            devices += sum(whole(count) for name, count in wants.items() if name in kinds)
    return Capacity(cpu_milli=cpu, memory_bytes=memory, accelerators=devices)


def groups(listed: Json) -> frozenset[str]:
    """Return the API groups that are served, with their versions.

    >>> groups({"groups": [{"versions": [{"groupVersion": "batch/v1"}]}]})
    frozenset({'batch/v1'})
    """
    return frozenset(
        version["groupVersion"]
        for group in listed.get("groups") or ()
        for version in group["versions"]
    )
