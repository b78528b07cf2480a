"""From a task to a submission: its local files, its program and its image become artefacts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import msgspec

from causeway.api import library, submitting
from causeway.api.content import Upload
from causeway.api.door import Door
from causeway.api.http import decode, strict_json
from causeway.api.tes import folders
from causeway.model.artifacts import CHUNK_BYTES, FileEntry, Manifest
from causeway.model.errors import InvalidInput, NotFound
from causeway.model.parties import Caller
from causeway.ports.artifacts import ChunkStore
from causeway.sdk import manifests
from causeway.spec import tes
from causeway.spec.tes_files import is_below, local_path
from causeway.spec.tes_task import ARCHIVE, FOLDER, IMAGE_PLACE, Task

PROGRAMS = ("program.py", "storage.py")
DOCUMENT, PLAN = "document.json", "plan.json"
CORES_MAX = 1_000_000
"""More than any pool holds; what no computer holds is refused later, with its place."""
_OWN_NAMES = frozenset({"tags", "env", "backend_parameters"})
_READ_ONLY = frozenset({"id", "state", "logs", "creation_time"})


def read(body: bytes) -> Task:
    """Read a task. What is null is as if it were not there, and what only servers write or nobody
    knows is passed over, as servers of this standard do: clients send more than they must."""
    tree = strict_json(body or b"{}")
    if not isinstance(tree, dict):
        raise InvalidInput("a task is an object", where="$")
    kept = {name: value for name, value in tree.items() if name not in _READ_ONLY}
    needs = kept.get("resources")
    if isinstance(needs, dict) and isinstance(cores := needs.get("cpu_cores"), float):
        # The specification has whole cores; what some clients send is rounded up.
        kept["resources"] = {**needs, "cpu_cores": math.ceil(max(-1.0, min(cores, CORES_MAX)))}
    return decode(json.dumps(_without_nulls(kept)).encode(), Task, tolerant=True)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value if v is not None] if isinstance(value, list) else value


async def create(door: Door, caller: Caller, task: Task) -> str:
    """Accept a task durably; return its job's identifier."""
    shared = folders.shared(door, caller.tenant)
    made = tes.translate(task, shared=shared)
    open_to = folders.opened(door, caller.tenant)
    for number, output in enumerate(task.outputs):
        where = f"$.outputs[{number}].url"
        path = local_path(output.url)
        if path and not is_below(path, shared, where):
            folders.allowed(open_to, path, where=where)
    inputs = dict(made.artifacts)
    for one in made.local:
        where = f"$.inputs[{one.number}].url"
        real = folders.allowed(open_to, one.path, where=where)
        manifest = await asyncio.to_thread(
            folders.taken_up, door.chunks, real, folder=one.type == "DIRECTORY", where=where
        )
        inputs[f"{FOLDER}/in/{one.number}"] = await _kept(door, caller, manifest)
    image = ""
    if made.archive:
        inputs[IMAGE_PLACE], image = await _archive(door, caller, made.archive)
    document = _document(task, made.unsupported)
    bundle = {DOCUMENT: document, PLAN: made.plan}
    manifest = await asyncio.to_thread(_bundled, door.chunks, bundle)
    inputs = {FOLDER: await _kept(door, caller, manifest), **inputs}
    submission = tes.submission(made, inputs=inputs, archive=image)
    (accepted,) = await submitting.accept(door, caller, [(submission, "")])
    return accepted.id


def _document(task: Task, unsupported: tuple[str, ...]) -> dict[str, Any]:
    """Return what was sent, without what is not kept: defaults, and keys that nobody knows."""
    found: dict[str, Any] = _spare(json.loads(msgspec.json.encode(task)))
    parameters = found.get("resources", {}).get("backend_parameters", {})
    for key in unsupported:
        parameters.pop(key, None)
    return found


def _spare(value: Any) -> Any:
    """Leave out what is empty, but for a text that was sent so and what people named."""
    if isinstance(value, dict):
        pairs = ((name, one if name in _OWN_NAMES else _spare(one)) for name, one in value.items())
        return {name: one for name, one in pairs if one or (name == "content" and one is not None)}
    return [_spare(one) for one in value] if isinstance(value, list) else value


def _bundled(store: ChunkStore, texts: Mapping[str, object]) -> Manifest:
    """Put the program and what it reads into the store."""
    contents = dict(_programs())
    contents |= {name: json.dumps(text).encode() for name, text in texts.items()}
    entries = []
    for name, data in sorted(contents.items()):
        pieces = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        chunks = [hashlib.sha256(piece).hexdigest() for piece in pieces]
        for chunk in store.missing(chunks):
            store.put(chunk, pieces[chunks.index(chunk)])
        entries.append(FileEntry(path=name, bytes=len(data), mode=0o644, chunks=tuple(chunks)))
    return Manifest(kind="workdir", files=tuple(entries))


@lru_cache(maxsize=1)
def _programs() -> Mapping[str, bytes]:
    return {name: files(__package__).joinpath(name).read_bytes() for name in PROGRAMS}


async def _kept(door: Door, caller: Caller, manifest: Manifest) -> str:
    """Record an artefact whose content is in the store, as if the caller had uploaded it."""
    raw = manifests.manifest_bytes(manifest)
    upload = Upload(
        id=manifests.manifest_id(raw),
        manifest=manifest,
        raw=raw,
        bytes=manifests.total_bytes(manifest),
        signature="",
        job="",
        fence=0,
        name="",
        parents=(),
    )
    await asyncio.to_thread(door.chunks.put_manifest, upload.id, raw)
    return await library.record(door, library.Bearer(caller=caller), upload)


async def _archive(door: Door, caller: Caller, reference: str) -> tuple[str, str]:
    """Return the artefact that holds an image's archive, and the image's name for the engine."""
    name, _, inside = reference.partition("/")
    found = await door.stored(lambda store: store.artifact(caller.tenant, name))
    where = "$.executors[0].image"
    if found is None:
        raise NotFound(
            f"there is no artefact {name!r} with an image's archive",
            where=where,
            hint="podman save -o mine.tar IMAGE; causeway upload mine.tar --name NAME",
        )
    raw = await asyncio.to_thread(door.chunks.get_manifest, found.id)
    paths = [entry.path for entry in manifests.parse_manifest(raw).files]
    if inside:
        paths = [path for path in paths if path == inside]
    if len(paths) != 1:
        raise InvalidInput(
            f"artefact {name!r} holds {len(paths)} files that may be the archive; one is needed",
            where=where,
            hint="archive:ARTEFACT/PATH names one of them",
        )
    return found.id, f"{ARCHIVE}{IMAGE_PLACE}/{paths[0]}"
