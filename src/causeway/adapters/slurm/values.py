"""What an adapter of Slurm knows of a cluster, whichever way it was asked. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Slurm's base states of a job, as its commands write them."""

    PENDING = "PENDING"
    CONFIGURING = "CONFIGURING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETING = "COMPLETING"
    STAGE_OUT = "STAGE_OUT"
    SIGNALING = "SIGNALING"
    STOPPED = "STOPPED"
    RESIZING = "RESIZING"
    REQUEUED = "REQUEUED"
    REQUEUE_HOLD = "REQUEUE_HOLD"
    REQUEUE_FED = "REQUEUE_FED"
    RESV_DEL_HOLD = "RESV_DEL_HOLD"
    SPECIAL_EXIT = "SPECIAL_EXIT"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    DEADLINE = "DEADLINE"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    PREEMPTED = "PREEMPTED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    REVOKED = "REVOKED"


FINAL = frozenset(
    {
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMEOUT,
        JobState.DEADLINE,
        JobState.NODE_FAIL,
        JobState.BOOT_FAIL,
        JobState.PREEMPTED,
        JobState.OUT_OF_MEMORY,
        JobState.REVOKED,
    }
)
"""Nothing of the job runs any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gres:
    """An amount of one generic resource."""

    name: str
    """`gpu`, ..."""
    type: str = ""
    """`h100`; empty where the cluster does not tell them apart."""
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of the cluster."""

    name: str
    state: str
    """Base state: `IDLE`, `MIXED`, `ALLOCATED`, `DOWN`, ..."""
    flags: tuple[str, ...] = ()
    """`DRAIN`, `MAINTENANCE`, `NOT_RESPONDING`, ..."""
    cpus: int = 0
    cpus_used: int = 0
    memory_mib: int = 0
    memory_used_mib: int = 0
    gres: tuple[Gres, ...] = ()
    gres_used: tuple[Gres, ...] = ()
    partitions: tuple[str, ...] = ()
    architecture: str = ""
    os: str = ""
    version: str = ""

    @property
    def gpus(self) -> int:
        """How many GPUs it has."""
        return sum(one.count for one in self.gres if one.name == "gpu")

    @property
    def gpus_used(self) -> int:
        """How many of them are handed out."""
        return sum(one.count for one in self.gres_used if one.name == "gpu")

    @property
    def usable(self) -> bool:
        """Whether new work may start on it once it is free."""
        return self.state in USABLE and not UNUSABLE.intersection(self.flags)


USABLE = frozenset({"IDLE", "MIXED", "ALLOCATED", "COMPLETING"})
UNUSABLE = frozenset(
    {"DRAIN", "FAIL", "MAINTENANCE", "NOT_RESPONDING", "REBOOT_ISSUED", "INVALID_REG", "RESERVED"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition."""

    name: str
    up: bool
    state: str = "UP"
    default: bool = False
    time_max_s: int = 0
    """0: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """What Slurm says of one job of ours."""

    id: int
    state: JobState
    reason: str = ""
    """Slurm's own token; empty: none."""
    exit_status: int = 0
    """As `wait` reports it: code x 256 + signal."""
    nodes: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounted:
    """What Slurm's accounting says that a job used."""

    id: int
    cpu_ms: int
    """User and system time of all its steps."""
    state: str = ""
    over: bool = False
    """Whether the job has ended there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What does not change while the cluster's configuration stays."""

    name: str
    version: str
    accounting: bool
    """Whether finished jobs are recorded (slurmdbd)."""
    confined: bool
    """Whether the kernel holds jobs to their memory and cores (cgroups)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A cluster as it was seen last; nothing of it: it never was."""

    cluster: Cluster = Cluster(name="", version="", accounting=False, confined=False)
    nodes: tuple[Node, ...] = ()
    partitions: tuple[Partition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One job to be submitted."""

    name: str
    comment: str
    script: str
    folder: str
    """Where it starts."""
    output: str
    """File for what the script itself says."""
    nodes: int
    cpus: int
    """On each node."""
    memory_mib: int
    """On each node."""
    gres: str = ""
    """On each node: `gpu:h100:2`."""
    time_min: int = 0
    """0: as the partition says."""
    partition: str = ""
    account: str = ""
    qos: str = ""
    reservation: str = ""
    constraint: str = ""
    extra: tuple[str, ...] = ()
    """Further options of sbatch."""
