"""Inputs that travel while their job queues: which island should fetch what ahead, and may.

Where a waiting job will run is known for some (`schedule.likely`). Its island, if it keeps a cache,
is told which of the job's artefacts to bring there already. Everything that decides placement has
said yes by then: the law room on the job's labels, the owner's policy, the job's own `where`. The
decision is made anew every few seconds at most, for the head of the queue only, and is good for
fetching as long as it stands and the job still waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from causeway.control import keeping, rounds
from causeway.control.state import State
from causeway.model.errors import Refused
from causeway.model.fleet import Snapshot
from causeway.model.jobs import Job, JobState
from causeway.schedule import likely

if TYPE_CHECKING:
    # The door holds what was decided.
    from causeway.api.door import Door

JOBS_MAX = 256
"""Waiting jobs that are looked at, from the head of the queue."""
PER_ISLAND_MAX = 4
EVERY_MS = 5_000
STANDS_MS = 60_000
"""A fetch that began ahead may go on for so long after the last decision named it."""


@dataclass(slots=True)
class Ahead:
    """What was decided last."""

    at_ms: int = -EVERY_MS
    wanted: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Island -> artefact -> the waiting job that needs it."""
    stands: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """(Island, artefact) -> the job, and when that was decided last."""

    def take(self, wanted: Mapping[str, Mapping[str, str]], now_ms: int) -> None:
        """Take a new decision over."""
        self.wanted, self.at_ms = wanted, now_ms
        self.stands = {
            key: one for key, one in self.stands.items() if now_ms - one[1] < STANDS_MS
        } | {
            (island, artifact): (job, now_ms)
            for island, artifacts in wanted.items()
            for artifact, job in artifacts.items()
        }

    def job_of(self, island: str, artifact: str, now_ms: int) -> str:
        """Return the job for which the island may fetch the artefact ahead; empty: none."""
        job, at_ms = self.stands.get((island, artifact), ("", 0))
        return job if now_ms - at_ms < STANDS_MS else ""


async def wanted(door: Door, island: str) -> tuple[str, ...]:
    """Return the artefacts that the island should fetch ahead."""
    now_ms = door.clock.monotonic_ms()
    if now_ms - door.ahead.at_ms >= EVERY_MS:
        # Taken at once, so that many islands that ask together start one decision.
        door.ahead.at_ms = now_ms
        if await door.service.read(lambda state: bool(state.queue)):
            door.ahead.take(await _decided(door), now_ms)
        else:
            door.ahead.take({}, now_ms)
    return tuple(door.ahead.wanted.get(island, ()))


async def _decided(door: Door) -> dict[str, dict[str, str]]:
    def look(state: State) -> tuple[Snapshot, dict[str, tuple[str, ...]]]:
        picture = rounds.snapshot(
            state, door.plane.verdicts, door.clock.now_ms(), lease_ms=door.settings.lease_ms
        )
        heads = picture.waiting[:JOBS_MAX]
        return picture, {job.id: _needed(state.jobs[job.id]) for job in heads}

    picture, needed = await door.service.read(look)
    found = await asyncio.to_thread(likely, picture, matches=door.plane.matches, limit=JOBS_MAX)
    wanted: dict[str, dict[str, str]] = {}
    for job, island in found.items():
        mine = wanted.setdefault(island, {})
        for artifact in needed.get(job, ()):
            if len(mine) < PER_ISLAND_MAX:
                mine.setdefault(artifact, job)
    return wanted


def _needed(job: Job) -> tuple[str, ...]:
    """Return what the job will start from, the checkpoint first."""
    spec = job.spec
    checkpoint = job.checkpoint.artifact if job.checkpoint is not None else ""
    return tuple(dict.fromkeys(a for a in (checkpoint, spec.workdir, *spec.inputs.values()) if a))


def needing(door: Door, state: State, island: str, artifact: str) -> Job:
    """Return the job for which the island may have the artefact: one that it holds, or one that
    will come to it. `Refused` when there is none."""
    try:
        return keeping.needing(state, island, artifact)
    except Refused:
        job = state.jobs.get(door.ahead.job_of(island, artifact, door.clock.monotonic_ms()))
        if job is None or job.state is not JobState.QUEUED:
            raise
        return job
