"""Artefacts at the centre: who may bring them, under which fence, and who may read them."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.requests import Request
from starlette.responses import Response

from causeway.api.content import Upload
from causeway.api.door import COOKIE, Door
from causeway.api.endpoints import Endpoint
from causeway.api.http import bearer, json_response, whole
from causeway.control import tenancy
from causeway.control.agents import session_of
from causeway.control.state import State, Tx
from causeway.model.artifacts import Artifact
from causeway.model.errors import NotFound, Refused, StaleFence, Unauthenticated
from causeway.model.jobs import Checkpoint, Job
from causeway.model.parties import AccessRole, Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Who asks for content: a person (or program) of a tenant, or an island's agent."""

    caller: Caller | None = None
    island: str = ""


async def authorise(door: Door, request: Request) -> Bearer:
    """Accept a project's token or an agent's session token."""
    cookie = request.cookies.get(COOKIE, "")
    secret = cookie if cookie and "authorization" not in request.headers else bearer(request)
    now_ms = door.clock.now_ms()

    def who(state: State) -> Bearer:
        if secret.startswith("cw_"):
            return Bearer(caller=tenancy.caller_of(state, secret, now_ms))
        return Bearer(island=session_of(state, secret).island)

    return await door.service.read(who)


async def record(door: Door, who: Bearer, upload: Upload) -> str:
    """Record an artefact that is whole. What an island brings is fenced and signed."""
    if who.caller is not None:
        tenancy.need(who.caller, AccessRole.MEMBER)
        tenant = who.caller.tenant

        def by_person(tx: Tx) -> str:
            return _keep(tx, upload, tenant, made_by=who.caller.token if who.caller else "")

        return await door.service.run(by_person)

    def by_island(tx: Tx) -> str:
        job = _fenced(tx, upload, who.island)
        _check_signature(tx, upload, who.island)
        kept = _keep(tx, upload, job.tenant, made_by=who.island)
        if upload.manifest.kind == "checkpoint":
            _checkpointed(tx, job, upload, who.island)
        return kept

    return await door.service.run(by_island)


def _fenced(tx: Tx, upload: Upload, island: str) -> Job:
    job = tx.job(upload.job)
    current = job.current if job is not None else None
    if job is None or current is None or (current.fence, current.island) != (upload.fence, island):
        raise StaleFence(
            f"attempt {upload.fence} of {upload.job} is not the current one; its writes are refused"
        )
    return job


def _check_signature(tx: Tx, upload: Upload, island: str) -> None:
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(tx.island(island).public_key))
    try:
        key.verify(base64.b64decode(upload.signature), upload.raw)
    except (InvalidSignature, ValueError):
        raise Unauthenticated("the manifest is not signed with the island's key") from None


def _keep(tx: Tx, upload: Upload, tenant: str, *, made_by: str) -> str:
    job = tx.job(upload.job) if upload.job else None
    artifact = Artifact(
        id=upload.id,
        tenant=tenant,
        kind=upload.manifest.kind,
        bytes=upload.bytes,
        files=len(upload.manifest.files),
        made_ms=tx.now_ms,
        made_by=made_by,
        signature=upload.signature,
        job=upload.job,
        fence=upload.fence,
        parents=upload.parents or (_parents(job) if job else ()),
        name=upload.name,
        meta=upload.manifest.meta,
    )
    tx.artifacts[(tenant, artifact.id)] = artifact
    tx.fact(
        "artifact.kept",
        upload.job or artifact.id,
        tenant=tenant,
        artifact=artifact.id,
        of=artifact.kind,
        bytes=artifact.bytes,
        fence=upload.fence,
    )
    return artifact.id


def _parents(job: Job) -> tuple[str, ...]:
    made_from = [job.spec.workdir, *job.spec.inputs.values()]
    if job.checkpoint is not None:
        made_from.append(job.checkpoint.artifact)
    return tuple(dict.fromkeys(a for a in made_from if a))


def _checkpointed(tx: Tx, job: Job, upload: Upload, island: str) -> None:
    step = int(upload.manifest.meta.get("step", -1))
    if job.checkpoint is not None and job.checkpoint.step >= step:
        return
    checkpoint = Checkpoint(
        artifact=upload.id,
        step=step,
        at_ms=tx.now_ms,
        bytes=upload.bytes,
        fence=upload.fence,
        island=island,
    )
    tx.put_job(
        replace(job, checkpoint=checkpoint, no_progress=0),
        "job.checkpoint",
        fence=upload.fence,
        step=step,
        bytes=upload.bytes,
    )


async def find(door: Door, who: Bearer, artifact: str) -> Artifact:
    """Return an artefact that may be read: a project's own, or one that a job there needs."""
    if who.caller is not None:
        tenant = who.caller.tenant
    else:
        tenant = await door.service.read(lambda state: _needed_by(state, who.island, artifact))
    found = await door.stored(lambda store: store.artifact(tenant, artifact))
    if found is None:
        raise NotFound(f"there is no artefact {artifact}", hint="causeway upload FOLDER")
    return found


def _needed_by(state: State, island: str, artifact: str) -> str:
    for job_id in state.held.get(island, ()):
        job = state.jobs[job_id]
        needed = {job.spec.workdir, *job.spec.inputs.values()}
        needed.update(attempt.resumed_from for attempt in job.attempts[-1:])
        if artifact in needed:
            return job.tenant
    raise Refused("no job on this island needs that artefact")


async def artifacts(door: Door, request: Request) -> Response:
    """List the project's artefacts, newest first."""
    caller = await door.caller(request)
    tenant = None if caller.role is AccessRole.OPERATOR else caller.tenant
    kind = request.query_params.get("kind", "")
    job = request.query_params.get("job", "")
    limit = whole(request, "limit", 100, most=1_000)
    found = await door.stored(
        lambda s: s.artifacts(tenant=tenant, kind=kind, job=job, limit=limit)
    )
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
