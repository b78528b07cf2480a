"""The engine: what runs an attempt at an island. One adapter per outside thing.

An engine is asked to start, observe and stop; it decides nothing. Calls return at once: progress is
seen through `poll`. Everything that it reports must stay reportable until `forget`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from causeway.model.islands import Inventory
from causeway.model.jobs import FailureClass, JobSpec
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
    pids: tuple[int, ...] = field(default_factory=tuple)


class Engine(Protocol):
    """Runs attempts. Keys are `(job, fence)`."""

    def probe(self) -> Inventory:
        """Find out what is here. May take seconds; called at start and now and then."""

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
        """Kill everything and let go."""
