"""The whole HTTP application: API, content, metrics, OpenAPI, and the pages on top."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from causeway import __version__
from causeway.api import (
    accounts,
    agent,
    content,
    descriptors,
    exchange,
    fleet,
    jobs,
    library,
    metrics,
    openapi,
    relay,
    sources,
    tes,
)
from causeway.api.door import Door
from causeway.api.endpoints import Endpoint, routes_of
from causeway.api.http import json_response, problem
from causeway.model.errors import InvalidInput, NotFound

ENDPOINTS: tuple[Endpoint, ...] = (
    *jobs.ENDPOINTS,
    *fleet.ENDPOINTS,
    *descriptors.ENDPOINTS,
    *accounts.ENDPOINTS,
    *library.ENDPOINTS,
    *agent.ENDPOINTS,
    *sources.ENDPOINTS,
    *exchange.ENDPOINTS,
    *metrics.ENDPOINTS,
)


def application(door: Door, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the ASGI application. `pages` are the dashboard's routes."""
    documents = tes.Documents(door.chunks)
    handovers = tes.Handovers(door, documents)
    chunks_and_manifests = content.content_routes(
        store=door.chunks,
        authorise=partial(library.authorise, door),
        record=partial(library.record, door),
        find=partial(library.find, door),
    )
    return Starlette(
        routes=[
            Route("/healthz", partial(_health, door)),
            Route("/v1/openapi.json", _openapi),
            *routes_of(door, ENDPOINTS),
            *chunks_and_manifests,
            *relay.routes(door),
            *tes.routes(door, documents, handovers),
            *pages,
        ],
        lifespan=partial(_lifespan, door, handovers),
        exception_handlers={404: _unknown, 405: _unknown_method, Exception: _defect},
    )


@asynccontextmanager
async def _lifespan(door: Door, handovers: tes.Handovers, app: Starlette) -> AsyncIterator[None]:
    await door.service.start()
    beside = [
        asyncio.create_task(one.run()) for one in (door.upkeep, door.webhooks, handovers) if one
    ]
    yield
    for task in beside:
        task.cancel()
    await door.service.stop()


async def _health(door: Door, request: Request) -> Response:
    """Say whether this process leads; a balancer sends work only to a leader."""
    leading = door.plane.leading and door.service.failure is None
    body = {"leading": leading, "version": __version__, "epoch": door.plane.epoch}
    return json_response(body, 200 if leading else 503)


async def _openapi(request: Request) -> Response:
    return json_response(openapi.document((*ENDPOINTS, *content.ENDPOINTS)))


async def _unknown(request: Request, error: Exception) -> Response:
    return problem(NotFound(f"there is nothing at {request.url.path}", hint="see /v1/openapi.json"))


async def _unknown_method(request: Request, error: Exception) -> Response:
    wrong = InvalidInput(
        f"{request.method} is not possible at {request.url.path}", hint="see /v1/openapi.json"
    )
    response = problem(wrong)
    response.status_code = 405
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def _defect(request: Request, error: Exception) -> Response:
    return problem(error)
