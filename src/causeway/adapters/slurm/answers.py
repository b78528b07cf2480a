"""What slurmrestd says, as values, and what it is told. Pure.

Two dialects. `v0.0.38` and `v0.0.39` write plain numbers and words; recorded from slurmrestd
22.05.8 (v0.0.38). From `v0.0.40` on a state is a list of flags, and a number that may be unset or
infinite is an object; written as SchedMD describes it, as far as we know, and not tried against a
daemon. Whatever of an answer is not there counts as unknown, never as zero of something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causeway.adapters.slurm import texts
from causeway.adapters.slurm.values import FINAL, Accounted, JobRow, Node, Order, Partition

PLAIN = ("v0.0.38", "v0.0.39")
OBJECTS = ("v0.0.40", "v0.0.41", "v0.0.42", "v0.0.43")
VERSIONS = (*PLAIN, *OBJECTS)
PATH = "/usr/local/bin:/usr/bin:/bin"
MINUTE_S = 60
Plain = Mapping[str, Any]


def newest(paths: Sequence[str]) -> str:
    """Return the newest version that both sides know, from the paths that the daemon serves.

    >>> newest(["/slurm/v0.0.36/jobs", "/slurm/v0.0.38/jobs"]), newest(["/slurm/v0.0.12/jobs"])
    ('v0.0.38', '')
    """
    there = {path.split("/")[2] for path in paths if path.startswith("/slurm/")}
    return max(there.intersection(VERSIONS), default="")


def number(said: Any, *, unset: int = 0) -> int:
    """Return a number of either dialect; what is unset or infinite is `unset`.

    >>> number(5), number({"set": True, "infinite": False, "number": 7}), number({"set": False})
    (5, 7, 0)
    """
    if isinstance(said, Mapping):
        usable = said.get("set") and not said.get("infinite")
        said = said.get("number") if usable else None
    return int(said) if isinstance(said, int) and said >= 0 else unset


def flags(said: Any) -> tuple[str, ...]:
    """Return a state or flags of either dialect as upper-case words.

    >>> flags("idle"), flags(["IDLE", "DRAIN"]), flags(None)
    (('IDLE',), ('IDLE', 'DRAIN'), ())
    """
    words = [said] if isinstance(said, str) else said or []
    return tuple(str(word).upper() for word in words)


def nodes(body: Plain) -> tuple[Node, ...]:
    """Return the nodes of `GET /slurm/<version>/nodes`."""
    return tuple(_node(one) for one in body.get("nodes", ()))


def _node(said: Plain) -> Node:
    state, *more = flags(said.get("state")) or ("UNKNOWN",)
    return Node(
        name=said["name"],
        state=state,
        flags=(*more, *flags(said.get("state_flags"))),
        cpus=number(said.get("effective_cpus")) or number(said.get("cpus")),
        cpus_used=number(said.get("alloc_cpus")),
        memory_mib=number(said.get("real_memory")),
        memory_used_mib=number(said.get("alloc_memory")),
        gres=texts.gres(said.get("gres") or ""),
        gres_used=texts.gres(said.get("gres_used") or ""),
        partitions=tuple(said.get("partitions") or ()),
        architecture=said.get("architecture") or "",
        os=said.get("operating_system") or "",
        version=said.get("version") or said.get("slurmd_version") or "",
    )


def partitions(body: Plain) -> tuple[Partition, ...]:
    """Return the partitions of `GET /slurm/<version>/partitions`."""
    return tuple(_partition(one) for one in body.get("partitions", ()))


def _partition(said: Plain) -> Partition:
    inner = said.get("partition")
    state = flags(inner.get("state") if isinstance(inner, Mapping) else said.get("state"))
    most = said.get("maximums")
    time = most.get("time") if isinstance(most, Mapping) else said.get("max_time_limit")
    return Partition(
        name=said["name"],
        up=state == ("UP",),
        state=state[0] if state else "UNKNOWN",
        default="DEFAULT" in flags(said.get("flags")),
        time_max_s=number(time) * MINUTE_S,
    )


def jobs(body: Plain, *, user: str) -> tuple[JobRow, ...]:
    """Return the user's jobs of `GET /slurm/<version>/jobs`."""
    return tuple(_job(one) for one in body.get("jobs", ()) if one.get("user_name") == user)


def _job(said: Plain) -> JobRow:
    reason = said.get("state_reason") or ""
    state = flags(said.get("job_state")) or ("PENDING",)
    # A job that ends carries COMPLETING beside its last state: its processes are not gone yet.
    shown = "COMPLETING" if "COMPLETING" in state else state[0]
    return JobRow(
        id=number(said["job_id"]),
        state=texts.state(shown),
        reason="" if reason in texts.NONE else reason,
        exit_status=_status(said.get("exit_code")),
        nodes=said.get("nodes") or "",
        comment=said.get("comment") or "",
    )


def _status(said: Any) -> int:
    """Return an exit status as `wait` reports it, from either dialect."""
    if not isinstance(said, Mapping):
        return number(said)
    signal = said.get("signal") or {}
    return number(said.get("return_code")) * 256 + number(signal.get("id"))


def accounted(body: Plain) -> tuple[Accounted, ...]:
    """Return the jobs of `GET /slurmdb/<version>/job/<id>`."""
    found = []
    for said in body.get("jobs", ()):
        time = said.get("time") or {}
        total = time.get("total") or {}
        current = flags((said.get("state") or {}).get("current"))
        state = current[0] if current else ""
        found.append(
            Accounted(
                id=number(said["job_id"]),
                cpu_ms=number(total.get("seconds")) * 1000
                + number(total.get("microseconds")) // 1000,
                state=state,
                over=number(time.get("end")) > 0 and texts.state(state) in FINAL,
            )
        )
    return tuple(found)


def submission(order: Order, version: str) -> dict[str, Any]:
    """Return the body of `POST /slurm/<version>/job/submit`."""
    plain = version in PLAIN
    job: dict[str, Any] = {
        "name": order.name,
        "comment": order.comment,
        "current_working_directory": order.folder,
        "standard_output": order.output,
        "environment": {"PATH": PATH} if plain else [f"PATH={PATH}"],
        "tasks": order.nodes,
        "tasks_per_node": 1,
        "cpus_per_task": order.cpus,
        "memory_per_node": order.memory_mib if plain else _set(order.memory_mib),
        "nodes": order.nodes if plain else str(order.nodes),
        "requeue": False,
    }
    if order.gres:
        job |= {"gres": order.gres} if plain else {"tres_per_node": f"gres/{order.gres}"}
    if order.time_min:
        job["time_limit"] = order.time_min if plain else _set(order.time_min)
    wishes = {
        "partition": order.partition,
        "account": order.account,
        "qos": order.qos,
        "reservation": order.reservation,
        "constraints": order.constraint,
    }
    job |= {name: wish for name, wish in wishes.items() if wish}
    return {"script": order.script, "job": job}


def _set(value: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": value}


def trouble(body: Plain) -> str:
    """Return what went wrong, in the daemon's words; nothing when nothing did."""
    said = [
        one.get("description") or one.get("error") or f"error {one.get('error_number')}"
        for one in body.get("errors") or ()
    ]
    return "; ".join(said)
