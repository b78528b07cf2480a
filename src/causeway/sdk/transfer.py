"""Moving artefacts between a folder and the centre over HTTP, chunk by chunk.

A push asks which chunks are missing, sends only those, then posts the signed manifest. A pull
fetches only the chunks that are not in the folder already, checks each against its name, keeps
what it has in `<folder>/.partial`, and renames files into place when all of them are whole.
Either can stop anywhere; run again, it goes on where it was.

An island's transfer may have a cache of chunks: what is there is not fetched, and what is moved
goes there too, so that other islands can be given it. It also asks the centre which islands hold
the artefact and pulls from several at once (`fetching`); the manifest always comes from the centre,
which is where it is decided who may have it.

A push is built on `http.client` and reads files while it sends them; the machinery of a pull is
loaded when the first one begins, since a program that only saves checkpoints has no use for it.
Chunks are fetched by digest and checked, so a server that lies about content is found out; who
vouches for a manifest is the signature's affair.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from causeway.model.artifacts import CHUNK_BYTES, FileEntry, Manifest
from causeway.model.errors import Conflict, InvalidInput, TooLarge, Unavailable
from causeway.ports.artifacts import ChunkCache, Filling, Moved, Share
from causeway.sdk import manifests
from causeway.sdk.unpacking import Unpacking, refuse_damaged
from causeway.sdk.wire import Reply, Wire, never, stopped

LANES = 16
"""Connections of a push; on a far and lossy line, one alone is far slower than the line."""
READ_BYTES = 256 * 1024
LOOK_S = 0.1
DIRECT_BYTES_MIN = 1024**2
"""Less is not worth asking who else holds it."""
BATCH = 1000
ROUNDS = 3
"""How often a push starts over when the centre lost chunks meanwhile."""


class HttpTransfer:
    """`ports.artifacts.Transfer` over the HTTP API. Blocking; any thread may call."""

    def __init__(
        self,
        urls: Sequence[str],
        token_provider: Callable[[], str],
        sign: Callable[[bytes], str] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
        cache: ChunkCache | None = None,
        direct: bool = False,
    ) -> None:
        """`direct`: ask the centre which islands hold an artefact, and fetch from them."""
        if not urls:
            raise InvalidInput("a transfer needs at least one address")
        self._urls = tuple(urls)
        self._token = token_provider
        self._sign = sign
        self._tls = tls
        self._sleep = sleep
        self._cache = cache
        self._direct = direct

    def push(
        self,
        folder: Path,
        *,
        kind: str,
        paths: Sequence[str] = (),
        meta: Mapping[str, str | int] | None = None,
        job: str = "",
        fence: int = 0,
        stop: Callable[[], bool] = never,
        name: str = "",
        parents: Sequence[str] = (),
    ) -> Moved:
        """Send the folder (or the paths below it), then its signed manifest."""
        began = time.monotonic()
        manifest = manifests.build_manifest(folder, kind=kind, paths=paths, meta=meta)
        raw = manifests.manifest_bytes(manifest)
        body = {
            "manifest": manifests.manifest_as_json(manifest),
            "signature": self._sign(raw) if self._sign else "",
            "job": job,
            "fence": fence,
            "name": name,
            "parents": list(parents),
        }
        wire = self.wire()
        try:
            with self._filling(folder, manifest):
                moved = self._send(wire, folder, manifest, json.dumps(body).encode(), stop)
        finally:
            wire.close()
        return Moved(
            artifact=manifests.manifest_id(raw),
            bytes=manifests.total_bytes(manifest),
            moved_bytes=moved,
            seconds=time.monotonic() - began,
        )

    def pull(self, artifact: str, folder: Path, *, stop: Callable[[], bool] = never) -> Moved:
        """Fetch into the folder; files appear whole or not at all."""
        began = time.monotonic()
        wire = self.wire()
        try:
            quoted = urllib.parse.quote(artifact, safe="")
            manifest = _fetched(wire.ask("GET", f"/v1/artifacts/{quoted}", stop=stop), artifact)
            unpacking = Unpacking(folder, manifest)
            wanted = unpacking.wanted()
            _refuse_full_disk(folder, sum(unpacking.sizes[chunk] for chunk in wanted))
            self._await_filling(unpacking.artifact, stop)
            with self._filling(folder, manifest) as filling:
                shares, moved = self._bring(wire, unpacking, filling, wanted, stop=stop)
                unpacking.finish()
        finally:
            wire.close()
        return Moved(
            artifact=unpacking.artifact,
            bytes=manifests.total_bytes(manifest),
            moved_bytes=moved,
            seconds=time.monotonic() - began,
            shares=shares,
        )

    def bring(self, artifact: str, *, stop: Callable[[], bool] = never) -> Moved:
        """Fetch into the cache alone, for a job that will need it; nothing without a cache."""
        began = time.monotonic()
        shares: tuple[Share, ...] = ()
        moved = 0
        wire = self.wire()
        try:
            quoted = urllib.parse.quote(artifact, safe="")
            manifest = _fetched(wire.ask("GET", f"/v1/artifacts/{quoted}", stop=stop), artifact)
            filling = self._cache.fill(manifest) if self._cache else None
            if filling is not None:
                shares, moved = self._fill_alone(wire, artifact, manifest, filling, stop=stop)
        finally:
            wire.close()
        return Moved(
            artifact=artifact,
            bytes=manifests.total_bytes(manifest),
            moved_bytes=moved,
            seconds=time.monotonic() - began,
            shares=shares,
        )

    def _fill_alone(
        self,
        wire: Wire,
        artifact: str,
        manifest: Manifest,
        filling: Filling,
        *,
        stop: Callable[[], bool],
    ) -> tuple[tuple[Share, ...], int]:
        sizes = manifests.chunk_sizes(manifest)
        absent = {chunk: size for chunk, size in sizes.items() if filling.lacks(chunk)}

        def keep(chunk: str, data: bytes | bytearray) -> None:
            refuse_damaged(chunk, absent[chunk], data)
            filling.add(chunk, data)

        whole = False
        try:
            shares = self._fetch(wire, artifact, absent, keep, stop=stop) if absent else ()
            whole = True
        finally:
            filling.close(whole=whole)
        return shares, sum(absent.values())

    def _await_filling(self, artifact: str, stop: Callable[[], bool]) -> None:
        """Wait for whoever brings the same artefact into the cache already: what has come then is
        there, and is fetched once, however many jobs need it."""
        while self._cache is not None and self._cache.under_way(artifact):
            if stop():
                raise stopped()
            self._sleep(LOOK_S)

    @contextmanager
    def _filling(self, folder: Path, manifest: Manifest) -> Iterator[Filling | None]:
        """Have an artefact in the cache, if there is one, once its files are whole here."""
        filling = self._cache.fill(manifest) if self._cache else None
        whole = False
        try:
            yield filling
            if filling is not None:
                _fill(filling, folder, manifest)
            whole = True
        finally:
            if filling is not None:
                filling.close(whole=whole)

    def _bring(
        self,
        wire: Wire,
        unpacking: Unpacking,
        filling: Filling | None,
        wanted: Sequence[str],
        *,
        stop: Callable[[], bool],
    ) -> tuple[tuple[Share, ...], int]:
        """Get what is wanted: from the cache, then from whoever holds it. Return what came from
        whom, and the bytes that crossed the wire."""
        absent: dict[str, int] = {}
        for chunk in wanted:
            held = self._cache.get(chunk) if self._cache else None
            if held is None:
                absent[chunk] = unpacking.sizes[chunk]
            else:
                unpacking.keep(chunk, held)

        def keep(chunk: str, data: bytes | bytearray) -> None:
            unpacking.keep(chunk, data)
            if filling is not None and filling.lacks(chunk):
                filling.add(chunk, data)

        if not absent:
            return (), 0
        shares = self._fetch(wire, unpacking.artifact, absent, keep, stop=stop)
        return shares, sum(absent.values())

    def _fetch(
        self,
        wire: Wire,
        artifact: str,
        sizes: Mapping[str, int],
        keep: Callable[[str, bytes | bytearray], None],
        *,
        stop: Callable[[], bool],
    ) -> tuple[Share, ...]:
        # Loaded here: asyncio and TLS are much for a program that never pulls.
        from causeway.sdk.fetching import fetch
        from causeway.sdk.fetching_sources import centre_of, sources_of

        large = sum(sizes.values()) >= DIRECT_BYTES_MIN
        sources = sources_of(wire, artifact) if self._direct and large else [centre_of(wire)]
        return fetch(sources, sizes, keep, stop=stop, pause=self._pause)

    async def _pause(self, seconds: float) -> None:
        import asyncio

        if self._sleep is time.sleep:
            await asyncio.sleep(seconds)
        else:
            self._sleep(seconds)
            await asyncio.sleep(0)

    def wire(self) -> Wire:
        """Return a way to the centre of its own; close it at the end."""
        return Wire(urls=self._urls, token=self._token, tls=self._tls, sleep=self._sleep)

    def _send(
        self,
        wire: Wire,
        folder: Path,
        manifest: Manifest,
        body: bytes,
        stop: Callable[[], bool],
    ) -> int:
        places = {
            chunk: (entry, index)
            for entry in manifest.files
            for index, chunk in enumerate(entry.chunks)
        }

        def send(chunk: str) -> int:
            entry, index = places[chunk]
            body = ChunkBody(folder=folder, entry=entry, index=index)
            wire.ask("PUT", f"/v1/artifacts/chunks/{chunk}", body=body, stop=stop)
            return len(body)

        moved = 0
        for round_ in range(ROUNDS):
            moved += _in_lanes(missing(wire, list(places), stop), send, stop)
            try:
                wire.ask("POST", "/v1/artifacts", body=body, stop=stop)
                break
            except Conflict as problem:
                # A chunk may have been swept or set aside between the question and the manifest.
                lost = problem.code == "conflict" and problem.where == "$.manifest.files"
                if not lost or round_ == ROUNDS - 1:
                    raise
        return moved


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBody:
    """One chunk of a file, read while it is sent. Each iteration begins anew."""

    folder: Path
    entry: FileEntry
    index: int

    def __len__(self) -> int:
        return manifests.chunk_bytes(self.entry, self.index)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes; the last of them only when the digest of all is the chunk's name."""
        path, start = self.entry.path, self.index * CHUNK_BYTES
        end, digest = start + len(self), hashlib.sha256()
        handle = manifests.open_regular(self.folder / path, path)
        try:
            for at in range(start, end, READ_BYTES):
                piece = os.pread(handle, min(READ_BYTES, end - at), at)
                digest.update(piece)
                short = len(piece) < min(READ_BYTES, end - at)
                last = at + READ_BYTES >= end
                if short or (last and digest.hexdigest() != self.entry.chunks[self.index]):
                    raise Conflict(f"{path!r} changed while it was being sent", where=path)
                yield piece
        finally:
            os.close(handle)


