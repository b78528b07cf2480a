"""The last step of tasks whose outputs the centre writes: from artefacts to files.

A job that has succeeded brought its outputs as artefacts. Those that were to go to `file://` are
written now, those that were to be kept under a name get it, and a fact of the ledger says that it
is done (`task.handed_over`) or why it cannot be (`task.not_handed_over`). Until then the task
counts as running. After a restart, tasks without such a fact are taken up again: writing a file
twice is harmless, since it appears whole or not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from causeway.api.door import Door
from causeway.api.tes import folders
from causeway.api.tes.looks import Documents
from causeway.control import keeping
from causeway.control.state import State
from causeway.model.errors import CausewayError, Unavailable
from causeway.model.jobs import Job, JobState
from causeway.model.parties import AccessRole, Caller
from causeway.model.values import replace
from causeway.ports.artifacts import ChunkStore
from causeway.sdk import manifests
from causeway.spec.tes_files import local_path
from causeway.spec.tes_task import KEPT
from causeway.spec.tes_view import Handover, is_task, kept

DONE, NOT_DONE = "task.handed_over", "task.not_handed_over"
DAY_MS = 86_400_000
KNOWN_MAX = 20_000
LOOK_BACK = 2_000
"""Ended jobs that a fresh process looks through for tasks that were not handed over."""
COALESCE_S = 0.05
RETRY_S = 1.0
FACTS_MAX = 50


@dataclass(slots=True)
class Handovers:
    """Hands outputs over, one task at a time, and knows of which that is done."""

    door: Door
    documents: Documents
    _known: OrderedDict[str, Handover] = field(default_factory=OrderedDict)
    _looked_back: bool = False

    async def run(self) -> None:
        """Hand over until cancelled."""
        async with aclosing(self.door.service.changes()) as news:
            async for _ in news:
                done = False
                while not done:
                    done = await self._all()
                    await asyncio.sleep(COALESCE_S if done else RETRY_S)

    async def _all(self) -> bool:
        """Hand over what has ended; False when that has to be tried again: another control plane
        leads, or the store is away."""
        try:
            jobs = await self.door.service.read(self._ended)
            if not self._looked_back:
                jobs += await self._before()
                self._looked_back = True
            for job in jobs:
                await self._one(job)
        except Unavailable:
            return False
        return True

    async def of(self, job: Job) -> Handover:
        """Return how it stands with a task's outputs."""
        if job.state is not JobState.SUCCEEDED or not kept(job):
            return Handover()
        known = self._known.get(job.id)
        if known is None:
            known = await self._told(job)
            if known.done:
                self._know(job.id, known)
        return known

    def _ended(self, state: State) -> list[Job]:
        return [job for job in state.finished.values() if self._open(job)]

    def _open(self, job: Job) -> bool:
        wanted = job.state is JobState.SUCCEEDED and is_task(job) and bool(kept(job))
        return wanted and job.id not in self._known

    async def _before(self) -> list[Job]:
        """Return tasks that ended before this process began and were not handed over."""
        done = (JobState.SUCCEEDED.value,)
        stored = await self.door.stored(
            lambda store: store.jobs(tenant=None, states=done, limit=LOOK_BACK)
        )
        return [job for job in stored if self._open(job) and not (await self.of(job)).done]

    async def _told(self, job: Job) -> Handover:
        """Return what the ledger says."""
        facts = await self.door.stored(
            lambda store: store.events(subject=job.id, newest=True, limit=FACTS_MAX)
        )
        for fact in facts:
            if fact.kind in (DONE, NOT_DONE):
                return Handover(why=str(fact.data.get("why", "")))
        # Facts go to the archive after this long; a task of then is long done.
        age_ms = self.door.clock.now_ms() - job.ended_ms
        return Handover(done=age_ms > self.door.settings.keep_days * DAY_MS)

    async def _one(self, job: Job) -> None:
        if (await self.of(job)).done:
            return
        why = ""
        try:
            document = await self.documents.of(job)
            await self._hand_over(job, document)
        except Unavailable:
            raise
        except (CausewayError, OSError) as error:
            why = f"the outputs could not be written: {error}"
        except Exception as error:
            # A defect ends this task's hand-over, told as what it is, not that of all others.
            logging.getLogger("causeway").error("%s was not handed over", job.id, exc_info=error)
            why = f"a defect in the control plane: {type(error).__name__}"
        kind = NOT_DONE if why else DONE
        await self.door.service.run(
            lambda tx: tx.fact(kind, job.id, tenant=job.tenant, **({"why": why} if why else {}))
        )
        self._know(job.id, Handover(why=why))

    async def _hand_over(self, job: Job, document: Mapping[str, object]) -> None:
        rows = document.get("outputs")
        urls = [str(one["url"]) for one in rows] if isinstance(rows, list) else []
        open_to = folders.opened(self.door, job.tenant)
        for place in kept(job):
            number, artifact = int(place.rpartition("/")[2]), job.outputs[place]
            url = urls[number]
            path = local_path(url)
            if path:
                target = folders.allowed(open_to, path, where=f"$.outputs[{number}].url")
                await asyncio.to_thread(_write, self.door.chunks, artifact, place, target)
            elif url.removeprefix(KEPT):
                await self._name(job, artifact, url.removeprefix(KEPT))

    async def _name(self, job: Job, artifact: str, name: str) -> None:
        """Put an artefact into the library, in the name of who sent the task."""
        found = await self.door.stored(lambda store: store.artifact(job.tenant, artifact))
        if found is None:
            raise CausewayError(f"the artefact {artifact} is gone")
        sender = Caller(token=job.submitted_by, tenant=job.tenant, role=AccessRole.MEMBER)
        named = replace(found, name=name)
        await self.door.service.run(lambda tx: keeping.bring(tx, sender, named))

    def _know(self, job: str, how: Handover) -> None:
        self._known[job] = how
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)


def _write(store: ChunkStore, artifact: str, place: str, target: Path) -> None:
    """Write an output's files. `file/NAME` is the target itself, `tree/PATH` lies below it."""
    manifest = manifests.parse_manifest(store.get_manifest(artifact))
    for entry in manifest.files:
        kind, _, inside = entry.path.removeprefix(f"{place}/").partition("/")
        folders.written(store, entry, target / inside if kind == "tree" else target)
