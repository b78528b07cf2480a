"""What is particular to a rental at its island: when its meter runs, and that it ends wiped.

    engine:    starting ......... running ......................... ended
    program:              prepares | READY            stop asked |
    meter:     -----------------not-|======= runs =======|----not----
    room:      ==================== taken =========================|= wiping =|-- free

A rental's program makes its product ready and then writes its first line to the progress file: that
is the hand-over. Until then the attempt is `starting` for everybody, and nothing is counted; so
time, processors and energy of the preparation are on no bill. The meter stops at the first look
after a stop was asked for, whoever asked, or when the processes ended by themselves; winding down
and wiping are not counted either. Pure functions of an attempt's record and what the engine says.
"""

from __future__ import annotations

from causeway.agent.attempt import ENDED, Held, Stage
from causeway.model.protocol import Phase
from causeway.model.values import replace
from causeway.ports.engine import Status

PREPARING = "it is being made ready, which is not metered"


def metered(held: Held, status: Status, now_ms: int) -> tuple[Held, Status]:
    """Return the record, and what the engine says, as the attempt's meter sees them.

    For all that is not a rental they are what they were."""
    if held.start.spec.rental is None:
        return held, status
    if not held.started_ms:
        if status.phase not in ENDED:
            status = replace(status, phase=Phase.STARTING, message=PREPARING)
        return held, replace(status, started_monotonic_ms=0)
    if held.phase == Phase.STARTING:
        # The first look after the hand-over: what was used until now was preparation.
        held = replace(held, cut_cpu_ms=status.cpu_ms, cut_energy_mj=status.energy_mj)
    if held.grace_ms >= 0 and not held.ended_ms:
        held = replace(held, ended_ms=max(now_ms, held.started_ms + held.cut_ms))
    return held, replace(
        status,
        started_monotonic_ms=held.started_ms,
        ended_monotonic_ms=held.ended_ms or status.ended_monotonic_ms,
    )


def handed_over(held: Held, now_ms: int) -> Held:
    """Return the record once the program has said that its product is ready; the same record when
    it had been before, or when it is too late."""
    late = held.stage is not Stage.ENGINE or held.grace_ms >= 0
    if held.start.spec.rental is None or held.started_ms or late:
        return held
    return replace(held, started_ms=now_ms)


def to_be_wiped(held: Held) -> bool:
    """Say whether somebody may have been in this room since it was last seen to be empty. It takes
    no other work until it has been wiped."""
    if held.start.spec.rental is None or held.stage not in (Stage.ENGINE, Stage.CLOSING):
        return False
    return held.wiped is None or bool(held.wiped.left)
