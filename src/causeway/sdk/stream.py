"""`causeway://` for fsspec: files of artefacts, read as they are needed.

    import fsspec
    with fsspec.open("causeway://sha256:.../shards/0001.tar") as file: ...

Whatever reads through fsspec (pandas, Arrow, Zarr, webdataset, Hugging Face datasets, torch.load of
a safetensors file's header) reads artefacts this way, on a person's machine and inside a job. Read
only: artefacts never change. Needs the extra `causeway[stream]`.

Who asks: a token of `storage_options`, else inside a job that names the artefact the token which
the attempt was given (`CAUSEWAY_CONTENT_TOKEN`), else what `causeway login` wrote.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from causeway.model.artifacts import CHUNK_BYTES, FileEntry
from causeway.model.errors import NotFound
from causeway.sdk import settings
from causeway.sdk.reading import Reader

URLS, TOKEN = "CAUSEWAY_CENTRE", "CAUSEWAY_CONTENT_TOKEN"
"""What a job finds in its environment."""


class CausewayFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Artefacts as folders of files: `<artefact>/<path>`."""

    protocol = "causeway"
    root_marker = ""

    def __init__(self, url: str = "", token: str = "", ca: str = "", **more: Any) -> None:
        """Empty arguments are taken from the environment, or from the settings file."""
        super().__init__(**more)
        known = _settings()
        ca = ca or known.ca
        secret = token or known.token
        self._reader = Reader(
            (url or known.url).split(","),
            lambda: secret,
            tls=ssl.create_default_context(cafile=ca) if ca else None,
        )

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a folder, or one file."""
        artifact, _, inner = self._strip_protocol(path).rstrip("/").partition("/")
        found = {one["name"]: one for one in self._below(artifact, inner)}
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else sorted(found)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe one file or folder."""
        whole = self._strip_protocol(path).rstrip("/")
        artifact, _, inner = whole.partition("/")
        found = list(self._below(artifact, inner))
        if len(found) == 1 and found[0]["name"] == whole:
            return found[0]
        if not found and inner:
            raise FileNotFoundError(path)
        return {"name": whole, "size": 0, "type": "directory"}

    def _below(self, artifact: str, inner: str) -> Iterator[dict[str, Any]]:
        """Yield the file itself, or what lies directly in the folder; folders may repeat."""
        start = f"{inner}/" if inner else ""
        for entry in self._entries(artifact):
            if entry.path == inner:
                yield _described(f"{artifact}/{inner}", entry)
            elif entry.path.startswith(start):
                name, below, _ = entry.path.removeprefix(start).partition("/")
                place = f"{artifact}/{start}{name}"
                yield _folder(place) if below else _described(place, entry)

    def _entries(self, artifact: str) -> tuple[FileEntry, ...]:
        try:
            return self._reader.manifest(artifact).files
        except NotFound as error:
            raise FileNotFoundError(artifact) from error

    def _open(self, path: str, mode: str = "rb", **_: Any) -> CausewayFile:
        if mode != "rb":
            raise PermissionError(f"artefacts never change; {path} can be read only")
        artifact, _, inner = self._strip_protocol(path).partition("/")
        for entry in self._entries(artifact):
            if entry.path == inner:
                return CausewayFile(self, path, reader=self._reader, entry=entry)
        raise FileNotFoundError(path)

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: Any
    ) -> bytes:
        """Return a file's bytes, or a range of them."""
        with self._open(path) as file:
            size = file.entry.bytes
            first = max(0, size + start) if start is not None and start < 0 else start or 0
            last = size if end is None else end if end >= 0 else size + end
            return self._reader.read(file.entry, first, last)


class CausewayFile(AbstractBufferedFile):  # type: ignore[misc]
    """One open file. The reader keeps and reads ahead chunks, so nothing else is cached."""

    def __init__(
        self, fs: CausewayFileSystem, path: str, *, reader: Reader, entry: FileEntry
    ) -> None:
        self.entry = entry
        self._reader = reader
        super().__init__(
            fs, path, "rb", block_size=CHUNK_BYTES, cache_type="none", size=entry.bytes
        )

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self._reader.read(self.entry, start, end)


def _settings() -> settings.Settings:
    """Return where to ask: what the attempt was given, else the person's own settings."""
    token = os.environ.get(TOKEN, "")
    if token and not os.environ.get("CAUSEWAY_TOKEN"):
        url = os.environ.get("CAUSEWAY_URL") or os.environ.get(URLS, "")
        return settings.Settings(url=url, token=token, ca=os.environ.get("CAUSEWAY_CA", ""))
    return settings.load()


def _described(name: str, entry: FileEntry) -> dict[str, Any]:
    return {"name": name, "size": entry.bytes, "type": "file", "chunks": len(entry.chunks)}


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}
