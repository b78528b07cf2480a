"""What happens to a job when its island is cut off, where the job itself does not say.

A cut-off island cannot be told from a dead one. To *move* stops the job at its lease deadline and
places it again; to *wait* keeps it where it is until the island returns or a person declares it
lost. A job with checkpoints loses little by moving. On the local engine it loses nothing more:
its processes end with the agent in any case. Where an outside engine (a Slurm cluster, say) runs a
job that keeps nothing, the job outlives the agent and the line, so a break of some seconds would
throw away all it has done, and waiting is the better guess.
"""

from __future__ import annotations

from causeway.model.jobs import JobSpec, OnDisconnect

OWN_ENGINE = "local"
"""The engine whose attempts end with the agent."""


def on_disconnect(spec: JobSpec, *, engine: str) -> OnDisconnect:
    """Return what the job says, or the default for it on an island with that engine."""
    if spec.on_disconnect is not None:
        return spec.on_disconnect
    moves = spec.checkpoint is not None or engine == OWN_ENGINE
    return OnDisconnect.MOVE if moves else OnDisconnect.WAIT
