"""What an adapter of Ray knows of a cluster. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class JobState(StrEnum):
    """Ray's states of a job, as its Jobs API writes them."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


FINAL = frozenset({JobState.STOPPED, JobState.SUCCEEDED, JobState.FAILED})
"""Nothing changes any more in Ray's eyes."""
DEVICES = ("GPU", "NPU", "HPU", "TPU", "neuron_cores")
"""Names under which Ray counts accelerators; a node has one kind."""
TYPE = "accelerator_type:"
"""How the resource begins that tells a node's kind of accelerator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Whose a job of Ray is, from its metadata."""

    island: str
    tag: str
    job: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """What Ray says of one job of ours."""

    id: str
    """Its submission id, which we chose."""
    state: JobState
    mark: Mark
    message: str = ""
    error: str = ""
    """Ray's own token for what went wrong; empty: nothing, or an older Ray."""
    exit_code: int | None = None
    """Of the entrypoint, once that has ended by itself."""
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node that is alive."""

    id: str
    address: str
    total: Mapping[str, float] = field(default_factory=dict)
    """Resource -> how much of it the node has."""
    used: Mapping[str, float] = field(default_factory=dict)
    """Of CPU, memory and accelerators."""
    head: bool = False

    @property
    def device(self) -> str:
        """The name under which its accelerators are counted; empty: it has none."""
        return next((name for name in DEVICES if self.total.get(name, 0) >= 1), "")

    @property
    def accelerators(self) -> int:
        """How many accelerators it has."""
        return int(self.total.get(self.device, 0)) if self.device else 0

    @property
    def type(self) -> str:
        """What Ray calls their kind; empty: it tells none."""
        for name, amount in sorted(self.total.items()):
            if name.startswith(TYPE) and amount > 0:
                return name.removeprefix(TYPE)
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What stays while the head stays."""

    version: str
    session: str = ""
    """Ray's name of this life of the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A cluster as it was seen last."""

    cluster: Cluster
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one rank asks for, in Ray's own terms."""

    cpus: float
    memory_bytes: int
    gpus: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    """Everything else, other kinds of accelerators included."""

    def plain(self) -> dict[str, float]:
        """Return it as one table of Ray's names."""
        named = {"CPU": self.cpus, "memory": float(self.memory_bytes), "GPU": float(self.gpus)}
        return {name: amount for name, amount in {**named, **self.resources}.items() if amount > 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One job to be submitted."""

    id: str
    entrypoint: str
    metadata: Mapping[str, str]
    need: Need | None
    """What the entrypoint itself holds; None: nothing, its placement group holds it all."""
