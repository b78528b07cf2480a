"""The content door: chunks in and out, and manifests that make artefacts of them.

    POST /v1/artifacts/missing           {"chunks": [..]}  -> {"missing": [..]}
    PUT  /v1/artifacts/chunks/{sha256}   bytes             -> 204
    GET  /v1/artifacts/chunks/{sha256}                     -> bytes, or one range of them
    POST /v1/artifacts   {manifest, signature?, job?, fence?, name?, parents?} -> 201 {"id"}
    GET  /v1/artifacts/{id}                                -> {"artifact", "manifest"}

Who may ask, whose an artefact becomes, whether the signature is its island's, and whether the
fence is still good is decided by the functions that are passed in; what is decided here is
whether the content is whole. A body is read only up to its bound. A chunk's name is an
unguessable digest of its content, and is learnt only from a manifest that the caller may read;
who has the content itself can find out that it is held.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from causeway.api.endpoints import Endpoint
from causeway.api.http import body_of, problem, strict_json
from causeway.model.artifacts import CHUNK_BYTES, Artifact, Manifest
from causeway.model.errors import CausewayError, Conflict, InvalidInput, NotFound, TooLarge
from causeway.ports.artifacts import ChunkStore
from causeway.sdk import manifests

Who = TypeVar("Who")

ASKED_MAX = 1000
ASKED_BYTES_MAX = 128 * 1024
BODY_BYTES_MAX = manifests.MANIFEST_BYTES_MAX + 64 * 1024
PARENTS_MAX = 1000
NAMED_MAX = 10
"""How many missing chunks an error lists."""
LOST_CHUNKS_AT = "$.manifest.files"
"""`where` of the conflict that a pusher answers by sending the missing chunks and trying again."""

_RANGE = re.compile(r"bytes=(\d{1,9})-(\d{1,9})?")
"""One range; anything else is answered with the whole chunk, as HTTP allows."""
_FIELDS = {"manifest", "signature", "job", "fence", "name", "parents"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An artefact whose content is whole, waiting to be recorded."""

    id: str
    manifest: Manifest
    raw: bytes
    """The canonical JSON: what `id` is the digest of, and what was signed."""
    bytes: int
    signature: str
    job: str
    fence: int
    name: str
    parents: tuple[str, ...]


