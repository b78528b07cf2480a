"""Jobs as Slurm sees them: numbers, states, reasons and times, from what the API says of a job.

Slurm has no word for some of our states, nor we for some of its: the tables here are the whole
translation, and `docs/slurm-commands.md` shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

NO_NUMBERS: Mapping[str, str] = {}
ANY = "any"
"""The partition of jobs that may run on any island."""
COMPACT = {
    "PENDING": "PD", "CONFIGURING": "CF", "RUNNING": "R", "COMPLETING": "CG", "COMPLETED": "CD",
    "FAILED": "F", "CANCELLED": "CA", "TIMEOUT": "TO", "OUT_OF_MEMORY": "OOM", "NODE_FAIL": "NF",
    "PREEMPTED": "PR",
}  # fmt: skip
OTHER_STATES = (
    "SUSPENDED", "BOOT_FAIL", "DEADLINE", "RESIZING", "RESV_DEL_HOLD", "REQUEUED", "REQUEUE_FED",
    "REQUEUE_HOLD", "REVOKED", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED",
)  # fmt: skip
"""States of Slurm that no job has here."""
LIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
_STATES = {
    "pending": "PENDING", "queued": "PENDING", "placed": "CONFIGURING", "starting": "CONFIGURING",
    "running": "RUNNING", "disconnected": "RUNNING", "stopping": "COMPLETING",
    "succeeded": "COMPLETED", "cancelled": "CANCELLED",
}  # fmt: skip
_FAILURES = {
    "user": "FAILED", "limit": "TIMEOUT", "engine": "NODE_FAIL", "node": "NODE_FAIL",
    "island": "NODE_FAIL", "preemption": "PREEMPTED", "refused": "FAILED",
}  # fmt: skip
_ENDS = {
    "FAILED": "NonZeroExitCode", "TIMEOUT": "TimeLimit", "OUT_OF_MEMORY": "OutOfMemory",
    "NODE_FAIL": "NodeDown", "PREEMPTED": "Preempted",
}  # fmt: skip
_REASONS = {
    "capacity": "Resources", "fencing": "Resources", "stale": "ReqNodeNotAvail",
    "too_small": "PartitionConfig", "accelerator": "BadConstraints", "constraint": "BadConstraints",
    "law": "BadConstraints", "owner_policy": "AccountNotAllowed", "isolation": "BadConstraints",
    "image": "BadConstraints", "rental": "BadConstraints", "spot_refused": "BadConstraints",
    "price_cap": "BadConstraints",
    "budget": "AssocGrpBillingMinutes", "quota": "AssocGrpCpuLimit", "fair_share": "Priority",
    "priority": "Priority", "array_limit": "JobArrayTaskLimit", "dependency": "Dependency",
    "data_gravity": "Resources",
    "better_hour": "BeginTime",
    "backoff": "BeginTime", "no_islands": "PartitionDown", "cordoned": "ReqNodeNotAvail",
    "unhealthy": "ReqNodeNotAvail", "sibling": "Resources", "deadline": "DeadLine",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job. Times are milliseconds since the epoch; 0: not yet."""

    id: str
    """As people write it: `12`, `12_3`, `12_[0-9%2]`."""
    number: int
    array: int
    """Number of the array; of a job in none, its own."""
    index: str
    """Within the array; `N/A` in none."""
    urn: str
    name: str
    tenant: str
    owner: str
    """The token that submitted it."""
    state: str
    reason: str
    why: str
    """Our own sentence."""
    partition: str
    island: str
    nodes: int
    cpus: int
    """Of all nodes."""
    memory_bytes: int
    """Of one node."""
    accelerators: int
    """Of one node."""
    limit_s: float
    """0: none."""
    priority: int
    restarts: int
    exit_code: int
    submitted_ms: int
    started_ms: int
    ended_ms: int
    waits_for: tuple[str, ...]
    """Jobs that it waits for."""

    @property
    def compact(self) -> str:
        """The state's short form."""
        return COMPACT[self.state]

    @property
    def exits(self) -> str:
        """Exit code and signal, as sacct writes them."""
        code = self.exit_code
        if code < 0:
            return f"0:{-code}"
        return f"0:{code - 128}" if 128 < code < 160 else f"{code}:0"

    def elapsed_s(self, now_ms: int) -> int:
        """Seconds that it ran so far, or ran."""
        if not self.started_ms:
            return 0
        return max(0, ((self.ended_ms or now_ms) - self.started_ms) // 1000)

    def end_ms(self, *, limited: bool = True) -> int:
        """When it ended, or will at the latest; 0: nobody knows."""
        if self.ended_ms or not (limited and self.started_ms and self.limit_s):
            return self.ended_ms
        return self.started_ms + round(self.limit_s * 1000)


def row(
    job: Mapping[str, Any], *, owed: bool = False, numbers: Mapping[str, str] = NO_NUMBERS
) -> Row:
    """Return a job as Slurm sees it. `owed`: its files have not come back yet, so nobody may take
    it for ended. `numbers`: of the jobs that it waits for, by URN."""
    asked, reasons = job["asked"], job["reasons"]
    index = asked["array_index"]
    in_array = index >= 0
    array = job["group_number"] if in_array and job["group_number"] else job["number"]
    state = _state(job)
    if owed and state not in LIVE:
        state = "COMPLETING"
    return Row(
        id=f"{array}_{index}" if in_array else str(array),
        number=job["number"],
        array=array,
        index=str(index) if in_array else "N/A",
        urn=job["id"],
        name=job["name"].removesuffix(f"-{index}") if in_array else job["name"],
        tenant=job["tenant"],
        owner=job["submitted_by"],
        state=state,
        reason=_reason(state, job),
        why=reasons[0]["message"] if reasons else "",
        partition=partition_of(asked["where"]),
        island=job["island"].rpartition(":")[2],
        nodes=asked["num_nodes"],
        cpus=max(1, -(-asked["cpu_milli"] // 1000)) * asked["num_nodes"],
        memory_bytes=asked["memory_bytes"],
        accelerators=asked["accelerators"],
        limit_s=asked["time_limit_s"],
        priority=asked["priority"],
        restarts=max(0, job["fence"] - 1),
        # How a program ended that was told to end says nothing of it; Slurm writes 0:0 then too.
        exit_code=(job["exit_code"] or 0) if state in ("FAILED", "OUT_OF_MEMORY") else 0,
        submitted_ms=job["submitted_ms"],
        started_ms=0 if state in ("PENDING", "CONFIGURING") else job["started_ms"],
        ended_ms=0 if owed else job["ended_ms"],
        waits_for=tuple(numbers.get(urn, urn) for urn in asked["depends_on"]),
    )


def partition_of(where: str) -> str:
    """Return the partition that a `where` expression of ours stands for.

    >>> partition_of("island == 'alba' or island == 'boreal'")
    'alba,boreal'
    """
    pieces = [piece.partition(" == ") for piece in where.split(" or ")]
    if where and all(name == "island" for name, _, _ in pieces):
        return ",".join(value.strip("'\"") for _, _, value in pieces)
    return ANY


def where_of(partitions: Iterable[str]) -> str:
    """Return the `where` expression of a list of partitions; empty for any."""
    names = [name for name in partitions if name]
    if ANY in names:
        return ""
    return " or ".join(f"island == '{name}'" for name in names)


def _state(job: Mapping[str, Any]) -> str:
    state = job["state"]
    if state != "failed":
        return _STATES[state]
    if job["failure"] is None:
        # It never ran: what it needed failed.
        return "CANCELLED"
    if job["failure"] == "limit" and any("memory" in r["message"] for r in job["reasons"]):
        return "OUT_OF_MEMORY"
    return _FAILURES[job["failure"]]


def _reason(state: str, job: Mapping[str, Any]) -> str:
    if state == "PENDING":
        if job["state"] == "pending":
            return "Dependency"
        tokens = [reason["token"] for reason in job["reasons"] if reason["severity"] != "info"]
        return _REASONS.get(tokens[0], "Resources") if tokens else "None"
    if state == "CANCELLED" and job["state"] == "failed":
        return "DependencyNeverSatisfied"
    return _ENDS.get(state, "None")


def collapsed(rows: Iterable[Row], at_once: Mapping[int, int]) -> list[Row]:
    """Return the rows with the members of each array that wait for the same reason as one.
    `at_once`: array -> most members that run at the same time."""
    found: list[Row] = []
    waiting: dict[tuple[int, str], list[Row]] = {}
    for one in rows:
        if one.state != "PENDING" or one.index == "N/A":
            found.append(one)
            continue
        group = waiting.setdefault((one.array, one.reason), [])
        if not group:
            found.append(one)
        group.append(one)
    return [
        _as_one(waiting[one.array, one.reason], at_once.get(one.array, 0))
        if one.state == "PENDING" and one.index != "N/A"
        else one
        for one in found
    ]


def _as_one(members: list[Row], most: int) -> Row:
    text = ranges(sorted(int(one.index) for one in members)) + (f"%{most}" if most else "")
    first = members[0]
    return replace(first, id=f"{first.array}_[{text}]", number=first.array, index=text)


def ranges(numbers: list[int]) -> str:
    """Write sorted numbers shortly.

    >>> ranges([0, 1, 2, 5, 7, 8])
    '0-2,5,7-8'
    """
    pieces: list[str] = []
    start = last = -2
    for number in [*numbers, -1]:
        if number == last + 1:
            last = number
            continue
        if last >= 0:
            pieces.append(str(start) if start == last else f"{start}-{last}")
        start = last = number
    return ",".join(pieces)
