"""Logs of attempts: append-only streams of bytes, addressed by offset, kept after the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

STREAM_BYTES_MAX = 16 * 1024**2
"""Most of one stream that is kept; the island says where it cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream of one attempt."""

    fence: int
    stream: str
    """`rank-0.stdout`, `rank-0.stderr`, `setup.stdout`, ..."""
    bytes: int


class Logs(Protocol):
    """Keeps logs. Appending the same piece again changes nothing."""

    def append(
        self, job: str, fence: int, stream: str, *, offset: int, data: bytes, at_ms: int
    ) -> int:
        """Keep a piece that starts at `offset` and arrived at `at_ms`; return the offset that is
        expected next. What lies before the end is skipped; a gap is refused by returning the
        present end."""

    def read(self, job: str, fence: int, stream: str, *, offset: int = 0, limit: int) -> bytes:
        """Return at most `limit` bytes from the offset; empty at the end."""

    def since(self, job: str, fence: int, stream: str, *, at_ms: int) -> int:
        """Return the offset from which on everything arrived at `at_ms` or later; at the end of
        the stream when nothing did. Never leaves anything out: where the times of pieces are no
        longer told apart, it returns the start of all of them. Where a piece begins in the middle
        of a line, the whole line counts."""

    def streams(self, job: str) -> list[StreamInfo]:
        """Return what is kept of a job, by attempt and name."""

    def remove(self, job: str) -> None:
        """Forget a job's logs (after they were archived)."""
