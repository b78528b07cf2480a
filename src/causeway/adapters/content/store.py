"""A content store in a folder: chunks and manifests under their SHA-256.

    <root>/chunks/ab/cdef...      one chunk, at most 4 MiB
    <root>/manifests/ab/cdef...   canonical JSON of one manifest
    <root>/tmp/...                being written; swept when an hour old
    <root>/damaged/...            chunks whose bytes no longer hash to their name

A write goes to a temporary name, is synced, renamed, and the folder is synced: after `put` returns,
a power cut loses nothing, and a reader never sees half a chunk. Many threads may call at once.

Collection is mark and sweep. `missing` renews the time of every chunk that it reports as held, and
nothing younger than an hour is swept: a chunk that an uploader was told not to send stays until its
manifest can have arrived. When a kept manifest cannot be read, nothing at all is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

from causeway.model.artifacts import CHUNK_BYTES
from causeway.model.errors import InvalidInput, NotFound, TooLarge
from causeway.ports import Clock
from causeway.sdk.manifests import MANIFEST_BYTES_MAX, is_chunk_name

GRACE_MS = 60 * 60 * 1000
SOUND_MAX = 65_536


class Remembered:
    """A bounded set: the names that were added last. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, name: str) -> None:
        with self._lock:
            self._names[name] = None
            if len(self._names) > self._most:
                self._names.popitem(last=False)


class _WallClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


