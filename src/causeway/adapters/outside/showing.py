"""An attempt as the port shows it. Pure."""

from __future__ import annotations

from causeway.adapters.local.power import model_mj
from causeway.adapters.outside.attempts import Attempt, S
from causeway.adapters.runner.ends import Outcome
from causeway.model.protocol import Phase
from causeway.model.usage import EnergyQuality
from causeway.ports.engine import Status


def status_of(
    at: Attempt[S], outcome: Outcome | None, *, waiting: str, isolation: str, cpu_ms: int
) -> Status:
    """Return its status. `outcome` is its end, once that is to be shown; `waiting`, what the engine
    says that it waits for.

    Nothing meters its energy: it is modelled by its CPU time, and by the rated power of its
    accelerators for as long as it held them.
    """
    told = at.told
    wall_ms = max(0, (at.ended_ms or at.seen_ms) - at.started_ms) if at.started_ms else 0
    devices_mj = round(told.watts * told.accelerators * told.ranks * wall_ms)
    cores = max(1, -(-told.cpu_milli // 1000)) * told.ranks
    cores_mj = model_mj(cpu_ms=cpu_ms, wall_ms=wall_ms, devices=cores)
    at.energy_mj = max(at.energy_mj, cores_mj + devices_mj)
    phase = Phase.RUNNING if at.started_ms else Phase.STARTING
    return Status(
        phase=outcome.phase if outcome else phase,
        exit_code=outcome.exit_code if outcome else None,
        failure=outcome.failure if outcome else None,
        message=outcome.message if outcome else "" if at.started_ms else waiting,
        isolation=isolation,
        cpu_ms=cpu_ms,
        energy_mj=at.energy_mj,
        energy_quality=EnergyQuality.NAMEPLATE if devices_mj else EnergyQuality.MODEL,
        memory_bytes=0 if outcome else at.memory_bytes,
        started_monotonic_ms=at.started_ms,
        ended_monotonic_ms=at.ended_ms,
    )
