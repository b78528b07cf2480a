"""Content: where chunks are kept at the centre, and how an island moves artefacts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class ChunkStore(Protocol):
    """Chunks by SHA-256, at the centre. Writes are durable and verified before they return."""

    def missing(self, chunks: Iterable[str]) -> list[str]:
        """Return those that are not held, in the order given, without repeats."""

    def put(self, chunk: str, data: bytes) -> None:
        """Keep a chunk. `InvalidInput` when the data does not hash to its name."""

    def get(self, chunk: str) -> bytes:
        """Return a chunk, verified. `NotFound` when it is not held."""

    def put_manifest(self, artifact: str, manifest: bytes) -> None:
        """Keep the canonical JSON of a manifest under its digest."""

    def get_manifest(self, artifact: str) -> bytes:
        """Return it. `NotFound` when it is not held."""

    def collect(self, keep: Iterable[str]) -> int:
        """Remove every artefact that is not kept, and chunks that no kept one names. Return bytes
        freed. Chunks younger than an hour stay: an upload may be under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What one transfer did."""

    artifact: str
    bytes: int
    """Content in all."""
    moved_bytes: int
    """What really crossed the wire; the rest was already there."""
    seconds: float

    @property
    def bandwidth_mbit_s(self) -> float:
        """What crossed the wire over the time it took; 0 when nothing had to."""
        return self.moved_bytes * 8 / 1e6 / self.seconds if self.seconds > 0 else 0.0


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
