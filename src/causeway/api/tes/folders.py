"""Folders of the control plane's machine that tasks may name with `file://`.

None, unless the operator opens some (`CAUSEWAY_TES_FOLDERS`). `{tenant}` in a folder's name stands
for the project, so that each has its own. A path counts as where it really leads, links followed.
Files are read when a task is sent, and written when it has ended well, by the control plane and as
its user; islands never see the folder.

Others are there at the islands as well (`CAUSEWAY_TES_SHARED`): a file system that client and
islands have in common. What lies below those is used in place, and never touched here.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from causeway.api.door import Door
from causeway.model.artifacts import FileEntry, Manifest
from causeway.model.errors import InvalidInput, NotFound, Refused
from causeway.ports.artifacts import ChunkStore
from causeway.sdk import manifests


def opened(door: Door, tenant: str) -> tuple[Path, ...]:
    """Return the folders that are open to a project."""
    return tuple(Path(one.replace("{tenant}", tenant)) for one in door.settings.tes_folders)


def shared(door: Door, tenant: str) -> tuple[str, ...]:
    """Return the folders that islands share with a project's clients."""
    return tuple(one.replace("{tenant}", tenant) for one in door.settings.tes_shared)


def allowed(folders: Sequence[Path], path: str, *, where: str) -> Path:
    """Return where a path really leads; `Refused` unless that is below an open folder."""
    real = Path(path).resolve()
    if not any(real.is_relative_to(folder.resolve()) for folder in folders):
        raise Refused(
            f"{path} is not below a folder that is open to tasks",
            where=where,
            hint="an operator opens folders with CAUSEWAY_TES_FOLDERS; or send text, an address "
            "of http(s) or s3, or an artefact",
        )
    return real


def taken_up(store: ChunkStore, path: Path, *, folder: bool, where: str) -> Manifest:
    """Put a file, or a folder, into the store; return what it holds."""
    if folder and not path.is_dir():
        raise NotFound(f"there is no folder {path}", where=where)
    if not folder and not path.is_file():
        raise NotFound(f"there is no file {path}", where=where)
    top = path if folder else path.parent
    manifest = manifests.build_manifest(
        top, kind="dataset", paths=() if folder else (f"./{path.name}",)
    )
    for entry in manifest.files:
        absent = set(store.missing(entry.chunks))
        for index, chunk in enumerate(entry.chunks):
            if chunk not in absent:
                continue
            data = manifests.read_chunk(top, entry.path, index)
            if hashlib.sha256(data).hexdigest() != chunk:
                raise InvalidInput(f"{path} changed while it was read", where=where)
            store.put(chunk, data)
    return manifest


def written(store: ChunkStore, entry: FileEntry, target: Path) -> None:
    """Write a file of an artefact; it appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, half = tempfile.mkstemp(dir=target.parent, prefix=".causeway-")
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in entry.chunks:
                file.write(store.get(chunk))
            os.fchmod(file.fileno(), entry.mode)
            file.flush()
            os.fsync(file.fileno())
        Path(half).replace(target)
    finally:
        Path(half).unlink(missing_ok=True)
