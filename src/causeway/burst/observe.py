"""What was seen of a rental -> the rental as it is now.

Absence is believed only when nothing is under way that could still make the machine: a request that
was not answered yet may bring one up a minute later, and one that a killed controller had just sent
may still arrive (`SETTLE_MS`). What could not be seen changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from causeway.burst.terms import OPEN, Rental, Stage, Step, moved
from causeway.model.values import replace

SETTLE_MS = 120_000
"""After so long no request is on its way any more: twice what a controller waits for an answer."""


class Launch(StrEnum):
    """What became of the request to launch."""

    NONE = "none"
    """The cloud's door has never heard of it."""
    UNDER_WAY = "under_way"
    DONE = "done"
    FAILED = "failed"


class Machine(StrEnum):
    """What the cloud says of the machine."""

    ABSENT = "absent"
    COMING = "coming"
    STANDS = "stands"
    BROKEN = "broken"
    """It is there, and not usable: stopped, or lost its node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look at one rental."""

    launch: Launch
    machine: Machine
    request: str = ""
    """The launch that was found; empty: none."""
    message: str = ""
    """Why the launch failed, or what is broken."""
    island: str = ""
    """Identifier of its island; empty: it never joined."""
    live: bool = False
    jobs: int = 0
    """Work that the centre has there."""


def observe(rental: Rental, sight: Sight, now_ms: int) -> Rental:
    """Return the rental as this look shows it."""
    if rental.stage not in OPEN:
        return rental
    here = sight.machine is not Machine.ABSENT
    rental = replace(
        rental,
        seen=rental.seen or here,
        request=sight.request or rental.request,
        island=sight.island or rental.island,
        joined_ms=rental.joined_ms or (now_ms if sight.live else 0),
    )
    if sight.launch is Launch.UNDER_WAY:
        taken = rental.stage is Stage.INTENDED
        return replace(rental, stage=moved(rental, Step.TAKEN)) if taken else rental
    if not here:
        return _absent(rental, sight, now_ms)
    if sight.launch is Launch.FAILED and rental.stage is not Stage.UP:
        return _failed(rental, sight.message)
    if sight.machine is Machine.BROKEN:
        return _failed(rental, sight.message)
    return _standing(rental, sight, now_ms)


def _absent(rental: Rental, sight: Sight, now_ms: int) -> Rental:
    if rental.stage is Stage.INTENDED and sight.launch is Launch.NONE:
        # The cloud never heard of it; it is asked (again) under the same name.
        return rental
    if sight.launch is Launch.NONE and now_ms - rental.intended_ms < SETTLE_MS:
        return rental
    if rental.stage in (Stage.INTENDED, Stage.LAUNCHING):
        why = sight.message or "the machine was gone before it stood"
        rental = _failed(rental, why)
    elif rental.stage is Stage.UP and not rental.joined_ms:
        rental = _failed(rental, "the machine went before its island had joined")
    message = rental.message or "the machine is gone: it turned itself in, or was taken back"
    stage = moved(rental, Step.ABSENT)
    return replace(rental, stage=stage, gone_ms=now_ms, message=message)


def _failed(rental: Rental, message: str) -> Rental:
    stage = moved(rental, Step.GIVE_BACK)
    failed = rental.failed or rental.stage is not Stage.RETURNING
    return replace(rental, stage=stage, failed=failed, message=rental.message or message)


def _standing(rental: Rental, sight: Sight, now_ms: int) -> Rental:
    if rental.stage is Stage.RETURNING or sight.machine is Machine.COMING:
        return rental
    if rental.stage is not Stage.UP:
        rental = replace(rental, stage=moved(rental, Step.STANDS), up_ms=now_ms)
    # A machine whose island has not come yet is not idle: it is waited for otherwise.
    idle_ms = rental.idle_since_ms or now_ms if rental.joined_ms and not sight.jobs else 0
    return replace(rental, idle_since_ms=idle_ms)
