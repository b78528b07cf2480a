"""Kubernetes, as `kubectl get pods,events --all-namespaces -o json` prints it.

A pod is a job: it arrived when it was made, and ran from its first container's start to its last
container's end. Pods of one pod group (`scheduling.k8s.io/pod-group`, or Volcano's
`scheduling.volcano.sh/group-name`) are one gang. Events add only what the list of pods has lost:
the end of a pod that was killed. A pod of which nothing but events is left is set aside, since no
event says what it asked for; a cluster forgets pods and events soon, so such a file has to be
written regularly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from causeway.model.errors import InvalidInput
from causeway.twin.traces.text import instant, listed
from causeway.twin.traces.trace import Row

GROUPS = ("scheduling.k8s.io/pod-group", "scheduling.volcano.sh/group-name")
ENDS = frozenset({"Killing", "Completed", "Preempted", "Evicted"})
_UNITS = {
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


def pods(path: Path) -> Iterator[Row]:
    """Yield the jobs of a list of pods and events."""
    items = listed(path, "items")
    ends = _ends(items)
    gangs: dict[str, Row] = {}
    known = set()
    for number, item in enumerate(items, start=1):
        if item.get("kind") != "Pod":
            continue
        meta = item["metadata"]
        known.add((meta.get("namespace", ""), meta.get("name", "")))
        try:
            row = _row(number, item, ends)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"{path.name}: the pod {meta.get('name', '')} cannot be read: {error!r}",
                where=f"$.items[{number - 1}]",
            ) from error
        gang = _gang(meta)
        if not gang:
            yield row
        else:
            gangs[gang] = _together(gangs[gang], row) if gang in gangs else row
    yield from gangs.values()
    for namespace, name in sorted(ends.keys() - known):
        yield replace(_LOST, tenant=namespace, arrival_s=ends[namespace, name])


_LOST = Row(
    line=0,
    arrival_s=0.0,
    duration_s=math.nan,
    devices=0.0,
    aside="only events are left of it, and they do not say what it asked for",
)


def _ends(items: list[Any]) -> dict[tuple[str, str], float]:
    """Return when events say that pods ended."""
    found: dict[tuple[str, str], float] = {}
    for item in items:
        about = item.get("involvedObject", {})
        if item.get("kind") == "Event" and about.get("kind") == "Pod" and item["reason"] in ENDS:
            at_s = instant(item.get("lastTimestamp") or item.get("eventTime") or "")
            if at_s is not None:
                found[about.get("namespace", ""), about["name"]] = at_s
    return found


def _row(number: int, item: Mapping[str, Any], ends: Mapping[tuple[str, str], float]) -> Row:
    meta, status = item["metadata"], item.get("status", {})
    began, ended = [], []
    for container in status.get("containerStatuses", []):
        for state in container.get("state", {}).values():
            began.append(instant(state.get("startedAt") or "") or math.nan)
            ended.append(instant(state.get("finishedAt") or "") or math.nan)
    start_s = min(began, default=math.nan)
    end_s = max(ended, default=math.nan)
    if math.isnan(end_s):
        end_s = ends.get((meta.get("namespace", ""), meta.get("name", "")), math.nan)
    aside = "it never began" if math.isnan(start_s) else ""
    if not aside and math.isnan(end_s):
        aside = "it has not ended"
    asked = _asked(item["spec"])
    limit_s = item["spec"].get("activeDeadlineSeconds")
    return Row(
        line=number,
        arrival_s=_instant(meta["creationTimestamp"]),
        duration_s=end_s - start_s,
        devices=sum(amount for name, amount in asked.items() if "gpu" in name),
        tenant=str(meta.get("namespace", "")),
        cpus=asked.get("cpu", 0.0),
        memory_mib=asked.get("memory", 0.0) / 2.0**20,
        limit_s=math.nan if limit_s is None else float(limit_s),
        aside=aside,
    )


def _asked(spec: Mapping[str, Any]) -> dict[str, float]:
    """Return what a pod's containers ask for together."""
    found: dict[str, float] = {}
    for container in spec["containers"]:
        resources = container.get("resources", {})
        for name, text in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
            found[name] = found.get(name, 0.0) + quantity(str(text))
    return found


def quantity(text: str) -> float:
    """Return a quantity as Kubernetes writes it.

    >>> quantity("500m"), quantity("2"), quantity("1Gi"), quantity("2e3")
    (0.5, 2.0, 1073741824.0, 2000.0)
    """
    for length in (2, 1):
        if text[-length:] in _UNITS:
            return float(text[:-length]) * _UNITS[text[-length:]]
    return float(text)


def _instant(text: str) -> float:
    found = instant(text)
    if found is None:
        raise ValueError(f"{text!r} is no date and time")
    return found


def _gang(meta: Mapping[str, Any]) -> str:
    said = {**meta.get("labels", {}), **meta.get("annotations", {})}
    name = next((said[key] for key in GROUPS if key in said), "")
    return f"{meta.get('namespace', '')}/{name}" if name else ""


def _together(first: Row, second: Row) -> Row:
    """Return two pods of a gang as one job: it is there from the first to the last."""
    return replace(
        first,
        arrival_s=min(first.arrival_s, second.arrival_s),
        duration_s=max(first.duration_s, second.duration_s),
        devices=first.devices + second.devices,
        cpus=first.cpus + second.cpus,
        memory_mib=first.memory_mib + second.memory_mib,
        aside=first.aside or second.aside,
    )
