"""The nouns of renting: what is offered, what is rented, who waits for it, what was decided.

A rental goes through the stages of `MOVES` and no others:

    intended -> launching -> up -> returning -> gone

`intended` is written down before the cloud hears of it, under a name that is used once, so a
controller that is killed at any point finds out by that name what became of it. What a rental may
cost is committed from `intended` on, and only `gone` lets go of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from causeway.model.errors import IllegalMove
from causeway.model.money import Purchase
from causeway.model.reasons import Reason
from causeway.model.resources import Capacity, Resources


class Stage(StrEnum):
    """Where a rental is."""

    INTENDED = "intended"
    """Written down; whether the cloud has heard of it is not known."""
    LAUNCHING = "launching"
    """The cloud has taken the request."""
    UP = "up"
    """The machine stands; its island may still be on the way."""
    RETURNING = "returning"
    """It is to go; asked again until it is seen to be gone."""
    GONE = "gone"
    """Seen to be gone; it costs nothing any more."""


OPEN = frozenset({Stage.INTENDED, Stage.LAUNCHING, Stage.UP, Stage.RETURNING})
"""Stages that may cost money."""


class Step(StrEnum):
    """What can happen to a rental."""

    TAKEN = "taken"
    """The cloud took the request."""
    STANDS = "stands"
    GIVE_BACK = "give_back"
    ABSENT = "absent"
    """The cloud has no such machine, and nothing is under way that could make one."""


_S = Stage
MOVES: dict[tuple[Stage, Step], Stage] = {
    (_S.INTENDED, Step.TAKEN): _S.LAUNCHING,
    (_S.INTENDED, Step.STANDS): _S.UP,
    (_S.LAUNCHING, Step.STANDS): _S.UP,
    (_S.UP, Step.ABSENT): _S.GONE,
    (_S.RETURNING, Step.ABSENT): _S.GONE,
}
"""The legal moves; every open stage may also be given back."""
for _stage in (_S.INTENDED, _S.LAUNCHING, _S.UP, _S.RETURNING):
    MOVES[(_stage, Step.GIVE_BACK)] = _S.RETURNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One kind of machine at one place, as the catalogue has it."""

    id: str
    """`<cloud>/<region>/<instance type>/<purchase>`."""
    infra: str
    """`<cloud>/<region>`."""
    instance_type: str
    price_micros_per_h: int
    """Of the whole machine, in micro-units of the budget's currency."""
    purchase: Purchase
    capacity: Capacity
    accelerator: str
    device_memory_bytes: int
    """Of each accelerator; 0: the catalogue does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator allows."""

    budget_micros: int
    """For all machines of this burst together, from its first to its last."""
    machines_max: int
    lease_ms: int
    """How long a machine is rented for at most."""
    grace_ms: int
    """How long after the lease's end the machine may still take to be gone; counted as paid."""
    idle_ms: int
    """A machine that nobody needed for so long is given back."""
    patience_ms: int
    """How long a job waits for what exists before a machine is rented for it."""
    launch_ms: int
    """A machine that does not stand after so long is given up."""
    join_ms: int
    """A machine whose island is not live so long after it stands is given back."""
    drain_ms: int
    """Work is moved away so long before the lease's end."""
    cooldown_ms: int
    """An offer that failed is not tried again for so long."""
    margin_percent: int = 10
    """Added to every price for what the catalogue leaves out: disks, addresses, traffic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rental:
    """One machine that was, is or will be rented. The offer is kept with the price of that day."""

    name: str
    """Used once, ever; the cloud's machine and the island carry it."""
    offer: Offer
    intended_ms: int
    until_ms: int
    """The machine ends its lease itself at this instant."""
    stage: Stage = Stage.INTENDED
    request: str = ""
    """The launch, as the cloud's door names it."""
    seen: bool = False
    """Whether the cloud ever had it on its list."""
    up_ms: int = 0
    joined_ms: int = 0
    """When its island was first seen live; 0: not yet."""
    island: str = ""
    idle_since_ms: int = 0
    """Since when no work was seen there; 0: there is work, or it has not joined."""
    gone_ms: int = 0
    failed: bool = False
    """Its launch failed, or its island never came: the offer is left alone for a while."""
    message: str = ""
    """Why it is going or gone, in a sentence."""


def moved(rental: Rental, step: Step) -> Stage:
    """Return the stage that the step leads to, or raise `IllegalMove` with the rental's story."""
    try:
        return MOVES[(rental.stage, step)]
    except KeyError:
        raise IllegalMove(
            f"{rental.name} ({rental.offer.id}) cannot {step.value} from {rental.stage.value}"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One queued job, and what could be rented for it."""

    id: str
    name: str
    need: Resources
    """Of each node; all its nodes go onto one machine."""
    nodes: int = 1
    since_ms: int
    priority: int = 0
    reasons: tuple[Reason, ...] = ()
    """Why it waits, as the centre says."""
    offers: tuple[str, ...] = ()
    """Offers whose machine may and could run it, by the scheduler's own filters and the law."""
    refused: Mapping[str, Reason] = field(default_factory=dict)
    """Offer -> the first reason against it, of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything that one decision may look at."""

    now_ms: int
    policy: Policy
    offers: tuple[Offer, ...] = ()
    rentals: tuple[Rental, ...] = ()
    """Those that are open, and those that ended lately."""
    spent_micros: int = 0
    """What the ended ones have cost."""
    waiting: tuple[Waiting, ...] = ()
    in_vain: frozenset[tuple[str, str]] = frozenset()
    """(job, offer): such a machine stood idle and the job went on waiting; not again."""
    closing: bool = False
    """Everything is to be given back."""


class Wish(StrEnum):
    """What is to be done about a rental or a job."""

    RENT = "rent"
    GIVE_BACK = "give_back"
    KEEP = "keep"
    LEAVE = "leave"
    """Nothing is rented for this job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision with its reasons; every open rental and every waiting job has one."""

    wish: Wish
    reasons: tuple[Reason, ...]
    rental: str = ""
    """Give back, keep: which one."""
    offer: Offer | None = None
    """Rent: what."""
    jobs: tuple[str, ...] = ()
    """Rent, keep: for whom. Leave: which one. Give back: for whom it stood there in vain."""
    commits_micros: int = 0
    """Rent: the most that it may cost."""
