"""Moving artefacts between a folder and the centre over HTTP, chunk by chunk.

A push asks which chunks are missing, sends only those, then posts the signed manifest. A pull
fetches only the chunks that are not in the folder already, checks each against its name, keeps
what it has in `<folder>/.partial`, and renames files into place when all of them are whole.
Either can stop anywhere; run again, it goes on where it was.

Built on `http.client`: an agent holds one of these all its life, and its memory is bounded at 60
MB. At most `LANES` chunks are in memory at a time. Chunks are fetched by digest and checked, so a
server that lies about content is found out; who vouches for a manifest is the signature's affair.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from causeway.model.artifacts import CHUNK_BYTES, Manifest
from causeway.model.errors import Conflict, InvalidInput, TooLarge, Unavailable
from causeway.ports.artifacts import Moved
from causeway.sdk import manifests
from causeway.sdk.unpacking import Unpacking
from causeway.sdk.wire import Reply, Wire, never, stopped

LANES = 4
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
    ) -> None:
        if not urls:
            raise InvalidInput("a transfer needs at least one address")
        self._urls = tuple(urls)
        self._token = token_provider
        self._sign = sign
        self._tls = tls
        self._sleep = sleep

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
        wire = self._wire()
        try:
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
        wire = self._wire()
        try:
            quoted = urllib.parse.quote(artifact, safe="")
            manifest = _fetched(wire.ask("GET", f"/v1/artifacts/{quoted}", stop=stop), artifact)
            unpacking = Unpacking(folder, manifest)
            wanted = unpacking.wanted()
            _refuse_full_disk(folder, sum(unpacking.sizes[chunk] for chunk in wanted))

            def fetch(chunk: str) -> int:
                reply = wire.ask("GET", f"/v1/artifacts/chunks/{chunk}", stop=stop)
                unpacking.keep(chunk, reply.body)
                return len(reply.body)

            moved = _in_lanes(wanted, fetch, stop)
            unpacking.finish()
        finally:
            wire.close()
        return Moved(
            artifact=manifests.manifest_id(manifests.manifest_bytes(manifest)),
            bytes=manifests.total_bytes(manifest),
            moved_bytes=moved,
            seconds=time.monotonic() - began,
        )

    def _wire(self) -> Wire:
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
            chunk: (entry.path, index)
            for entry in manifest.files
            for index, chunk in enumerate(entry.chunks)
        }

        def send(chunk: str) -> int:
            path, index = places[chunk]
            data = manifests.read_chunk(folder, path, index)
            if hashlib.sha256(data).hexdigest() != chunk:
                raise Conflict(f"{path!r} changed while it was being sent", where=path)
            wire.ask("PUT", f"/v1/artifacts/chunks/{chunk}", body=data, stop=stop)
            return len(data)

        moved = 0
        for round_ in range(ROUNDS):
            moved += _in_lanes(_missing(wire, list(places), stop), send, stop)
            try:
                wire.ask("POST", "/v1/artifacts", body=body, stop=stop)
                break
            except Conflict as problem:
                # A chunk may have been swept or set aside between the question and the manifest.
                lost = problem.code == "conflict" and problem.where == "$.manifest.files"
                if not lost or round_ == ROUNDS - 1:
                    raise
        return moved


def _missing(wire: Wire, chunks: Sequence[str], stop: Callable[[], bool]) -> list[str]:
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