def content_routes(
    *,
    store: ChunkStore,
    authorise: Callable[[Request], Awaitable[Who]],
    record: Callable[[Who, Upload], Awaitable[str]],
    find: Callable[[Who, str], Awaitable[Artifact]],
) -> list[Route]:
    """Return the routes.

    `authorise` says who is asking or raises; `record` stores the artefact's row, checks signature
    and fence, and returns its id; `find` returns a row that the caller may read or raises
    `NotFound`.
    """

    async def missing(request: Request) -> Response:
        await authorise(request)
        asked = _asked(await _json(request, ASKED_BYTES_MAX))
        return JSONResponse({"missing": await run_in_threadpool(store.missing, asked)})

    async def put_chunk(request: Request) -> Response:
        await authorise(request)
        data = await body_of(request, CHUNK_BYTES)
        await run_in_threadpool(store.put, request.path_params["chunk"], data)
        return Response(status_code=204)

    async def get_chunk(request: Request) -> Response:
        await authorise(request)
        chunk = request.path_params["chunk"]
        headers = {
            "Cache-Control": "private, immutable, max-age=31536000",
            "Accept-Ranges": "bytes",
        }
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        if asked is None:
            data, status = await run_in_threadpool(store.get, chunk), 200
        else:
            start, end = int(asked[1]), int(asked[2] or CHUNK_BYTES) + 1
            data, size = await run_in_threadpool(store.piece, chunk, start, end)
            if not data:
                raise InvalidInput(f"the chunk has {size} bytes", where="header.range")
            status = 206
            headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{size}"
        return Response(data, status, media_type="application/octet-stream", headers=headers)

    async def post_artifact(request: Request) -> Response:
        who = await authorise(request)
        upload = _upload(await _json(request, BODY_BYTES_MAX))
        await run_in_threadpool(_refuse_unwhole, store, upload.manifest)
        await run_in_threadpool(store.put_manifest, upload.id, upload.raw)
        return JSONResponse({"id": await record(who, upload)}, status_code=201)

    async def get_artifact(request: Request) -> Response:
        who = await authorise(request)
        artifact = await find(who, request.path_params["artifact"])
        raw = await run_in_threadpool(store.get_manifest, artifact.id)
        return JSONResponse({"artifact": asdict(artifact), "manifest": json.loads(raw)})

    return [
        Route("/v1/artifacts/missing", _told(missing), methods=["POST"]),
        Route("/v1/artifacts/chunks/{chunk}", _told(put_chunk), methods=["PUT"]),
        Route("/v1/artifacts/chunks/{chunk}", _told(get_chunk), methods=["GET"]),
        Route("/v1/artifacts", _told(post_artifact), methods=["POST"]),
        Route("/v1/artifacts/{artifact}", _told(get_artifact), methods=["GET"]),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Names of chunks: lower-case hex SHA-256."""

    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A manifest whose chunks are all here, and what it belongs to."""

    manifest: Manifest
    signature: str = ""
    """Needed from islands: Ed25519 over the manifest's canonical JSON, base64."""
    job: str = ""
    fence: int = 0
    name: str = ""
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An artefact and what it is made of."""

    artifact: Artifact
    manifest: Manifest


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/v1/artifacts/missing",
        summary="Which of these chunks are not held",
        request=Asked,
        reply=dict[str, list[str]],
    ),
    Endpoint(
        method="PUT",
        path="/v1/artifacts/chunks/{chunk}",
        summary="Send a chunk; it is kept when it hashes to its name",
        request=bytes,
        status=204,
    ),
    Endpoint(
        method="GET",
        path="/v1/artifacts/chunks/{chunk}",
        summary="A chunk's bytes",
        media="application/octet-stream",
    ),
    Endpoint(
        method="POST",
        path="/v1/artifacts",
        summary="Make an artefact of chunks that are held",
        request=Posted,
        reply=dict[str, str],
        status=201,
    ),
    Endpoint(
        method="GET",
        path="/v1/artifacts/{artifact}",
        summary="An artefact and its manifest",
        reply=Found,
    ),
)
"""What the document says of the routes above."""


Handler = Callable[[Request], Awaitable[Response]]


def _told(handler: Handler) -> Handler:
    """Turn an error of the tree into its status and JSON."""

    @functools.wraps(handler)
    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except CausewayError as error:
            return problem(error)

    return told


async def _json(request: Request, most: int) -> dict[str, object]:
    value = await run_in_threadpool(strict_json, await body_of(request, most), "$")
    if not isinstance(value, dict):
        raise InvalidInput("the body must be an object", where="$")
    return value


def _asked(body: dict[str, object]) -> list[str]:
    chunks = body.get("chunks")
    if set(body) != {"chunks"} or not isinstance(chunks, list):
        raise InvalidInput('the body must be {"chunks": [..]}', where="$.chunks")
    if len(chunks) > ASKED_MAX:
        raise TooLarge(
            f"{len(chunks)} chunks were asked for; the most is {ASKED_MAX}",
            hint="ask in several requests",
            where="$.chunks",
        )
    for index, chunk in enumerate(chunks):
        if not isinstance(chunk, str) or not manifests.is_chunk_name(chunk):
            raise InvalidInput("not a lower-case hex SHA-256", where=f"$.chunks[{index}]")
    return chunks


def _upload(body: dict[str, object]) -> Upload:
    odd = set(body) - _FIELDS
    if odd:
        raise InvalidInput(
            f"unknown field {min(odd)!r}", hint=f"one of: {', '.join(sorted(_FIELDS))}"
        )
    described = body.get("manifest")
    if not isinstance(described, dict):
        raise InvalidInput("manifest must be an object", where="$.manifest")
    try:
        manifest = manifests.parse_manifest(described)
        raw = manifests.manifest_bytes(manifest)
    except InvalidInput as error:
        error.where = f"$.manifest{error.where.removeprefix('$')}"
        raise
    if len(raw) > manifests.MANIFEST_BYTES_MAX:
        raise TooLarge(f"the manifest is over {manifests.MANIFEST_BYTES_MAX} bytes")
    fence, parents = body.get("fence", 0), body.get("parents", [])
    if not isinstance(fence, int) or isinstance(fence, bool) or fence < 0:
        raise InvalidInput("fence must be an integer of at least 0", where="$.fence")
    if (
        not isinstance(parents, list)
        or len(parents) > PARENTS_MAX
        or not all(isinstance(parent, str) and len(parent) <= 255 for parent in parents)
    ):
        raise InvalidInput(f"parents must be up to {PARENTS_MAX} artefacts", where="$.parents")
    return Upload(
        id=manifests.manifest_id(raw),
        manifest=manifest,
        raw=raw,
        bytes=manifests.total_bytes(manifest),
        signature=_text(body, "signature"),
        job=_text(body, "job"),
        fence=fence,
        name=_text(body, "name"),
        parents=tuple(parents),
    )


def _text(body: dict[str, object], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > 255:
        raise InvalidInput(f"{name} must be text of at most 255 characters", where=f"$.{name}")
    if not manifests.is_storable(value):
        raise InvalidInput(f"{name} holds a control character", where=f"$.{name}")
    return value


def hold(store: ChunkStore, artifact: str) -> None:
    """Make sure that an artefact is here whole, and young again: a collection that is under way,
    and does not know yet that somebody needs it, leaves what is young."""
    raw = store.get_manifest(artifact)
    absent = store.missing(manifests.chunk_names(manifests.parse_manifest(raw)))
    if absent:
        raise NotFound(
            f"{len(absent)} chunks of {artifact} are gone", hint="causeway upload it again"
        )
    store.put_manifest(artifact, raw)


def _refuse_unwhole(store: ChunkStore, manifest: Manifest) -> None:
    absent = store.missing(manifests.chunk_names(manifest))
    if absent:
        raise Conflict(
            f"{len(absent)} chunks are missing: {', '.join(absent[:NAMED_MAX])}",
            hint="send them, then post the manifest again",
            where=LOST_CHUNKS_AT,
        )
