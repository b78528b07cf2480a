"""The descriptors' door: what an identifier stands for, with the digest to cite it by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from starlette.requests import Request
from starlette.responses import Response

from causeway import perceive
from causeway.api.door import Door
from causeway.api.endpoints import Endpoint
from causeway.api.http import json_response
from causeway.model.artifacts import Artifact
from causeway.model.errors import Conflict, NotFound
from causeway.model.identifiers import Kind, Urn, digest
from causeway.model.jobs import Job
from causeway.model.parties import Caller

PARTS = frozenset(
    {
        *(Kind.ISLAND, Kind.SITE, Kind.PROVIDER, Kind.POOL),
        *(Kind.NODE, Kind.DEVICE, Kind.OFFER, Kind.PRICE),
    }
)
LIBRARY = frozenset({Kind.MODEL, Kind.DATASET, Kind.ARTIFACT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A thing's attributes at one moment."""

    id: str
    digest: str
    """`sha256:<hex>` of the descriptor's canonical JSON."""
    descriptor: Mapping[str, object]


async def describe(door: Door, request: Request) -> Response:
    """Return the descriptor of an identifier; with `digest`, only if it still is that one."""
    caller = await door.caller(request)
    urn = Urn.parse(request.path_params["urn"])
    found = await _found(door, caller, urn)
    made = Described(id=str(urn), digest=digest(found), descriptor=found)
    cited = request.query_params.get("digest", "")
    if cited and cited != made.digest:
        raise Conflict(
            f"{urn} has changed since it was cited: its digest is {made.digest} now",
            where="query.digest",
            hint=f"causeway describe {urn}",
        )
    return json_response(made)


async def _found(door: Door, caller: Caller, urn: Urn) -> Mapping[str, object]:
    if urn.kind in PARTS:
        islands = await door.service.read(lambda state: list(state.islands.values()))
        for island in islands:
            for name, descriptor in perceive.descriptors(island):
                if name == str(urn):
                    return descriptor
    elif urn.kind is Kind.JOB:
        return _of_job(await door.job(caller, str(urn)))
    elif urn.kind in LIBRARY:
        held = await door.stored(lambda store: store.artifact(caller.tenant, urn.local))
        if held is not None:
            return _of_artifact(held)
    elif urn.kind is Kind.PARTY and urn.local == caller.tenant:
        return {"name": caller.tenant}
    raise NotFound(
        f"nothing is known of {urn}",
        hint="causeway islands, causeway offers, causeway ps and causeway models list identifiers",
    )


def _of_job(job: Job) -> Mapping[str, object]:
    owned = {"tenant": job.tenant, "submitted_ms": job.submitted_ms, "group": job.group}
    spec: Mapping[str, object] = perceive.plain(asdict(job.spec))
    return {**owned, "spec": spec}


def _of_artifact(held: Artifact) -> Mapping[str, object]:
    made: Mapping[str, object] = perceive.plain(asdict(held))
    return {name: value for name, value in made.items() if name != "tenant"}


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/v1/descriptors/{urn}",
        summary="What an identifier stands for, and the digest to cite it by",
        handler=describe,
        reply=Described,
        query=(("digest", "string", "Refuse (409) unless the descriptor still has this digest"),),
    ),
)