def _fill(filling: Filling, folder: Path, manifest: Manifest) -> None:
    """Add what is still lacking from the files, as far as they are still what was hashed."""
    for entry in manifest.files:
        for index, chunk in enumerate(entry.chunks):
            if filling.lacks(chunk):
                data = manifests.read_chunk(folder, entry.path, index)
                if hashlib.sha256(data).hexdigest() == chunk:
                    filling.add(chunk, data)


def missing(wire: Wire, chunks: Sequence[str], stop: Callable[[], bool]) -> list[str]:
    """Return those of the chunks that the centre does not hold."""
    absent: list[str] = []
    for start in range(0, len(chunks), BATCH):
        asked = chunks[start : start + BATCH]
        body = json.dumps({"chunks": asked}).encode()
        reply = wire.ask("POST", "/v1/artifacts/missing", body=body, stop=stop).json()
        named = reply.get("missing")
        if not isinstance(named, list) or not set(named) <= set(asked):
            raise Unavailable("the centre's list of missing chunks is not one")
        absent += named
    return absent


def _in_lanes(chunks: Iterable[str], move: Callable[[str], int], stop: Callable[[], bool]) -> int:
    """Move the chunks a few at a time; the first failure ends it. Return the bytes moved."""
    waiting = iter(chunks)
    moved = 0
    with ThreadPoolExecutor(LANES, thread_name_prefix="causeway-transfer") as pool:
        under_way: set[Future[int]] = set()
        for chunk in waiting:
            if stop():
                raise stopped()
            under_way.add(pool.submit(move, chunk))
            if len(under_way) >= LANES:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                moved += sum(future.result() for future in done)
        moved += sum(future.result() for future in under_way)
    return moved


def _fetched(reply: Reply, artifact: str) -> Manifest:
    """Read a manifest out of the reply and hold it against the name that was asked for."""
    body = reply.json()
    found = body.get("manifest")
    if not isinstance(found, dict):
        raise Unavailable("the centre's reply holds no manifest")
    manifest = manifests.parse_manifest(found)
    if artifact.startswith("sha256:"):
        got = manifests.manifest_id(manifests.manifest_bytes(manifest))
        if got != artifact:
            raise Conflict(
                f"the manifest does not hash to {artifact}",
                hint="the centre or something on the way changed it; nothing was written",
            )
    return manifest


def _refuse_full_disk(folder: Path, need_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if need_bytes + CHUNK_BYTES > free:
        raise TooLarge(
            f"{need_bytes} bytes are to come and {free} are free in {str(folder)!r}",
            hint="free some space; what is there already is kept",
        )
