"""The engine: what runs an attempt at an island. One adapter per outside thing.

An engine is asked to start, observe and stop; it decides nothing. Calls return at once: progress is
seen through `poll`. Everything that it reports must stay reportable until `forget`.

There are two kinds. Of one, nothing outlives the agent: a restarted agent finds none of its
attempts. The other (`outlives`) hands work to a system that goes on without the agent (Slurm, Ray,
Kubernetes). It finds its attempts again under their keys when it is opened anew, and it ends by
itself every `deadline_stop` attempt whose lease was not granted further, also while the agent is
dead or cut off from where the attempt runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from causeway.model.islands import Inventory
from causeway.model.jobs import FailureClass, JobSpec
from causeway.model.resources import Capacity
from causeway.model.usage import EnergyQuality


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything that the engine needs to start one attempt."""

    job: str
    """The job's identifier (a URN)."""
    fence: int
    spec: JobSpec
    folder: Path
    """The attempt's own folder, made by the agent. Holds `work/` (working folder, already
    staged), `checkpoints/`, `progress.jsonl` and `logs/`; the engine writes logs to
    `logs/rank-<n>.stdout` and `logs/rank-<n>.stderr` (setup: `logs/setup.stdout|stderr`)."""
    envs: Mapping[str, str]
    """The whole environment of the job, secrets included; nothing of the agent's own leaks in."""
    deadline_stop: bool = True
    """Whether it must end when its lease is not granted further."""
    terminal: Path | None = None
    """Where the engine serves the pseudo-terminal of an interactive job's first rank, as a unix
    socket outside of what the job can see (messages: `adapters/local/terminal.py`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the engine sees of one attempt."""

    phase: str
    """`starting`, `running`, `succeeded`, `failed`, `stopped` (values of `protocol.Phase`)."""
    exit_code: int | None = None
    failure: FailureClass | None = None
    message: str = ""
    """Why it ended so; while it is `starting`, what the engine says that it waits for."""
    isolation: str = ""
    warm: bool = False
    restarts: int = 0
    cpu_ms: int = 0
    """CPU time of all its processes so far."""
    energy_mj: int = 0
    """IT energy of all its processes so far, before PUE."""
    energy_quality: EnergyQuality = EnergyQuality.MODEL
    """How the energy was obtained."""
    memory_bytes: int = 0
    started_monotonic_ms: int = 0
    """When its processes started; 0 before."""
    ended_monotonic_ms: int = 0
    """When its last process ended; 0: one goes on. It may be known before how it ended is."""
    pids: tuple[int, ...] = field(default_factory=tuple)
    """Its processes, where they are this machine's."""
    address: str = ""
    """Network address of its first rank, where nobody but that rank listens; empty: it has none of
    its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How the engine itself is."""

    occupied: Capacity = field(default_factory=Capacity)
    """What work that is not Causeway's holds of the capacity now; none where the engine has it for
    itself."""
    problems: tuple[str, ...] = ()
    """Why nothing should be placed here now (its daemon does not answer, a partition is gone), each
    a sentence that a person reads; while there are any, the island gets no new work."""


class Engine(Protocol):
    """Runs attempts. Keys are `(job, fence)`."""

    @property
    def outlives(self) -> bool:
        """Whether attempts go on when the agent ends; then the engine guards their leases."""

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed`, from any thread, whenever `poll` shows a new phase."""

    def probe(self) -> Inventory:
        """Find out what is here. May take seconds; called at start and now and then."""

    def condition(self) -> Condition:
        """Return how the engine itself is. Cheap: what was seen last."""

    def grant(self, until_ms: int) -> None:
        """The lease is good until this instant of the agent's monotonic clock, for every attempt.
        Called again and again; an engine of which nothing outlives the agent has no use for it."""

    def start(self, launch: Launch) -> None:
        """Begin starting an attempt. Starting the same key again changes nothing. An attempt that
        cannot be started shows as `failed` with class `engine` in `poll`; it does not raise."""

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        """Ask it to end (SIGTERM to every process), kill it after the grace; 0 kills at once."""

    def poll(self) -> Mapping[tuple[str, int], Status]:
        """Return the present of every attempt that was started and not forgotten. Cheap."""

    def forget(self, job: str, fence: int) -> None:
        """Kill what is left of it and drop all record (not the folder)."""

    def close(self) -> None:
        """Let go. Attempts that do not outlive the agent are killed; others go on."""
