"""An island's cache of content: the artefacts that were moved here last, bounded in bytes.

    <root>/chunks/<sha256>      one chunk
    <root>/manifests/<sha256>   canonical JSON of an artefact whose chunks are all here
    <root>/tmp/...              being written; removed at the start

What it is for: what a job needed here is not fetched again for the next one, and other islands can
be given it (`agent.peers`). It is a cache: nothing is synced, a chunk that is damaged or gone is
fetched again, and a full disk means that an artefact is not kept, never that a transfer fails. Room
is made by whole artefacts, the one that was used longest ago first; chunks that several share stay
while one of them does. Chunks of a transfer that did not end well stay too, so that the next try
finds them, and are the first to make room. One process owns the folder; its threads may all call at
once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import threading
import uuid
from collections import OrderedDict
from pathlib import Path

from causeway.adapters.content.store import SOUND_MAX, Remembered
from causeway.model.artifacts import Manifest
from causeway.model.errors import InvalidInput, NotFound
from causeway.sdk import manifests

log = logging.getLogger("causeway.agent")
LISTED_MAX = 256
"""Artefacts that are kept, and named to the centre, at most."""


class FolderCache:
    """`ports.artifacts.ChunkCache` in a folder."""

    def __init__(self, root: Path, *, bytes_max: int) -> None:
        self._root = root
        self._bytes_max = bytes_max
        self._lock = threading.RLock()
        self._whole: OrderedDict[str, dict[str, int]] = OrderedDict()
        """Artefact -> its chunks with their sizes; the last used last."""
        self._filling: dict[str, dict[str, int]] = {}
        """The same of artefacts that are on their way here."""
        self._loose: dict[str, int] = {}
        """Chunks that no artefact here is made of, with their sizes; the oldest first."""
        self._sound = Remembered(SOUND_MAX)
        for name in ("chunks", "manifests"):
            (root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(root / "tmp", ignore_errors=True)
        (root / "tmp").mkdir(mode=0o700)
        self._remember()

    def get(self, chunk: str) -> bytes | None:
        """Return a chunk, verified; None when it is not here."""
        place = self._chunk(chunk)
        try:
            data = place.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != chunk:
            place.unlink(missing_ok=True)
            return None
        self._sound.add(chunk)
        return data

    def open(self, chunk: str) -> int:
        """Return a descriptor to read a verified chunk from; `NotFound` when it is not here. It
        reads on even when the chunk is given up meanwhile."""
        try:
            handle = os.open(self._chunk(chunk), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise NotFound(f"there is no chunk {chunk} here") from None
        if chunk not in self._sound and self.get(chunk) is None:
            os.close(handle)
            raise NotFound(f"chunk {chunk} was damaged here")
        return handle

    def whole(self) -> tuple[str, ...]:
        """Return the artefacts that are here whole, the last used first."""
        with self._lock:
            return tuple(reversed(self._whole))

    def manifest(self, artifact: str) -> bytes:
        """Return a whole artefact's manifest, and count it as used. `NotFound` when it is not."""
        with self._lock:
            if artifact not in self._whole:
                raise NotFound(f"{artifact} is not here")
            self._used(artifact)
            return self._manifest(artifact).read_bytes()

    def fill(self, manifest: Manifest) -> Filling | None:
        """Make room for an artefact; None when it is here, on its way, or too large."""
        raw = manifests.manifest_bytes(manifest)
        artifact, sizes = manifests.manifest_id(raw), manifests.chunk_sizes(manifest)
        with self._lock:
            if artifact in self._whole:
                self._used(artifact)
            if artifact in self._whole or artifact in self._filling:
                return None
            if not self._make_room(sizes):
                return None
            self._filling[artifact] = sizes
            for chunk in sizes:
                self._loose.pop(chunk, None)
        return Filling(cache=self, artifact=artifact, raw=raw, sizes=sizes)

    def under_way(self, artifact: str) -> bool:
        """Say whether somebody is filling it in now."""
        with self._lock:
            return artifact in self._filling

    def used_bytes(self) -> int:
        """Return what the chunks take, those that are still to come included."""
        with self._lock:
            return sum(self._sizes().values())

    def _sizes(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for sizes in (self._loose, *self._whole.values(), *self._filling.values()):
            found |= sizes
        return found

    def _make_room(self, sizes: dict[str, int]) -> bool:
        """Give up artefacts until the new one fits; say whether it does."""
        if sum(sizes.values()) > self._bytes_max:
            return False
        excess = self._beyond(sizes)
        for chunk in [chunk for chunk in self._loose if chunk not in sizes]:
            if excess <= 0:
                break
            excess -= self._loose.pop(chunk)
            self._chunk(chunk).unlink(missing_ok=True)
        while excess > 0 or len(self._whole) >= LISTED_MAX:
            if not self._whole:
                # What is on its way takes the room; it is not given up for something else.
                return False
            self._give_up(next(iter(self._whole)))
            excess = self._beyond(sizes)
        return True

    def _beyond(self, sizes: dict[str, int]) -> int:
        return sum((self._sizes() | sizes).values()) - self._bytes_max

    def _give_up(self, artifact: str) -> None:
        self._manifest(artifact).unlink(missing_ok=True)
        self._remove(self._whole.pop(artifact))

    def _remove(self, sizes: dict[str, int]) -> None:
        """Remove the chunks that nothing else here is made of."""
        needed = self._sizes()
        for chunk in sizes:
            if chunk not in needed:
                self._chunk(chunk).unlink(missing_ok=True)

    def _used(self, artifact: str) -> None:
        self._whole.move_to_end(artifact)
        # The order survives a restart by the files' times.
        with contextlib.suppress(OSError):
            os.utime(self._manifest(artifact))

    def _remember(self) -> None:
        """Take over what an earlier process kept; what is not whole is removed."""
        listed = sorted((self._root / "manifests").iterdir(), key=lambda p: p.stat().st_mtime_ns)
        present = {
            place.name: place.stat().st_size
            for place in (self._root / "chunks").iterdir()
            if manifests.is_chunk_name(place.name)
        }
        for place in listed:
            artifact, raw = f"sha256:{place.name}", place.read_bytes()
            sizes = {"": -1}
            if manifests.manifest_id(raw) == artifact:
                sizes = manifests.chunk_sizes(manifests.parse_manifest(raw))
            if all(present.get(chunk) == size for chunk, size in sizes.items()):
                self._whole[artifact] = sizes
            else:
                place.unlink()
        needed = self._sizes()
        self._loose = {chunk: size for chunk, size in present.items() if chunk not in needed}
        # The owner may have given the cache less room since.
        self._make_room({})

    def keep(self, chunk: str, data: bytes | bytearray) -> None:
        """Write a chunk; `OSError` when the disk does not take it."""
        temporary = self._root / "tmp" / uuid.uuid4().hex
        try:
            temporary.write_bytes(data)
            temporary.replace(self._chunk(chunk))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def has(self, chunk: str) -> bool:
        """Say whether the chunk is here."""
        return self._chunk(chunk).exists()

    def settle(self, artifact: str, raw: bytes, *, whole: bool) -> None:
        """An artefact's filling is over."""
        with self._lock:
            sizes = self._filling.pop(artifact)
            if whole and all(self.has(chunk) for chunk in sizes):
                self._manifest(artifact).write_bytes(raw)
                self._whole[artifact] = sizes
            else:
                here = {chunk: size for chunk, size in sizes.items() if self.has(chunk)}
                needed = self._sizes()
                self._loose |= {c: size for c, size in here.items() if c not in needed}

    def _chunk(self, chunk: str) -> Path:
        if not manifests.is_chunk_name(chunk):
            raise InvalidInput(f"{chunk[:80]!r} is not a lower-case hex SHA-256")
        return self._root / "chunks" / chunk

    def _manifest(self, artifact: str) -> Path:
        return self._root / "manifests" / artifact.removeprefix("sha256:")


class Filling:
    """`ports.artifacts.Filling`: one artefact on its way into the cache."""

    def __init__(
        self, *, cache: FolderCache, artifact: str, raw: bytes, sizes: dict[str, int]
    ) -> None:
        self._cache = cache
        self._artifact = artifact
        self._raw = raw
        self._sizes = sizes
        self._given_up = False

    def lacks(self, chunk: str) -> bool:
        """Say whether the chunk is still to be added."""
        return not self._given_up and chunk in self._sizes and not self._cache.has(chunk)

    def add(self, chunk: str, data: bytes | bytearray) -> None:
        """Keep a chunk that was checked. A disk that does not take it ends the filling: whoever
        moves the artefact goes on."""
        try:
            self._cache.keep(chunk, data)
        except OSError as error:
            self._given_up = True
            log.warning("%s is not kept for others: %s", self._artifact, error)

    def close(self, *, whole: bool) -> None:
        """It is all there, or never will be."""
        self._cache.settle(self._artifact, self._raw, whole=whole and not self._given_up)
