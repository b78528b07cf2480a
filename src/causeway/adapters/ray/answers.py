"""What Ray's dashboard says, as values. Pure. Recorded from Ray 2.60.0.

Whatever of an answer is not there counts as unknown, never as zero of something that was asked
for. Jobs that are not ours, and nodes that are not alive, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from causeway.adapters.ray.values import DEVICES, Cluster, JobRow, JobState, Mark, Node

KEY = "causeway"
"""Beginning of the names of our metadata."""
FORMAT = "1"
USED = ("CPU", "memory", *DEVICES)
TEXT_MAX = 2_000
STATES = frozenset(state.value for state in JobState)
Plain = Mapping[str, Any]


def metadata(mark: Mark, *, name: str) -> dict[str, str]:
    """Return what a job's metadata say of it; `parse_mark` reads it."""
    return {
        KEY: FORMAT,
        f"{KEY}_island": mark.island,
        f"{KEY}_tag": mark.tag,
        f"{KEY}_job": mark.job,
        f"{KEY}_fence": str(mark.fence),
        "job_name": name,
    }


def parse_mark(said: Any) -> Mark | None:
    """Return the mark in a job's metadata; None when the job is not ours.

    >>> parse_mark({"owner": "me"}), parse_mark(None)
    (None, None)
    """
    if not isinstance(said, Mapping) or said.get(KEY) != FORMAT:
        return None
    fence = str(said.get(f"{KEY}_fence", ""))
    if not fence.isdecimal():
        return None
    return Mark(
        island=str(said.get(f"{KEY}_island", "")),
        tag=str(said.get(f"{KEY}_tag", "")),
        job=str(said.get(f"{KEY}_job", "")),
        fence=int(fence),
    )


def jobs(said: Iterable[Plain]) -> tuple[JobRow, ...]:
    """Return our jobs of `GET /api/jobs/`."""
    found = []
    for one in said:
        mark, state = parse_mark(one.get("metadata")), str(one.get("status"))
        if mark is None or state not in STATES or not one.get("submission_id"):
            continue
        code = one.get("driver_exit_code")
        found.append(
            JobRow(
                id=str(one["submission_id"]),
                state=JobState(state),
                mark=mark,
                message=str(one.get("message") or "")[-TEXT_MAX:],
                error=str(one.get("error_type") or ""),
                exit_code=code if isinstance(code, int) else None,
                node=str(one.get("driver_node_id") or ""),
            )
        )
    return tuple(found)


def nodes(state: Plain, status: Plain) -> tuple[Node, ...]:
    """Return the nodes of `GET /api/v0/nodes?detail=1`, with what is used of them by
    `GET /api/cluster_status`."""
    found = ((state.get("data") or {}).get("result") or {}).get("result") or ()
    report = ((status.get("data") or {}).get("clusterStatus") or {}).get("loadMetricsReport") or {}
    usage = report.get("usageByNode") or {}
    return tuple(
        _node(one, usage.get(one.get("node_id")) or {})
        for one in found
        if one.get("state") == "ALIVE"
    )


def _node(said: Plain, usage: Plain) -> Node:
    total = said.get("resources_total") or {}
    used = {name: usage.get(_camel(name)) for name in USED}
    return Node(
        id=str(said.get("node_id", "")),
        address=str(said.get("node_ip", "")),
        total={str(name): float(amount) for name, amount in total.items()},
        used={name: float(pair[0]) for name, pair in used.items() if pair},
        head=bool(said.get("is_head_node")),
    )


def _camel(name: str) -> str:
    """Return a resource's name as the dashboard writes keys there.

    >>> _camel("GPU"), _camel("neuron_cores")
    ('GPU', 'neuronCores')
    """
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def cluster(said: Plain) -> Cluster:
    """Return what `GET /api/version` says."""
    return Cluster(
        version=str(said.get("ray_version") or ""), session=str(said.get("session_name") or "")
    )


def last_line(text: str) -> str:
    """Return the last line of a traceback or a message that says something.

    >>> last_line("Traceback:\\n  File x\\nValueError: Job a already exists.\\n.\\n")
    'ValueError: Job a already exists.'
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    return next((line for line in reversed(lines) if len(line) > 1), "")[:300]
