"""Logs of one attempt on their way to the centre, piece by piece, each at its offset.

Sending a piece twice changes nothing at the centre, so an answer that was lost costs a repeat and
no more. A stream is cut at its bound, with a line in it that says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from causeway.ports.logs import STREAM_BYTES_MAX

PIECE_BYTES = 256 * 1024
STREAMS_MAX = 512
_STREAM = re.compile(r"(?:setup|rank-\d{1,5})\.(?:stdout|stderr)\Z")
Send = Callable[[str, int, bytes], int]
"""(stream, offset, data) -> the offset that the centre expects next."""


class LogStreams:
    """What the centre has of each stream, and what comes next."""

    def __init__(self, folder: Path, *, most_bytes: int = STREAM_BYTES_MAX) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.fenced = False
        """True once the centre takes no more logs of this attempt."""
        self._next: dict[str, int] = {}

    def behind(self) -> bool:
        """Say whether there is something that the centre does not have."""
        return not self.fenced and any(
            size > self._next.get(stream, 0) for stream, size in self._sizes().items()
        )

    def push(self, send: Send, *, pieces_max: int = 64) -> bool:
        """Send what is new, at most so many pieces. Say whether all of it is sent. Blocking."""
        for _ in range(pieces_max):
            piece = self._piece()
            if piece is None:
                return True
            stream, offset, data = piece
            expected = send(stream, offset, data)
            # The centre may be behind (it lost its tail) or ahead (an answer was lost).
            self._next[stream] = min(max(0, expected), self.most_bytes)
        return self._piece() is None

    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    wanted = _STREAM.match(entry.name) and len(sizes) < STREAMS_MAX
                    if wanted and entry.is_file(follow_symlinks=False):
                        size = entry.stat(follow_symlinks=False).st_size
                        sizes[entry.name] = min(size, self.most_bytes)
        except FileNotFoundError:
            # The folder is made when the attempt is staged and goes away with it.
            pass
        return sizes

    def _piece(self) -> tuple[str, int, bytes] | None:
        for stream, size in sorted(self._sizes().items()):
            offset = self._next.get(stream, 0)
            if offset >= size or self.fenced:
                continue
            with (self.folder / stream).open("rb") as file:
                file.seek(offset)
                data = file.read(min(PIECE_BYTES, self.most_bytes - offset))
            if offset + len(data) >= self.most_bytes:
                data = self._with_notice(offset, data)
            return stream, offset, data
        return None

    def _with_notice(self, offset: int, data: bytes) -> bytes:
        """End the last piece of a full stream with a line that says that the rest is cut."""
        notice = b"\n[causeway: cut here, a stream holds %d bytes]\n" % self.most_bytes
        kept = max(0, self.most_bytes - len(notice) - offset)
        return (data[:kept] + notice)[: self.most_bytes - offset]
