"""An attempt in Kubernetes as the port shows it. Pure."""

from __future__ import annotations

from causeway.adapters.kubernetes.attempts import Attempt, waiting
from causeway.adapters.kubernetes.inventory import ISOLATION
from causeway.adapters.local.power import model_mj
from causeway.model.protocol import Phase
from causeway.model.usage import EnergyQuality
from causeway.ports.engine import Status


def status_of(at: Attempt) -> Status:
    """Return its status."""
    told, outcome = at.told, at.outcome
    wall_ms = max(0, (at.ended_ms or at.seen_ms) - at.started_ms) if at.started_ms else 0
    devices_mj = round(told.watts * told.accelerators * told.ranks * wall_ms)
    cores = -(-told.cpu_milli // 1000) * told.ranks
    cores_mj = model_mj(cpu_ms=at.cpu_ms, wall_ms=wall_ms, devices=cores)
    at.energy_mj = max(at.energy_mj, cores_mj + devices_mj)
    phase = Phase.RUNNING if at.started_ms else Phase.STARTING
    return Status(
        phase=outcome.phase if outcome else phase,
        exit_code=outcome.exit_code if outcome else None,
        failure=outcome.failure if outcome else None,
        message=outcome.message if outcome else "" if at.started_ms else waiting(at),
        isolation=ISOLATION[-1],
        cpu_ms=at.cpu_ms,
        energy_mj=at.energy_mj,
        energy_quality=EnergyQuality.NAMEPLATE if devices_mj else EnergyQuality.MODEL,
        memory_bytes=0 if outcome else at.memory_bytes,
        started_monotonic_ms=at.started_ms,
        ended_monotonic_ms=at.ended_ms if outcome else 0,
    )
