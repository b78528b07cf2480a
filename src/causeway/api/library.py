"""Artefacts at the centre: the door to `control.keeping`."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from causeway.api import ahead, reading
from causeway.api.content import Upload
from causeway.api.door import COOKIE, Door
from causeway.api.endpoints import Endpoint
from causeway.api.http import bearer, json_response, whole, word
from causeway.control import keeping, tenancy
from causeway.control.agents import session_of
from causeway.control.state import State
from causeway.model.artifacts import Artifact
from causeway.model.errors import NotFound, Refused
from causeway.model.jobs import Job
from causeway.model.parties import AccessRole, Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Who asks for content: a person (or program) of a tenant, an island's agent, or a job."""

    caller: Caller | None = None
    island: str = ""
    job: Job | None = None
    """A running job, which may read what its file names."""


async def authorise(door: Door, request: Request) -> Bearer:
    """Accept a project's token, an agent's session token or, to read, that of an attempt."""
    cookie = request.cookies.get(COOKIE, "")
    secret = cookie if cookie and "authorization" not in request.headers else bearer(request)
    now_ms = door.clock.now_ms()
    reads = request.method in ("GET", "HEAD")

    attempt = reading.opened(door.unseal, secret) if secret.startswith(reading.PREFIX) else None
    if attempt is not None and not reads:
        raise Refused("an attempt's token only reads")

    def who(state: State) -> Bearer:
        if attempt is not None:
            return Bearer(job=reading.reader(state, *attempt))
        if secret.startswith("cw"):
            caller = tenancy.caller_of(state, secret, now_ms)
            # Every other method brings content, or asks which of it to bring.
            tenancy.need(caller, AccessRole.VIEWER if reads else AccessRole.MEMBER)
            return Bearer(caller=caller)
        return Bearer(island=session_of(state, secret).island)

    return await door.service.read(who)


async def record(door: Door, who: Bearer, upload: Upload) -> str:
    """Record an artefact that is whole. What an island brings is fenced and signed."""
    made = Artifact(
        id=upload.id,
        tenant="",
        kind=upload.manifest.kind,
        bytes=upload.bytes,
        files=len(upload.manifest.files),
        made_ms=0,
        signature=upload.signature,
        job=upload.job,
        fence=upload.fence,
        parents=upload.parents,
        name=upload.name,
        meta=upload.manifest.meta,
    )
    caller, island = who.caller, who.island
    if caller is not None:
        return await door.service.run(lambda tx: keeping.bring(tx, caller, made))
    return await door.service.run(lambda tx: keeping.vouch(tx, island, made, upload.raw))


async def find(door: Door, who: Bearer, artifact: str) -> Artifact:
    """Return an artefact that may be read: a project's own, or one that a job there needs."""
    if who.caller is not None:
        tenant = who.caller.tenant
    elif who.job is not None:
        if not reading.names(who.job, artifact):
            raise Refused(
                "the job's file does not name that artefact",
                hint=f"write {reading.SCHEME}<artefact>/<path> in its run, setup or envs",
            )
        tenant = who.job.tenant
    else:
        tenant = await door.service.read(
            lambda state: ahead.needing(door, state, who.island, artifact).tenant
        )
    found = await door.stored(lambda store: store.artifact(tenant, artifact))
    if found is None:
        raise NotFound(f"there is no artefact {artifact}", hint="causeway upload FOLDER")
    return found


async def artifacts(door: Door, request: Request) -> Response:
    """List the project's artefacts, newest first."""
    caller = await door.caller(request)
    tenant = None if caller.role is AccessRole.OPERATOR else caller.tenant
    kind = word(request, "kind")
    job = word(request, "job")
    limit = whole(request, "limit", 100, most=1_000, least=1)
    found = await door.stored(lambda s: s.artifacts(tenant=tenant, kind=kind, job=job, limit=limit))
    return json_response({"artifacts": found})


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/artifacts",
        summary="The project's artefacts, newest first",
        handler=artifacts,
        query=(("kind", "string", "checkpoint, output, model, workdir"), ("job", "string", "Job")),
    ),
)
