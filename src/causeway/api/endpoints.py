"""The shape of one endpoint; the table of them makes the routes and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from causeway.api.door import Door
from causeway.api.http import problem

Handler = Callable[[Door, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """In Starlette's form: `/v1/jobs/{job}`."""
    summary: str
    handler: Handler | None = None
    """None: its route is made elsewhere (content), and this row only describes it."""
    request: Any = None
    """Type of the JSON body; `str` for text (YAML); None for no body."""
    reply: Any = None
    """Type of the JSON answer; None for other media."""
    query: tuple[tuple[str, str, str], ...] = ()
    """(name, JSON schema type, sentence)."""
    auth: str = "token"
    """`token`, `session` (agents) or `none`."""
    status: int = 200
    media: str = "application/json"


def routes_of(door: Door, endpoints: tuple[Endpoint, ...]) -> list[Route]:
    """Return Starlette routes whose handlers answer errors as problems."""
    return [
        Route(e.path, _guarded(door, e.handler), methods=[e.method], name=f"{e.method} {e.path}")
        for e in endpoints
        if e.handler is not None
    ]


def _guarded(door: Door, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(door, request)
        except Exception as error:
            if problem_status(error) == 500:
                # A 503 is no defect: a follower answers everything with it.
                _tell(request, error)
            return problem(error)

    return endpoint


def problem_status(error: Exception) -> int:
    """Return the HTTP status that an error is answered with."""
    from causeway.model.errors import STATUSES, CausewayError

    return STATUSES.get(error.code, 500) if isinstance(error, CausewayError) else 500


def _tell(request: Request, error: Exception) -> None:
    """Put a defect into the server's log with its trace; the caller gets only its kind."""
    import logging

    logging.getLogger("causeway").error(
        "%s %s: %s", request.method, request.url.path, error, exc_info=error
    )