class FolderStore:
    """`ports.artifacts.ChunkStore` in a folder. One process owns the folder."""

    def __init__(self, root: Path, *, clock: Clock | None = None) -> None:
        self._root = root
        self._clock: Clock = clock or _WallClock()
        self._sound = Remembered(SOUND_MAX)
        """Chunks that this process has verified."""
        # Between looking at a chunk's age and removing it, nobody may be told that it is held.
        self._sweeping = threading.Lock()
        for name in ("chunks", "manifests", "tmp", "damaged"):
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("chunks", "manifests"):
            # Made and synced once, here, so that no write depends on another's unsynced folder.
            for number in range(256):
                (root / name / f"{number:02x}").mkdir(exist_ok=True, mode=0o700)
            _sync_folder(root / name)
        _sync_folder(root)

    def missing(self, chunks: Iterable[str]) -> list[str]:
        """Return those that are not held, in the order given, without repeats."""
        absent: list[str] = []
        for chunk in dict.fromkeys(chunks):
            place = self._chunk(chunk)
            with self._sweeping:
                if not self._renew(place):
                    absent.append(chunk)
        return absent

    def put(self, chunk: str, data: bytes) -> None:
        """Keep a chunk durably. `InvalidInput` when the data does not hash to its name."""
        place = self._chunk(chunk)
        if len(data) > CHUNK_BYTES:
            raise TooLarge(f"chunk has {len(data)} bytes; the most is {CHUNK_BYTES}")
        if hashlib.sha256(data).hexdigest() != chunk:
            raise InvalidInput(f"the data does not hash to {chunk}", hint="send the chunk again")
        self._write(place, data)

    def get(self, chunk: str) -> bytes:
        """Return a chunk, verified. `NotFound` when it is not held, or is damaged."""
        place = self._chunk(chunk)
        try:
            data = place.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"there is no chunk {chunk}") from None
        if hashlib.sha256(data).hexdigest() != chunk:
            # Set aside, so that `missing` names it and the next upload heals it.
            place.replace(self._root / "damaged" / f"{chunk}.{uuid.uuid4().hex}")
            raise NotFound(
                f"chunk {chunk} was damaged on disk and is set aside",
                hint="push the artefact again from where it was made",
            )
        return data

    def piece(self, chunk: str, start: int, end: int) -> tuple[bytes, int]:
        """Return the bytes from `start` to before `end`, and the size of the whole chunk. Whoever
        fetches a chunk in pieces checks the whole; here it is verified at its first piece."""
        place = self._chunk(chunk)
        if chunk not in self._sound:
            self.get(chunk)
            self._sound.add(chunk)
        try:
            with place.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                return os.pread(file.fileno(), max(0, min(end, size) - start), start), size
        except FileNotFoundError:
            raise NotFound(f"there is no chunk {chunk}") from None

    def put_manifest(self, artifact: str, manifest: bytes) -> None:
        """Keep the canonical JSON of a manifest under its digest."""
        place = self._manifest(artifact)
        if len(manifest) > MANIFEST_BYTES_MAX:
            raise TooLarge(f"manifest is over {MANIFEST_BYTES_MAX} bytes")
        if "sha256:" + hashlib.sha256(manifest).hexdigest() != artifact:
            raise InvalidInput(f"the manifest does not hash to {artifact}")
        self._write(place, manifest)

    def get_manifest(self, artifact: str) -> bytes:
        """Return it, verified. `NotFound` when it is not held, or is damaged."""
        try:
            data = self._manifest(artifact).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"there is no artefact {artifact}") from None
        if "sha256:" + hashlib.sha256(data).hexdigest() != artifact:
            raise NotFound(f"the manifest of {artifact} is damaged on disk")
        return data

    def collect(self, keep: Iterable[str]) -> int:
        """Remove what no kept artefact names and is over an hour old. Return the bytes freed."""
        kept = set(keep)
        young_ms = self._clock.now_ms() - GRACE_MS
        doomed: list[Path] = []
        for place in self._files("manifests"):
            artifact = f"sha256:{place.parent.name}{place.name}"
            if artifact in kept:
                continue
            if place.stat().st_mtime_ns // 1_000_000 > young_ms:
                kept.add(artifact)
            else:
                doomed.append(place)
        marked = self._mark(kept)
        freed = sum(self._sweep(place, young_ms) for place in doomed)
        for place in self._files("chunks"):
            if place.parent.name + place.name not in marked:
                freed += self._sweep(place, young_ms)
        for room in ("tmp", "damaged"):
            for place in (self._root / room).iterdir():
                freed += self._sweep(place, young_ms)
        return freed

    def _mark(self, kept: set[str]) -> set[str]:
        marked: set[str] = set()
        for artifact in kept:
            body = json.loads(self.get_manifest(artifact))
            for entry in body["files"]:
                marked.update(entry["chunks"])
        return marked

    def _sweep(self, place: Path, young_ms: int) -> int:
        with self._sweeping:
            try:
                found = place.stat()
            except FileNotFoundError:
                return 0
            if found.st_mtime_ns // 1_000_000 > young_ms:
                return 0
            place.unlink()
            return found.st_size

    def _files(self, room: str) -> Iterator[Path]:
        for folder in (self._root / room).iterdir():
            yield from folder.iterdir()

    def _chunk(self, chunk: str) -> Path:
        if not is_chunk_name(chunk):
            raise InvalidInput(f"{chunk[:80]!r} is not a lower-case hex SHA-256")
        return self._root / "chunks" / chunk[:2] / chunk[2:]

    def _manifest(self, artifact: str) -> Path:
        scheme, _, name = artifact.partition(":")
        if scheme != "sha256" or not is_chunk_name(name):
            raise InvalidInput(f"{artifact[:80]!r} is not an artefact id (sha256:<hex>)")
        return self._root / "manifests" / name[:2] / name[2:]

    def _renew(self, place: Path) -> bool:
        """Set the time to now; say whether the file was there."""
        now_ns = self._clock.now_ms() * 1_000_000
        try:
            os.utime(place, ns=(now_ns, now_ns))
        except FileNotFoundError:
            return False
        return True

    def _write(self, place: Path, data: bytes) -> None:
        with self._sweeping:
            held = self._renew(place)
        if held:
            # Whoever renamed it into place may not have synced the folder yet.
            _sync_folder(place.parent)
            return
        temporary = self._root / "tmp" / uuid.uuid4().hex
        now_ns = self._clock.now_ms() * 1_000_000
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.utime(file.fileno(), ns=(now_ns, now_ns))
                os.fsync(file.fileno())
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    """Make renames and new names in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
