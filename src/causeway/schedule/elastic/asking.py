"""What an elastic policy is told of each job in a round, and what it answers.

Only what a scheduler really has: the job's age and past, where it runs, the speeds that its
learnt curve foretells, and, where its author said how long it is to train, the work that is left.
The twin may know more; it is not in here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from causeway.schedule.elastic.curve import Floats
from causeway.schedule.elastic.pack import Shape


def _nothing() -> Floats:
    return np.zeros(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Like nodes."""

    nodes: int
    per_node: int
    restart_s: float
    """What a job loses when its shape changes."""

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return self.nodes * self.per_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One job that is not finished, at the start of a round."""

    name: str
    held: Shape = ()
    devices_asked: int = 1
    """By its author, for policies that do not choose."""
    age_s: float = 0.0
    """Since it was submitted."""
    service_device_s: float = 0.0
    """Devices times seconds that it held so far."""
    restarts: int = 0
    goodput: Floats = field(default_factory=_nothing)
    """By number of devices from 0, on the fewest nodes: progress per second with the best batch,
    as the curve foretells; ends at the most devices that it may have."""
    goodput_fair: float = 0.0
    """With an equal share of the fleet, had it been one node; what Pollux compares with."""
    known: bool = True
    """Whether `goodput` comes from something measured, or is a guess."""
    work_left: float | None = None
    """Progress to the end that its author named; None where none was named."""
    work_done: float = 0.0
    step_s: Floats = field(default_factory=_nothing)
    """By number of devices, with the batch that its author chose; Optimus's measure."""
    steps_left: float = 0.0
    """With that batch."""

    @property
    def devices_most(self) -> int:
        """The most devices that it may have."""
        return len(self.goodput) - 1
