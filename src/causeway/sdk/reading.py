"""Reading an artefact where it is, without moving all of it first: chunks on demand, read ahead.

A chunk is always fetched whole, since only a whole one can be checked against its name; it stays in
memory among the last few. Who reads on in order finds the next chunks on their way already, over
connections of their own. A reader that jumps about pays a chunk (4 MiB at most) for each jump.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from causeway.model.artifacts import CHUNK_BYTES, FileEntry, Manifest
from causeway.model.errors import Conflict, InvalidInput, Unavailable
from causeway.sdk import manifests
from causeway.sdk.wire import Wire

AHEAD = 6
"""Chunks that are fetched before they are asked for."""
HELD_MAX = 2 * AHEAD + 2
"""Chunks in memory: 56 MiB at most."""
MANIFESTS_MAX = 16


class Reader:
    """Reads files of artefacts over the HTTP API. Any thread may call; close it at the end."""

    def __init__(
        self,
        urls: Sequence[str],
        token: Callable[[], str],
        *,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._wire = Wire(urls=tuple(urls), token=token, tls=tls, sleep=sleep)
        self._threads = ThreadPoolExecutor(AHEAD, thread_name_prefix="causeway-read")
        self._lock = threading.Lock()
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()
        self._chunks: OrderedDict[str, Future[bytes]] = OrderedDict()

    def manifest(self, artifact: str) -> Manifest:
        """Return what the artefact is made of, held against its name."""
        with self._lock:
            found = self._manifests.get(artifact)
        if found is None:
            found = self._asked(artifact)
            with self._lock:
                self._manifests[artifact] = found
                while len(self._manifests) > MANIFESTS_MAX:
                    self._manifests.popitem(last=False)
        return found

    def _asked(self, artifact: str) -> Manifest:
        quoted = urllib.parse.quote(artifact, safe="")
        body = self._wire.ask("GET", f"/v1/artifacts/{quoted}").json().get("manifest")
        if not isinstance(body, dict):
            raise Unavailable("the centre's reply holds no manifest")
        manifest = manifests.parse_manifest(body)
        got = manifests.manifest_id(manifests.manifest_bytes(manifest))
        if artifact.startswith("sha256:") and got != artifact:
            raise Conflict(f"the manifest does not hash to {artifact}")
        return manifest

    def read(self, entry: FileEntry, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` to before `end`, every one checked."""
        end = min(end, entry.bytes)
        if start >= end:
            return b""
        first, last = start // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
        pieces = []
        for index in range(first, last + 1):
            data = self._begin(entry, index).result()
            # Only a reader that goes on is read ahead for; a jump costs no more than itself.
            if index > first or self._is_next(entry, index):
                for ahead in range(index + 1, min(index + 1 + AHEAD, len(entry.chunks))):
                    self._begin(entry, ahead)
            at = index * CHUNK_BYTES
            pieces.append(data[max(0, start - at) : end - at])
        return b"".join(pieces)

    def _is_next(self, entry: FileEntry, index: int) -> bool:
        """Say whether the chunk before it was read lately, or it is the first."""
        with self._lock:
            return index == 0 or entry.chunks[index - 1] in self._chunks

    def _begin(self, entry: FileEntry, index: int) -> Future[bytes]:
        chunk = entry.chunks[index]
        with self._lock:
            under_way = self._chunks.get(chunk)
            if under_way is None or (under_way.done() and under_way.exception() is not None):
                size = manifests.chunk_bytes(entry, index)
                under_way = self._chunks[chunk] = self._threads.submit(self._fetch, chunk, size)
            self._chunks.move_to_end(chunk)
            while len(self._chunks) > HELD_MAX:
                self._chunks.popitem(last=False)
            return under_way

    def _fetch(self, chunk: str, size: int) -> bytes:
        data = self._wire.ask("GET", f"/v1/artifacts/chunks/{chunk}").body
        if len(data) != size or hashlib.sha256(data).hexdigest() != chunk:
            raise InvalidInput(f"chunk {chunk} did not arrive as it was named", hint="read again")
        return data

    def close(self) -> None:
        """Let go of the connections."""
        self._threads.shutdown(cancel_futures=True)
        self._wire.close()
