"""Artefacts out of object stores: `s3://`, `gs://`, `az://`, `https://` and `file://`.

The objects below an address become one artefact, and go through this machine to the centre piece by
piece, never onto a disk. What is at the centre already is not sent again; it is read again, though,
since nothing but its bytes says what it is. Who may read is the store's affair: credentials are
found as its own tools find them (environment, profile, instance metadata).

The stores are spoken to by obstore (decision 20), the extra `causeway[objects]`.
"""

from __future__ import annotations

import hashlib
import json
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from causeway.model.artifacts import CHUNK_BYTES, FileEntry, Manifest
from causeway.model.errors import Conflict, InvalidInput, NotFound, TooLarge, Unavailable
from causeway.sdk import manifests
from causeway.sdk.transfer import missing
from causeway.sdk.wire import Wire, never, stopped

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "https", "http", "file")
AT_ONCE = 8
"""Chunks that are read and sent at a time; that many are in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One object."""

    path: str
    """Below the address."""
    bytes: int


class Tree:
    """The objects below an address."""

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        """`options` go to the store as they are, e.g. `endpoint` and `region` of S3."""
        self.address = address
        self._scheme = address.partition("://")[0]
        self._store, self._only = _opened(address, dict(options or {}))

    def objects(self) -> list[Found]:
        """Return every object, by path; `NotFound` where there is none."""
        try:
            found = [self._one()] if self._only else list(self._listed())
        except FileNotFoundError as error:
            raise NotFound(f"there is nothing at {self.address}") from error
        except Exception as error:
            raise _unavailable(self.address, error) from error
        if not found:
            raise NotFound(f"there is nothing at {self.address}", hint="check bucket and prefix")
        return sorted(found, key=lambda one: one.path)

    def _one(self) -> Found:
        name = self._only.rpartition("/")[2]
        return Found(path=manifests.check_path(name), bytes=self._store.head(self._only)["size"])

    def _listed(self) -> Iterator[Found]:
        count = 0
        for batch in self._store.list():
            for one in batch:
                if one["path"].endswith("/"):
                    # Some tools keep an empty object for a folder.
                    continue
                count += 1
                if count > manifests.FILES_MAX:
                    raise TooLarge(f"there are more than {manifests.FILES_MAX} objects")
                yield Found(path=manifests.check_path(one["path"]), bytes=one["size"])

    def read(self, one: Found, start: int, end: int) -> bytes:
        """Return a range of an object; `Conflict` when it became shorter meanwhile."""
        try:
            data = bytes(self._store.get_range(self._only or one.path, start=start, end=end))
        except Exception as error:
            raise _unavailable(f"{self.address} ({one.path})", error) from error
        if len(data) != end - start:
            raise Conflict(f"{one.path!r} changed while it was being read", where=one.path)
        return data


def uploaded(wire: Wire, address: str, *, kind: str, name: str) -> dict[str, str | int | float]:
    """Make an artefact of what is at an address; return what `Client.upload` returns."""
    began_s = time.monotonic()
    artifact, size, sent = push(wire, Tree(address), kind=kind, name=name)
    seconds = time.monotonic() - began_s
    return {"id": artifact, "bytes": size, "moved_bytes": sent, "seconds": seconds}


def push(
    wire: Wire,
    tree: Tree,
    *,
    kind: str,
    name: str = "",
    stop: Callable[[], bool] = never,
) -> tuple[str, int, int]:
    """Make an artefact of the objects; return its id, its bytes, and those that had to be sent."""
    objects = tree.objects()
    whole = sum(one.bytes for one in objects)
    if whole > manifests.BYTES_MAX:
        raise TooLarge(f"{whole} bytes; the most is {manifests.BYTES_MAX}")
    sent = 0

    def move(one: Found, start: int) -> tuple[str, int]:
        if stop():
            raise stopped()
        data = tree.read(one, start, min(one.bytes, start + CHUNK_BYTES))
        chunk = hashlib.sha256(data).hexdigest()
        if not missing(wire, [chunk], stop):
            return chunk, 0
        wire.ask("PUT", f"/v1/artifacts/chunks/{chunk}", body=data, stop=stop)
        return chunk, len(data)

    entries = []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="causeway-objects") as threads:
        steps = ((one, at) for one in objects for at in range(0, one.bytes, CHUNK_BYTES))
        moved = _in_order(threads, move, steps)
        for one in objects:
            chunks = []
            for _ in range(0, one.bytes, CHUNK_BYTES):
                chunk, size = next(moved)
                chunks.append(chunk)
                sent += size
            entries.append(
                FileEntry(path=one.path, bytes=one.bytes, mode=0o644, chunks=tuple(chunks))
            )
    manifest = Manifest(kind=kind, files=tuple(entries), meta={"source": tree.address[:1024]})
    # Read as if it came from outside: what a bucket holds may clash as no folder can.
    described = manifests.manifest_as_json(
        manifests.parse_manifest(manifests.manifest_bytes(manifest))
    )
    body = json.dumps({"manifest": described, "name": name}).encode()
    wire.ask("POST", "/v1/artifacts", body=body, stop=stop)
    return manifests.manifest_id(manifests.manifest_bytes(manifest)), whole, sent


def _in_order(
    threads: ThreadPoolExecutor,
    move: Callable[[Found, int], tuple[str, int]],
    steps: Iterator[tuple[Found, int]],
) -> Iterator[tuple[str, int]]:
    """Yield what each step gave, in order, a bounded number of them ahead."""
    ahead: deque[Future[tuple[str, int]]] = deque()
    for one, start in steps:
        ahead.append(threads.submit(move, one, start))
        if len(ahead) >= AT_ONCE:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _opened(address: str, options: dict[str, Any]) -> tuple[ObjectStore, str]:
    """Return the store, and the one object that is meant (HTTP has no listing); empty: all."""
    scheme = address.partition("://")[0]
    if scheme not in SCHEMES:
        raise InvalidInput(f"{scheme[:20]}:// is not known", hint=f"one of: {', '.join(SCHEMES)}")
    try:
        from obstore.store import HTTPStore, from_url
    except ImportError:
        raise InvalidInput(
            f"{address} needs the extra `objects`", hint="pip install 'causeway[objects]'"
        ) from None
    parts = urllib.parse.urlsplit(address)
    try:
        if parts.scheme in ("http", "https"):
            if parts.query or parts.fragment or not parts.path.strip("/"):
                raise InvalidInput(f"{address} names no file", hint="https://host/path/file")
            root = f"{parts.scheme}://{parts.netloc}"
            store = HTTPStore.from_url(root, client_options={"allow_http": parts.scheme == "http"})
            return store, parts.path.lstrip("/")
        return from_url(address, **options), ""
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(f"{address} cannot be opened: {_first_line(error)}") from error


def _unavailable(what: str, error: Exception) -> Exception:
    """Return what a store's own error means here; ours are passed on."""
    from obstore.exceptions import BaseError

    if isinstance(error, BaseError | OSError):
        return Unavailable(f"{what} cannot be read: {_first_line(error)}")
    return error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
