"""Making a manifest back into files: safely, and so that it can stop anywhere.

Every file grows in `<folder>/.partial/<digest of path and chunks>`, chunk by chunk at its offset.
What is there from an earlier try, and what an older version of the file holds at the same offset,
is checked by hash and used; only the rest is wanted. When all is there, files are synced and
renamed into place: a reader sees a whole file, the one before, or none.

The manifest's paths were checked when it was parsed. What is checked here is the folder: a
symbolic link in it is never followed to somewhere else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from causeway.model.artifacts import CHUNK_BYTES, FileEntry, Manifest
from causeway.model.errors import InvalidInput
from causeway.sdk import manifests


class Unpacking:
    """One pull into one folder. `keep` may be called from several threads; the rest from one."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self.artifact = manifests.manifest_id(manifests.manifest_bytes(manifest))
        self._room = folder / manifests.PARTIAL
        self._places: dict[str, list[tuple[Path, int]]] = {}
        """Chunk -> where it is still needed: (partial file, offset)."""
        self._partials: dict[str, Path] = {}
        """Path -> its partial file; files that are in place already have none."""
        self.sizes: dict[str, int] = {}
        """Chunk -> bytes that it must have."""
        for entry in manifest.files:
            for index, chunk in enumerate(entry.chunks):
                size = manifests.chunk_bytes(entry, index)
                if self.sizes.setdefault(chunk, size) != size:
                    raise InvalidInput(f"chunk {chunk} has two sizes", where=entry.path)
        folder.mkdir(parents=True, exist_ok=True)
        if self._room.is_symlink():
            raise InvalidInput(f"{str(self._room)!r} is a symbolic link", hint="remove it")
        self._room.mkdir(exist_ok=True, mode=0o700)

    def wanted(self) -> list[str]:
        """Look at what is there; return the chunks that must be fetched, each once."""
        for entry in self._manifest.files:
            target = self._target(entry.path)
            partial = self._room / _partial_name(entry)
            have = _held(partial, entry)
            old = _held(target, entry)
            if all(old) and _is_file_of(target, entry.bytes):
                continue
            self._partials[entry.path] = partial
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "r+b", buffering=0) as file:
                file.truncate(entry.bytes)
                for index, chunk in enumerate(entry.chunks):
                    offset = index * CHUNK_BYTES
                    if have[index]:
                        continue
                    if old[index]:
                        piece = manifests.read_chunk(target.parent, target.name, index)
                        _write_whole(file.fileno(), piece, offset)
                    else:
                        self._places.setdefault(chunk, []).append((partial, offset))
        return list(self._places)

    def keep(self, chunk: str, data: bytes | bytearray) -> None:
        """Check a fetched chunk and write it everywhere that it belongs."""
        refuse_damaged(chunk, self.sizes[chunk], data)
        for partial, offset in self._places[chunk]:
            with partial.open("r+b", buffering=0) as file:
                _write_whole(file.fileno(), data, offset)

    def finish(self) -> None:
        """Sync every file, rename it into place, and remove the partial room."""
        for entry in self._manifest.files:
            target = self._target(entry.path)
            mode = 0o755 if entry.mode & stat.S_IXUSR else 0o644
            if entry.path not in self._partials:
                target.chmod(mode)
                continue
            partial = self._partials[entry.path]
            partial.chmod(mode)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            if target.is_dir() and not target.is_symlink():
                raise InvalidInput(f"{entry.path!r} is a folder here", where=entry.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(target)
        shutil.rmtree(self._room)

    def _target(self, path: str) -> Path:
        """Return where the file goes; refuse a way there that leads through a link or a file."""
        place = self._folder
        for part in path.split("/")[:-1]:
            place = place / part
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise InvalidInput(f"{str(place)!r} is in the way of {path!r}", where=path)
        return self._folder / path


def refuse_damaged(chunk: str, size: int, data: bytes | bytearray) -> None:
    """Raise `InvalidInput` when the data is not what the chunk's name says."""
    if len(data) != size or hashlib.sha256(data).hexdigest() != chunk:
        raise InvalidInput(
            f"chunk {chunk} did not arrive as it was named; it was not kept",
            hint="run the transfer again",
        )


def _partial_name(entry: FileEntry) -> str:
    """Name by path and content, so that another version never continues this one's file."""
    text = "\n".join((entry.path, *entry.chunks))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _held(place: Path, entry: FileEntry) -> list[bool]:
    """Say for each chunk of the entry whether the file holds it at its offset."""
    if not stat.S_ISREG(_mode(place)):
        return [False] * len(entry.chunks)
    return [
        hashlib.sha256(manifests.read_chunk(place.parent, place.name, index)).hexdigest() == chunk
        for index, chunk in enumerate(entry.chunks)
    ]


def _write_whole(handle: int, data: bytes | bytearray, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view = view[written:]
        offset += written


def _mode(place: Path) -> int:
    """Return the mode without following a link, or 0 when nothing is there."""
    try:
        return place.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _is_file_of(place: Path, size: int) -> bool:
    return stat.S_ISREG(_mode(place)) and place.lstat().st_size == size
