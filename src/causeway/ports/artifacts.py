"""Content: where chunks are kept at the centre, and how an island moves artefacts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from causeway.model.artifacts import Manifest


class ChunkStore(Protocol):
    """Chunks by SHA-256, at the centre. Writes are durable and verified before they return."""

    def missing(self, chunks: Iterable[str]) -> list[str]:
        """Return those that are not held, in the order given, without repeats."""

    def put(self, chunk: str, data: bytes) -> None:
        """Keep a chunk. `InvalidInput` when the data does not hash to its name."""

    def get(self, chunk: str) -> bytes:
        """Return a chunk, verified. `NotFound` when it is not held."""

    def piece(self, chunk: str, start: int, end: int) -> tuple[bytes, int]:
        """Return the bytes from `start` to before `end` (or the chunk's end), and the size of the
        whole chunk. It was verified when this process first read it."""

    def put_manifest(self, artifact: str, manifest: bytes) -> None:
        """Keep the canonical JSON of a manifest under its digest."""

    def get_manifest(self, artifact: str) -> bytes:
        """Return it. `NotFound` when it is not held."""

    def collect(self, keep: Iterable[str]) -> int:
        """Remove every artefact that is not kept, and chunks that no kept one names. Return bytes
        freed. Chunks younger than an hour stay: an upload may be under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one source delivered of a transfer."""

    source: str
    """Island; empty: the centre."""
    bytes: int
    seconds: float
    """From when it was first asked to its last byte."""
    problem: str = ""
    """Why it was dropped; empty: it was not."""

    @property
    def bandwidth_mbit_s(self) -> float:
        return self.bytes * 8 / 1e6 / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What one transfer did."""

    artifact: str
    bytes: int
    """Content in all."""
    moved_bytes: int
    """What really crossed the wire; the rest was already there."""
    seconds: float
    shares: tuple[Share, ...] = ()
    """Of a pull: what came from whom."""

    @property
    def bandwidth_mbit_s(self) -> float:
        """What crossed the wire over the time it took; 0 when nothing had to."""
        return self.moved_bytes * 8 / 1e6 / self.seconds if self.seconds > 0 else 0.0


class Filling(Protocol):
    """An artefact on its way into a cache of chunks."""

    def add(self, chunk: str, data: bytes | bytearray) -> None:
        """Keep a chunk that was checked."""

    def lacks(self, chunk: str) -> bool:
        """Say whether the chunk is still to be added."""

    def close(self, *, whole: bool) -> None:
        """It is all there, and may be served from now on; or it never will be."""


class ChunkCache(Protocol):
    """Chunks of the artefacts that were moved here last, bounded in bytes. Threads may share it."""

    def get(self, chunk: str) -> bytes | None:
        """Return a chunk, verified; None when it is not here."""

    def fill(self, manifest: Manifest) -> Filling | None:
        """Make room for an artefact, giving up those that were not used for longest; None when it
        is here already, or larger than the whole cache."""

    def under_way(self, artifact: str) -> bool:
        """Say whether somebody is filling it in now."""

    def whole(self) -> tuple[str, ...]:
        """Return the artefacts that are here whole, the last used first; bounded."""

    def manifest(self, artifact: str) -> bytes:
        """Return a whole artefact's manifest. `NotFound` when it is not here."""

    def open(self, chunk: str) -> int:
        """Return a descriptor to read a verified chunk from; `NotFound` when it is not here."""


class Transfer(Protocol):
    """Moves artefacts between a folder and the centre. Blocking; resumable; verified."""

    def push(
        self,
        folder: Path,
        *,
        kind: str,
        paths: Sequence[str] = (),
        meta: Mapping[str, str | int] | None = None,
        job: str = "",
        fence: int = 0,
        stop: Callable[[], bool] = lambda: False,
    ) -> Moved:
        """Send the folder (or the paths below it), then its signed manifest."""

    def pull(
        self, artifact: str, folder: Path, *, stop: Callable[[], bool] = lambda: False
    ) -> Moved:
        """Fetch into the folder; files appear whole or not at all."""

    def bring(self, artifact: str, *, stop: Callable[[], bool] = lambda: False) -> Moved:
        """Fetch into the island's cache alone, for a job that will need it; nothing without one."""
