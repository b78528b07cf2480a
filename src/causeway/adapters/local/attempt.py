"""One attempt's mutable present, and the questions asked of it. No process is touched here.

    setup -> run -> ending -> done
      \\________________/

`ending` means that no more process of it is started and what is left is being killed; only when
nothing is left does the attempt become `done` and show its outcome. A gang whose rank died by a
signal goes from `ending` back to `run` while its restarts last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from causeway.adapters.local.accelerators import Draw
from causeway.adapters.local.cgroups import Group
from causeway.adapters.local.images import Root
from causeway.adapters.local.power import PowerMeter
from causeway.adapters.local.spawner import ForkServer, WarmProgram
from causeway.agent.environment import rank_variables
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.usage import EnergyQuality
from causeway.ports.engine import Launch, Status

SETUP_RANK = -1
IMAGE_RANK = -2
"""Has the image made ready; no process of the job."""
RESTARTS_MAX = 3
"""In-place restarts of a checkpointing gang before the centre decides what to do."""
SIGNAL_BASE = 128
SIGNALS_MAX = 64
MARKER = "COMPLETE"
Key = tuple[str, int]


class Stage(StrEnum):
    """Where the engine is with an attempt."""

    SETUP = "setup"
    RUN = "run"
    ENDING = "ending"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended, or how it will be shown once nothing of it is left."""

    phase: str
    exit_code: int | None = None
    failure: FailureClass | None = None
    message: str = ""


@dataclass(slots=True, kw_only=True)
class Child:
    """One process that was asked for: a rank, or the set-up (rank -1)."""

    rank: int
    server: ForkServer
    pid: int = 0
    cpu_ms: int = 0


@dataclass(slots=True, kw_only=True)
class Running:
    """Everything that the engine's thread knows of one attempt."""

    launch: Launch
    folder: Path = Path()
    """The launch's folder without links, once it is made."""
    isolation: str = ""
    stage: Stage = Stage.SETUP
    image: str = ""
    """Name of its layer over a container image; empty when it has none."""
    root: Root | None = None
    """The image that its processes run in, once it is mounted."""
    children: dict[int, Child] = field(default_factory=dict)
    """Processes not known to have ended, by the engine's number."""
    group: Group | None = None
    program: WarmProgram | None = None
    """What its ranks fork into; None: they start cold."""
    warm: bool = False
    outcome: Outcome | None = None
    """Set when it starts to end; the first cause wins."""
    restart: bool = False
    """Go back to `run` when all is quiet."""
    restarts: int = 0
    started_ms: int = 0
    ended_ms: int = 0
    port: int = 0
    """Where its ranks meet."""
    held: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    """Ranks that are not started yet, with their environments."""
    hold_until_ms: int = 0
    kill_at_ms: int = 0
    """When what is left is killed; 0: nobody asked it to stop."""
    quiet_by_ms: int = 0
    """When waiting for killed processes is given up."""
    sampled_ms: int = 0
    gone_cpu_ms: int = 0
    """CPU time of processes that have ended, as the kernel told their parent."""
    cpu_ms: int = 0
    memory_bytes: int = 0
    meter: PowerMeter = field(default_factory=PowerMeter)
    nodes: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Device nodes that each rank sees in a sandbox or an image."""
    draw: Draw | None = None
    """Measures the accelerators that it holds."""
    metered_ms: int = 0
    """Until when, and until which CPU time, energy is counted."""
    metered_cpu_ms: int = 0
    energy_mj: int = 0
    energy_quality: EnergyQuality = EnergyQuality.MODEL

    @property
    def key(self) -> Key:
        """The attempt's key."""
        return self.launch.job, self.launch.fence

    @property
    def time_up_ms(self) -> int:
        """When its time limit is over; 0: it has none, or has not started."""
        limit_s = self.launch.spec.time_limit_s
        return self.started_ms + int(limit_s * 1000) if limit_s and self.started_ms else 0

    def status(self) -> Status:
        """Return what the port shows."""
        shown = self.outcome if self.stage is Stage.DONE else None
        running = self.stage in (Stage.RUN, Stage.ENDING) and self.started_ms
        return Status(
            phase=shown.phase if shown else Phase.RUNNING if running else Phase.STARTING,
            exit_code=shown.exit_code if shown else None,
            failure=shown.failure if shown else None,
            message=shown.message if shown else "",
            isolation=self.isolation,
            warm=self.warm,
            restarts=self.restarts,
            cpu_ms=self.cpu_ms,
            energy_mj=self.energy_mj,
            energy_quality=self.energy_quality,
            memory_bytes=0 if shown else self.memory_bytes,
            started_monotonic_ms=self.started_ms,
            ended_monotonic_ms=self.ended_ms,
            pids=tuple(child.pid for child in self.children.values() if child.pid),
        )


def exit_code(code: int) -> int:
    """Return the shell's convention for a code as Python gives it: 128 + n for signal n.

    >>> exit_code(-9), exit_code(3)
    (137, 3)
    """
    return SIGNAL_BASE - code if code < 0 else code


def killed_by(code: int) -> int:
    """Return the signal behind an exit code in the shell's convention; 0 when none.

    >>> killed_by(137), killed_by(1), killed_by(128), killed_by(255)
    (9, 0, 0, 0)
    """
    number = code - SIGNAL_BASE
    return number if 0 < number <= SIGNALS_MAX else 0


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the complete checkpoint of the highest step below `folder`, or None."""
    found: list[tuple[int, str]] = []
    for marker in folder.glob(f"*/{MARKER}"):
        step = _step(marker)
        if step >= 0:
            found.append((step, marker.parent.name))
    return folder / max(found)[1] if found else None


def _step(marker: Path) -> int:
    """Return the step in a marker; -1 when the job wrote something else there."""
    try:
        said = json.loads(marker.read_bytes()[:65536])
    except (OSError, ValueError):
        return -1
    step = said.get("step") if isinstance(said, dict) else None
    return step if isinstance(step, int) and step >= 0 else -1


def rank_environment(
    launch: Launch, rank: int, port: int, *, resume: Path | None
) -> Mapping[str, str]:
    """Return a rank's whole environment: torchrun's names and the other systems' for the same."""
    ranks = launch.spec.num_nodes
    env = {**launch.envs, **rank_variables(rank, ranks=ranks)}
    env |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(ranks)}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if resume is not None:
        env["CAUSEWAY_RESUME_DIR"] = str(resume)
    return env
