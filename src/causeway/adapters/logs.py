"""Logs in plain files: `<root>/<job>/<fence>/<stream>`, readable with any tool.

Beside each stream, `<stream>.times` says when its pieces arrived: records of where a span of bytes
begins, and when the first and the last of it came. Pieces within a second are one span, and when
the file is full every two spans become one, so it stays below 100 KiB however long a job runs; what
gets coarser is only how far back `since` may begin.

Pieces are written without fsync: a log is no fact of the ledger, and an island sends again whatever
the centre does not acknowledge.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from causeway.model.errors import InvalidInput
from causeway.model.identifiers import Urn
from causeway.ports.logs import STREAM_BYTES_MAX, StreamInfo

SPANS_MAX = 4_096
SPAN_MS = 1_000
"""Pieces that come within this time are one span."""
LINE_BYTES_MAX = 8_192
"""A line that is cut by a span's beginning is looked for so far back."""
_SPAN = struct.Struct("<QQQ")
_STREAM = re.compile(r"(?:setup|rank-\d{1,5})\.(?:stdout|stderr)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes from `offset` on (to the next span), and when the first and the last of them came."""

    offset: int
    first_ms: int
    last_ms: int

    def packed(self) -> bytes:
        """Return the record as it stands in the file."""
        return _SPAN.pack(self.offset, self.first_ms, self.last_ms)


class FolderLogs:
    """Logs below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def append(
        self, job: str, fence: int, stream: str, *, offset: int, data: bytes, at_ms: int
    ) -> int:
        """Keep a piece; see the port."""
        path = self._path(job, fence, stream)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            end = file.tell()
            if offset > end:
                return end
            fresh = data[end - offset :][: max(0, STREAM_BYTES_MAX - end)]
            if fresh:
                # The time goes first: a crash in between leaves a time of nothing, never text
                # that is taken for older than it is.
                _note(_times(path), end, at_ms)
            file.write(fresh)
            return max(end + len(fresh), min(offset + len(data), STREAM_BYTES_MAX))

    def read(self, job: str, fence: int, stream: str, *, offset: int = 0, limit: int) -> bytes:
        """Return a piece; see the port."""
        path = self._path(job, fence, stream)
        if not path.exists():
            return b""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit)

    def since(self, job: str, fence: int, stream: str, *, at_ms: int) -> int:
        """Return where what came since begins; see the port."""
        path = self._path(job, fence, stream)
        if not path.exists():
            return 0
        size = path.stat().st_size
        spans = _spans(_times(path))
        if not spans:
            # Kept before times were: its newest byte is as old as the file's last change.
            return size if path.stat().st_mtime_ns // 1_000_000 < at_ms else 0
        if spans[0].offset > 0:
            # Its beginning is older than its times.
            spans = [Span(offset=0, first_ms=0, last_ms=spans[0].first_ms), *spans]
        found = next((span.offset for span in spans if span.last_ms >= at_ms), size)
        return _line_start(path, min(found, size)) if found < size else size

    def streams(self, job: str) -> list[StreamInfo]:
        """Return what is kept of a job."""
        folder = self.root / Urn.parse(job).local
        found = [
            StreamInfo(fence=int(path.parent.name), stream=path.name, bytes=path.stat().st_size)
            for path in folder.glob("*/*")
            if _STREAM.match(path.name)
        ]
        return sorted(found, key=lambda info: (info.fence, info.stream))

    def jobs(self) -> Iterator[str]:
        """Yield the local ids of the jobs that have logs."""
        if self.root.is_dir():
            for folder in self.root.iterdir():
                yield folder.name

    def remove(self, job: str) -> None:
        """Forget a job's logs."""
        shutil.rmtree(self.root / Urn.parse(job).local, ignore_errors=True)

    def _path(self, job: str, fence: int, stream: str) -> Path:
        if not _STREAM.match(stream):
            raise InvalidInput(f"log stream {stream!r} is not rank-<n>.stdout, setup.stderr, ...")
        return self.root / Urn.parse(job).local / str(fence) / stream


def _times(path: Path) -> Path:
    return path.with_name(f"{path.name}.times")


def _spans(path: Path) -> list[Span]:
    if not path.exists():
        return []
    return _unpacked(path.read_bytes())


def _unpacked(data: bytes) -> list[Span]:
    whole = data[: len(data) // _SPAN.size * _SPAN.size]
    return [Span(offset=o, first_ms=f, last_ms=n) for o, f, n in _SPAN.iter_unpack(whole)]


def _note(path: Path, offset: int, at_ms: int) -> None:
    """Write down that a piece came: into the newest span while that is young, else as a new one."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        count = file.seek(0, 2) // _SPAN.size
        at = count
        span = Span(offset=offset, first_ms=at_ms, last_ms=at_ms)
        if count:
            file.seek((count - 1) * _SPAN.size)
            newest = _unpacked(file.read(_SPAN.size))[0]
            if at_ms - newest.first_ms < SPAN_MS:
                span = replace(newest, last_ms=max(newest.last_ms, at_ms))
                at = count - 1
        file.seek(at * _SPAN.size)
        file.write(span.packed())
    if at + 1 >= SPANS_MAX:
        _halve(path)


def _halve(path: Path) -> None:
    """Make one span of every two; the newest stays as it is."""
    spans = _spans(path)
    older = spans[:-1]
    pairs = [older[i : i + 2] for i in range(0, len(older), 2)]
    merged = [
        Span(offset=pair[0].offset, first_ms=pair[0].first_ms, last_ms=pair[-1].last_ms)
        for pair in pairs
    ]
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(b"".join(span.packed() for span in (*merged, spans[-1])))
    fresh.replace(path)


def _line_start(path: Path, offset: int) -> int:
    """Return where the line begins that the offset lies in."""
    back = min(offset, LINE_BYTES_MAX)
    with path.open("rb") as file:
        file.seek(offset - back)
        before = file.read(back)
    end = before.rfind(b"\n")
    if end < 0:
        return 0 if back == offset else offset
    return offset - back + end + 1
