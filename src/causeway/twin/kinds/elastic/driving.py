"""Rounds over a fleet: jobs go on, those that arrived ask, a policy answers, shapes change.

Every `round_s` the running jobs are moved on, then the policy is asked about all that have been
submitted and are not finished. Devices of a job that ended inside a round stay idle to its end:
allocated time is what jobs held, and ends with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from causeway.model.errors import IllegalMove
from causeway.schedule.elastic.asking import Fleet
from causeway.schedule.elastic.pack import Shape, devices_of
from causeway.twin.kinds.elastic.training import Job

Decide = Callable[[Sequence[Job], Fleet, float], dict[str, Shape]]

ROUNDS_MOST = 1_000_000
"""After so many rounds what still runs is accounted for as waiting."""


@dataclass(slots=True)
class Series:
    """A row for each round."""

    time_s: list[float] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    devices_held: list[int] = field(default_factory=list)


def drive(
    jobs: Sequence[Job],
    fleet: Fleet,
    *,
    decide: Decide,
    round_s: float,
    progress: Callable[[float], None],
) -> Series:
    """Run a workload to its end."""
    series = Series()
    coming = sorted(jobs, key=lambda job: job.submitted_s)
    active: list[Job] = []
    now_s, next_job, ended = 0.0, 0, 0
    for _ in range(ROUNDS_MOST):
        if ended == len(coming):
            break
        for job in active:
            job.advance(now_s, round_s)
        now_s += round_s
        ended += sum(job.ended_s is not None for job in active)
        active = [job for job in active if job.ended_s is None]
        while next_job < len(coming) and coming[next_job].submitted_s <= now_s:
            active.append(coming[next_job])
            next_job += 1
        shapes = decide(active, fleet, now_s) if active else {}
        _check(shapes, fleet)
        for job in active:
            job.reshape(shapes.get(job.name, ()), restart_s=fleet.restart_s, now_s=now_s)
        _note(series, active, now_s)
        progress(ended / len(coming))
    return series


def _check(shapes: dict[str, Shape], fleet: Fleet) -> None:
    held = [0] * fleet.nodes
    for shape in shapes.values():
        for node, count in shape:
            held[node] += count
    if any(count > fleet.per_node for count in held):
        raise IllegalMove(f"a round gives out more devices of a node than it has: {held}")


def _note(series: Series, active: Sequence[Job], now_s: float) -> None:
    running = [job for job in active if job.held]
    series.time_s.append(now_s)
    series.running.append(len(running))
    series.waiting.append(len(active) - len(running))
    series.devices_held.append(sum(devices_of(job.held) for job in running))
