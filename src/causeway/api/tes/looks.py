"""What there is to see of a task: what was sent, what its commands said, what it made."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from causeway.api.door import Door
from causeway.api.tes.intake import DOCUMENT
from causeway.model.errors import NotFound
from causeway.model.jobs import Job
from causeway.ports.artifacts import ChunkStore
from causeway.ports.logs import Logs
from causeway.sdk import manifests
from causeway.spec import tes_view
from causeway.spec.tes_task import FOLDER, KEPT, REPORT
from causeway.spec.tes_view import CommandLog

TAIL_BYTES = 64 * 1024
"""How much of a command's words a FULL view shows: the end."""
POINTS_MAX = 5_000
DOCUMENTS_MAX = 256
DOCUMENT_CHARS_MAX = 64 * 1024
"""Larger ones are read again each time."""


@dataclass(slots=True)
class Documents:
    """What was sent, by the artefact that keeps it; the last few stay in memory."""

    store: ChunkStore
    _known: OrderedDict[str, Mapping[str, object]] = field(default_factory=OrderedDict)

    async def of(self, job: Job) -> Mapping[str, object]:
        """Return what was sent as a task. Of one whose content is gone, only the name is left."""
        bundle = job.spec.inputs[FOLDER]
        known = self._known.get(bundle)
        if known is not None:
            self._known.move_to_end(bundle)
            return known
        try:
            text = await asyncio.to_thread(file_of, self.store, bundle, DOCUMENT)
        except NotFound:
            return {"name": job.spec.name, "executors": []}
        found: Mapping[str, object] = json.loads(text)
        if len(text) <= DOCUMENT_CHARS_MAX:
            self._known[bundle] = found
            if len(self._known) > DOCUMENTS_MAX:
                self._known.popitem(last=False)
        return found


def file_of(store: ChunkStore, artifact: str, path: str) -> bytes:
    """Return a file of an artefact, or raise `NotFound`."""
    manifest = manifests.parse_manifest(store.get_manifest(artifact))
    for entry in manifest.files:
        if entry.path == path:
            return b"".join(store.get(chunk) for chunk in entry.chunks)
    raise NotFound(f"{artifact} holds no {path}")


async def commands(door: Door, job: Job, *, words: bool) -> tuple[CommandLog, ...]:
    """Return what is known of every attempt's commands; with `words`, the ends of what they said
    too."""
    rows = await door.stored(lambda store: store.progress(job.id, limit=POINTS_MAX))
    found: list[CommandLog] = []
    for fence in dict.fromkeys(row.fence for row in rows):
        points = [(row.step, row.values) for row in rows if row.fence == fence]
        found += tes_view.commands_of(fence, points)
    if not words:
        return tuple(found)
    return await asyncio.to_thread(_with_words, door.logs, job.id, found)


def _with_words(logs: Logs, job: str, found: Sequence[CommandLog]) -> tuple[CommandLog, ...]:
    sizes = {(one.fence, one.stream): one.bytes for one in logs.streams(job)}
    said = []
    for one in found:
        texts = {}
        for name, (begin, end) in one.spans.items():
            stream = f"rank-0.{name}"
            last = end if end >= 0 else sizes.get((one.fence, stream), 0)
            start = max(begin, last - TAIL_BYTES)
            data = b""
            if last > start:
                data = logs.read(job, one.fence, stream, offset=start, limit=last - start)
            texts[name] = data.decode(errors="replace")
        said.append(replace(one, stdout=texts["stdout"], stderr=texts["stderr"]))
    return tuple(said)


async def outputs(door: Door, job: Job) -> list[dict[str, str]]:
    """Return what was sent where, as the task's program reported it."""
    report = job.outputs.get(REPORT)
    if report is None:
        return []
    try:
        text = await asyncio.to_thread(file_of, door.chunks, report, REPORT)
    except NotFound:
        # Its content is no longer kept.
        return []
    return [_row(job, one) for one in json.loads(text)["outputs"]]


def _row(job: Job, one: Mapping[str, str]) -> dict[str, str]:
    """Return one row; what stays an artefact is called by a name that another task may use."""
    url = str(one["url"])
    if url.startswith(KEPT):
        place = f"{FOLDER}/out/{one['number']}"
        url = f"{KEPT}{job.outputs.get(place, '')}/{place}/{one['kept']}"
    return {"url": url, "path": str(one["path"]), "size_bytes": str(one["size_bytes"])}
