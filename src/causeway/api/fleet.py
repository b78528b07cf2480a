"""The islands' and offers' door: what there is, at which price, and keeping work away from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from causeway import perceive
from causeway.api.door import Door
from causeway.api.endpoints import Endpoint, Handler
from causeway.api.http import json_response, whole
from causeway.control import agents, rounds
from causeway.control.state import State, Tx
from causeway.discover import Catalogue, compile_filter
from causeway.model.errors import NotFound
from causeway.model.fleet import PoolView
from causeway.model.identifiers import Kind, Urn
from causeway.model.islands import Island
from causeway.model.parties import AccessRole


def pools_of(door: Door, state: State) -> tuple[PoolView, ...]:
    """Return every offer with its free capacity and age."""
    return perceive.views(
        state.islands.values(),
        state.used,
        now_ms=door.clock.now_ms(),
        lease_ms=door.settings.lease_ms,
    )


async def islands(door: Door, request: Request) -> Response:
    """List the islands."""
    await door.caller(request)
    found = await door.service.read(lambda state: list(state.islands.values()))
    return json_response({"islands": found, "now_ms": door.clock.now_ms()})


async def offers(door: Door, request: Request) -> Response:
    """Search live offers with the filter language, sorted by a stated objective."""
    await door.caller(request)
    where = request.query_params.get("where", "")
    sort = request.query_params.get("sort", "price_usd_per_device_h")
    limit = whole(request, "limit", 100, most=1_000, least=1)
    wanted = compile_filter(where)
    pools = await door.service.read(lambda state: pools_of(door, state))
    rows = Catalogue(pools).search(wanted, sort=sort, limit=limit)
    return json_response({"offers": [pools[row] for row in rows], "sort": sort, "where": where})


async def latency(door: Door, request: Request) -> Response:
    """Say how far islands are from one another, as measured, with the path and the age."""
    await door.caller(request)
    asked = request.query_params.get("island", "")
    of = island_id(door, asked) if asked else ""
    limit = whole(request, "limit", 1_000, most=10_000, least=1)
    found = await door.service.read(lambda state: list(state.islands.values()))
    if of and all(one.id != of for one in found):
        raise NotFound(f"there is no island {of}", hint="causeway islands")
    now_ms = door.clock.now_ms()
    links = perceive.between(found, now_ms, of=of, limit=limit)
    return json_response({"links": links, "now_ms": now_ms})


def island_id(door: Door, text: str) -> str:
    """Return the URN for what a person typed."""
    if text.startswith("urn:"):
        return text
    return str(Urn(door.settings.issuer, Kind.ISLAND, text))


def _steer(act: Callable[[Tx, Island, str], None]) -> Handler:
    async def handler(door: Door, request: Request) -> Response:
        caller = await door.caller(request, AccessRole.OPERATOR)
        wanted = island_id(door, request.path_params["island"])

        def command(tx: Tx) -> Island:
            act(tx, tx.island(wanted), caller.token)
            return tx.island(wanted)

        return json_response(await door.service.run(command))

    return handler


def _cordon(tx: Tx, island: Island, by: str) -> None:
    tx.put_island(replace(island, cordoned=True), "island.cordoned", by=by)


def _uncordon(tx: Tx, island: Island, by: str) -> None:
    tx.put_island(replace(island, cordoned=False, draining=False), "island.uncordoned", by=by)


def _drain(tx: Tx, island: Island, by: str) -> None:
    rounds.drain(tx, island.id, by)


def _lost(tx: Tx, island: Island, by: str) -> None:
    rounds.declare_lost(tx, island.id, by)


def _expel(tx: Tx, island: Island, by: str) -> None:
    agents.expel(tx, island.id, by)


def _admit(tx: Tx, island: Island, by: str) -> None:
    agents.admit(tx, island.id, by)


STEERING: Mapping[str, Callable[[Tx, Island, str], None]] = {
    "cordon": _cordon,
    "uncordon": _uncordon,
    "drain": _drain,
}
"""What the pages' buttons do to an island, by the word in their address."""


async def one_island(door: Door, request: Request) -> Response:
    """Return one island."""
    await door.caller(request)
    wanted = island_id(door, request.path_params["island"])
    found = await door.service.read(lambda state: state.islands.get(wanted))
    if found is None:
        raise NotFound(f"there is no island {wanted}", hint="causeway islands")
    return json_response(found)


def _action(name: str, summary: str, act: Callable[[Tx, Island, str], None]) -> Endpoint:
    return Endpoint(
        method="POST",
        path="/v1/islands/{island}/" + name,
        summary=summary,
        handler=_steer(act),
        reply=Island,
    )


ENDPOINTS = (
    Endpoint(method="GET", path="/v1/islands", summary="All islands", handler=islands),
    Endpoint(
        method="GET",
        path="/v1/islands/{island}",
        summary="One island",
        handler=one_island,
        reply=Island,
    ),
    Endpoint(
        method="GET",
        path="/v1/offers",
        summary="Search live offers",
        handler=offers,
        query=(
            ("where", "string", "Filter expression"),
            ("sort", "string", "Sort key; a leading - turns it round"),
            ("limit", "integer", "At most 1000"),
        ),
    ),
    Endpoint(
        method="GET",
        path="/v1/latency",
        summary="Round trip and bandwidth between islands",
        handler=latency,
        query=(
            ("island", "string", "Only the links of this island"),
            ("limit", "integer", "At most 10000"),
        ),
    ),
    _action("cordon", "Keep new work away from an island", _cordon),
    _action("uncordon", "Let new work onto an island again", _uncordon),
    _action("drain", "Cordon an island and move its work away", _drain),
    _action("expel", "Revoke an island's key; its work is placed elsewhere", _expel),
    _action("admit", "Accept an expelled island's key again", _admit),
    _action("lost", "Declare a cut-off island lost: its work is placed again", _lost),
)
