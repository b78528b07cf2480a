"""What every policy on deadlines is asked and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from causeway.schedule.deadlines.training import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The GPUs that one decision shares out, and the grid of instants at which it may."""

    gpus: int
    node_gpus: int = 8
    slot_s: float = 60.0
    pause_s: float = 0.0
    """What a start or a resize costs the job at most."""
    pauses_all: bool = False
    """Whether a decision pauses every job that runs, resized or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who holds what from now on. Whoever is not named in `gpus` holds nothing."""

    gpus: Mapping[int, int]
    promised: frozenset[int] = frozenset()
    """Whose deadline is promised from now on; a promise is never taken back."""
    declined: frozenset[int] = frozenset()
    """Who is told that the deadline will not be met, and leaves."""
    wake_s: float = math.inf
    """When to ask again even if nothing arrives or ends before."""
    ends_s: Mapping[int, float] = field(default_factory=dict)
    """When those that were planned would end."""


class Decide(Protocol):
    """One policy: the jobs that are there, those that run first, to who holds what."""

    def __call__(self, now_s: float, jobs: Sequence[Training], fleet: Fleet) -> Decision: ...
