"""Who gets which devices in this step: what serving wants, who gives way to it, and who starts.

Serving comes first, as far as the forecast's bound and no further than it says it will ever go
(`most`); all else is for training. Two distances are kept apart, because they cost differently:

    planned   the bound rises above what is ready: victims may write a checkpoint before they go
    urgent    the need of now, with the queue that is left, is above what is ready or coming (the
              guard): they go at once

Of a running job's devices one second costs the same whoever holds them, so victims are ranked by
what is lost per device: the work since the last checkpoint, or the time to write one where there
is time and it is the lesser. An elastic job shrinks instead of leaving where that is enough.
Devices are given back only after the bound has been lower for a while: a replica that is loaded
again a minute later has served nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Why(StrEnum):
    """What decided about serving's share."""

    GUARD = "guard"
    """The class is at stake now."""
    FORECAST = "forecast"
    """The bound rose."""
    EBB = "ebb"
    """The bound has been lower for as long as it has to be."""
    STEADY = "steady"


class Leave(StrEnum):
    """How a job gives way."""

    AT_ONCE = "at_once"
    """What it did since its last checkpoint is done again."""
    CHECKPOINTED = "checkpointed"
    """It writes a checkpoint first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Serving as it is, in replicas."""

    bounds: Sequence[float]
    """The forecast's bounds, the newest last; the highest of them counts."""
    need: float
    """What the last step needed."""
    queue: float
    """What it would take for a step to answer those whom the last steps left waiting."""
    kept: bool
    """Whether the class was, in the last step."""
    ready: int
    coming: int
    """Loading, or waiting for a checkpoint to be written."""
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The running jobs that may be stopped, a column each."""

    job: Ints
    devices: Ints
    least: Ints
    """The fewest devices it can go on with; its own number where it is not elastic."""
    unsaved_s: Floats
    """Work since the last checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job in the queue."""

    job: int
    devices: int
    least: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A job that gives way."""

    job: int
    leave: Leave
    keeps: int = 0
    """Devices it goes on with; 0 sends it back to the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """What serving gets, and why."""

    replicas: int
    """Ready, coming and to be fetched."""
    urgent: bool
    why: Why


def divide(serving: Serving) -> Division:
    """Return what serving gets in this step.

    >>> bounds = (5.0, 4.2)
    >>> now = Serving(bounds=bounds, need=3, queue=0, kept=True, ready=4, coming=0, most=9)
    >>> divide(now).replicas
    5
    """
    have = serving.ready + serving.coming
    guarded = min(serving.most, int(np.ceil(serving.need + serving.queue)))
    wanted = min(serving.most, int(np.ceil(min(max(serving.bounds), 1e9))))
    if guarded > have:
        return Division(replicas=max(wanted, guarded), urgent=True, why=Why.GUARD)
    if wanted > have:
        return Division(replicas=wanted, urgent=False, why=Why.FORECAST)
    if max(wanted, guarded) < have:
        return Division(replicas=max(wanted, guarded), urgent=False, why=Why.EBB)
    return Division(replicas=have, urgent=False, why=Why.STEADY)


def who_gives_way(
    training: Training, devices: int, *, urgent: bool, checkpoint_s: float
) -> list[Stop]:
    """Return the victims that free at least so many devices, or all there are."""
    pay_s = training.unsaved_s if urgent else np.minimum(training.unsaved_s, checkpoint_s)
    order = np.lexsort((training.job, pay_s))
    chosen = _cover(order, training.devices, devices)
    spare = int(training.devices[chosen].sum()) - devices
    stops = []
    for at in chosen:
        has, least = int(training.devices[at]), int(training.least[at])
        keeps = min(spare, has) if spare >= least and least < has else 0
        save = not urgent and not keeps and training.unsaved_s[at] > checkpoint_s
        spare -= keeps
        stops.append(
            Stop(
                job=int(training.job[at]),
                leave=Leave.CHECKPOINTED if save else Leave.AT_ONCE,
                keeps=keeps,
            )
        )
    return stops


def who_grows(training: Training, asked: Ints, devices: int, *, saved_s: float) -> Stop | None:
    """Return a shrunk job that goes on with more, if one has just saved what it did.

    `asked` is what each job asked for when it came; only jobs that have not computed for `saved_s`
    since their last checkpoint are looked at, because growing starts them again.
    """
    may = (training.devices < asked) & (training.unsaved_s < saved_s)
    if devices <= 0 or not may.any():
        return None
    at = int(np.flatnonzero(may)[0])
    more = min(devices, int(asked[at] - training.devices[at]))
    return Stop(
        job=int(training.job[at]), leave=Leave.AT_ONCE, keeps=int(training.devices[at]) + more
    )


def youngest_first(training: Training, started_s: Floats, devices: int) -> list[Stop]:
    """Return the victims of those who know no checkpoints: the last to start, at once."""
    order = np.lexsort((training.job, -started_s))
    chosen = _cover(order, training.devices, devices)
    return [Stop(job=int(training.job[at]), leave=Leave.AT_ONCE) for at in chosen]


def _cover(order: Ints, devices: Ints, wanted: int) -> list[int]:
    """Return the first of the order that have enough, without those that are not needed for it."""
    if wanted <= 0:
        return []
    together = np.cumsum(devices[order])
    count = int(np.searchsorted(together, wanted)) + 1
    chosen: list[int] = order[:count].tolist()
    spare = int(devices[chosen].sum()) - wanted
    for at in sorted(chosen, key=lambda at: -int(devices[at])):
        if devices[at] <= spare:
            spare -= int(devices[at])
            chosen.remove(at)
    return chosen


def who_starts(queue: Mapping[int, Sequence[Waiting]], free: int) -> list[tuple[Waiting, int]]:
    """Return who starts, with how many devices: in order of seniority, backfilled.

    `queue` has the waiting by number of devices, each in order of seniority, which `job` tells.
    What is left over goes to the most senior elastic job that can begin with less.
    """
    at = dict.fromkeys(queue, 0)
    started: list[tuple[Waiting, int]] = []
    while True:
        fit = [size for size, line in queue.items() if size <= free and at[size] < len(line)]
        if not fit:
            break
        size = min(fit, key=lambda size: queue[size][at[size]].job)
        started.append((queue[size][at[size]], size))
        at[size] += 1
        free -= size
    if free:
        partly = [
            line[at[size]]
            for size, line in queue.items()
            if size > free and at[size] < len(line) and line[at[size]].least <= free
        ]
        if partly:
            started.append((min(partly, key=lambda waiting: waiting.job), free))
    return started
