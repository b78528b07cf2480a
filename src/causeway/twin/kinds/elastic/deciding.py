"""What each policy is told of the jobs in a round; the policies themselves are in the room.

Tiresias sees what authors asked for and what was attained. Optimus has, as in the Pollux study, an
oracle: true times per step and the steps that are left. Pollux sees the speeds that each job's own
curve foretells, and nothing of what is left. Ours sees the same, and, where `told`, the work to the
end of the last epoch, in the units in which progress is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causeway.schedule.elastic.asking import Asking, Fleet
from causeway.schedule.elastic.causeway import causeway
from causeway.schedule.elastic.curve import Floats
from causeway.schedule.elastic.goodput import cut
from causeway.schedule.elastic.optimus import optimus
from causeway.schedule.elastic.pack import Shape
from causeway.schedule.elastic.pollux import pollux
from causeway.schedule.elastic.tiresias import tiresias
from causeway.twin.kinds.elastic.driving import Decide
from causeway.twin.kinds.elastic.training import Job


def by_tiresias() -> Decide:
    """Return Tiresias with an empty second queue."""
    demoted: tuple[str, ...] = ()

    def decide(jobs: Sequence[Job], fleet: Fleet, now_s: float) -> dict[str, Shape]:
        nonlocal demoted
        askings = [
            Asking(
                name=job.name,
                held=job.held,
                devices_asked=job.devices_asked,
                age_s=now_s - job.submitted_s,
                service_device_s=job.service_device_s,
            )
            for job in jobs
        ]
        shapes, demoted = tiresias(askings, fleet, demoted=demoted)
        return shapes

    return decide


def by_optimus(solo: frozenset[str]) -> Decide:
    """Return Optimus with the oracle that the Pollux study gives it."""
    known: dict[tuple[str, int], Floats] = {}

    def decide(jobs: Sequence[Job], fleet: Fleet, _: float) -> dict[str, Shape]:
        askings = []
        for job in jobs:
            assert job.batch_asked is not None
            key = (job.application.name, job.batch_asked)
            if key not in known:
                known[key] = _true_steps(job, fleet, alone=key[0] in solo)
            last = job.application.epochs - 1
            left = job.application.steps_by(key[1], last)
            left -= job.application.steps_by(key[1], job.epoch)
            askings.append(
                Asking(
                    name=job.name,
                    held=job.held,
                    step_s=known[key],
                    steps_left=left if job.epoch < last else 1.0,
                )
            )
        return optimus(askings, fleet)

    return decide


def _true_steps(job: Job, fleet: Fleet, *, alone: bool) -> Floats:
    assert job.batch_asked is not None
    limits = job.application.limits
    most = 1 if alone else min(job.batch_asked // limits.samples_least, fleet.devices)
    seconds = [np.inf]
    for count in range(1, most + 1):
        full, rest = divmod(count, fleet.per_node)
        placement = (fleet.per_node,) * full + ((rest,) if rest else ())
        batch = cut(job.batch_asked, count, limits)
        stepped_s, exchange_s = job.application.times(placement, batch.samples)
        seconds.append(stepped_s + (stepped_s - exchange_s) * (batch.passes - 1))
    return np.array(seconds)


def by_pollux(solo: frozenset[str]) -> Decide:
    """Return Pollux over the curves that each job learnt of itself."""

    def decide(jobs: Sequence[Job], fleet: Fleet, now_s: float) -> dict[str, Shape]:
        fair = -(-fleet.devices // len(jobs))
        askings = []
        for job in jobs:
            most = devices_most(job, fleet, solo)
            askings.append(
                Asking(
                    name=job.name,
                    held=job.held,
                    age_s=now_s - job.submitted_s,
                    service_device_s=job.service_device_s,
                    restarts=max(job.restarts, 0),
                    goodput=job.speeds(most, fleet.per_node),
                    goodput_fair=job.speed_in_one_node(fair),
                )
            )
        return pollux(askings, fleet)

    return decide


def by_causeway(solo: frozenset[str], *, told: bool) -> Decide:
    """Return ours, with the authors' word on how long their jobs are, or without."""

    def decide(jobs: Sequence[Job], fleet: Fleet, _: float) -> dict[str, Shape]:
        askings = [
            Asking(
                name=job.name,
                held=job.held,
                goodput=job.speeds(devices_most(job, fleet, solo), fleet.per_node),
                known=job.known,
                work_left=job.application.work - job.work_done if told else None,
                work_done=job.work_done,
            )
            for job in jobs
        ]
        return causeway(askings, fleet)

    return decide


def devices_most(job: Job, fleet: Fleet, solo: frozenset[str]) -> int:
    """Return the most devices that a job may have: at most double what it has seen."""
    if job.application.name in solo:
        return 1
    seen = max(2 * job.learnt.devices_most, 1)
    return min(seen, fleet.devices, job.limits.devices_most)
