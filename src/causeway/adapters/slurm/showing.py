"""An attempt in Slurm as the port shows it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from causeway.adapters.local.power import model_mj
from causeway.adapters.runner.ends import Outcome
from causeway.adapters.slurm.attempts import Attempt, waiting
from causeway.model.protocol import Phase
from causeway.model.usage import EnergyQuality
from causeway.ports.engine import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much there is to ask Slurm for."""

    open: int
    waiting: int
    accounts: tuple[int, ...]


def status_of(at: Attempt, outcome: Outcome | None, *, isolation: str) -> Status:
    """Return its status; `outcome` is its end, once that is to be shown."""
    told = at.told
    cpu_ms = at.cpu_ms
    if outcome is not None and at.accounted is not None and at.accounted.cpu_ms:
        cpu_ms = at.accounted.cpu_ms
    wall_ms = max(0, (at.ended_ms or at.seen_ms) - at.started_ms) if at.started_ms else 0
    devices_mj = round(told.watts * told.accelerators * told.ranks * wall_ms)
    cores_mj = model_mj(cpu_ms=cpu_ms, wall_ms=wall_ms, devices=told.cores * told.ranks)
    at.energy_mj = max(at.energy_mj, cores_mj + devices_mj)
    phase = Phase.RUNNING if at.started_ms else Phase.STARTING
    return Status(
        phase=outcome.phase if outcome else phase,
        exit_code=outcome.exit_code if outcome else None,
        failure=outcome.failure if outcome else None,
        message=outcome.message if outcome else "" if at.started_ms else waiting(at),
        isolation=isolation,
        cpu_ms=cpu_ms,
        energy_mj=at.energy_mj,
        energy_quality=EnergyQuality.NAMEPLATE if devices_mj else EnergyQuality.MODEL,
        memory_bytes=0 if outcome else at.memory_bytes,
        started_monotonic_ms=at.started_ms,
        ended_monotonic_ms=at.ended_ms if outcome else 0,
    )
