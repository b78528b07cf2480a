"""Logs in plain files: `<root>/<job>/<fence>/<stream>`, readable with any tool.

Pieces are written without fsync: a log is no fact of the ledger, and an island sends again whatever
the centre does not acknowledge.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from causeway.model.errors import InvalidInput
from causeway.model.identifiers import Urn
from causeway.ports.logs import STREAM_BYTES_MAX, StreamInfo

_STREAM = re.compile(r"(?:setup|rank-\d{1,5})\.(?:stdout|stderr)\Z")


class FolderLogs:
    """Logs below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def append(self, job: str, fence: int, stream: str, *, offset: int, data: bytes) -> int:
        """Keep a piece; see the port."""
        path = self._path(job, fence, stream)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            end = file.tell()
            if offset > end:
                return end
            fresh = data[end - offset :][: max(0, STREAM_BYTES_MAX - end)]
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

    def streams(self, job: str) -> list[StreamInfo]:
        """Return what is kept of a job."""
        folder = self.root / Urn.parse(job).local
        found = [
            StreamInfo(fence=int(path.parent.name), stream=path.name, bytes=path.stat().st_size)
            for path in folder.glob("*/*")
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
