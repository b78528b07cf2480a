"""Routes of the dashboard: pages, their `.json` twins, logs, the stream and static files.

Whoever asks for a page without being logged in is sent to the login page (`login.py`); whoever asks
for JSON gets the error. What changes something is in `acts.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from causeway.model.errors import CausewayError, InvalidInput, NotFound, Unauthenticated
from causeway.model.parties import Caller
from causeway.web import live, pages
from causeway.web.actor import Actor, Sessions
from causeway.web.acts import act_routes
from causeway.web.files import static_files
from causeway.web.identity import OidcSettings
from causeway.web.login import login_routes
from causeway.web.reader import Reader
from causeway.web.render import render
from causeway.web.replies import (
    HEADERS,
    QUERY_CHARS_MAX,
    Authorise,
    Web,
    frame,
    html,
    problem_json,
    problem_page,
)

LOG_PIECE_BYTES_MAX = 256 * 1024

Load = Callable[["Web", Request, Caller], Awaitable[Any]]


def routes(
    reader: Reader,
    *,
    authorise: Authorise,
    actor: Actor | None = None,
    sessions: Sessions | None = None,
    oidc: OidcSettings | None = None,
) -> list[Route]:
    """Return the dashboard's routes, to be mounted at the root of the server.

    Without `actor` the pages only read; `oidc` needs `sessions`.
    """
    web = Web(reader, authorise, actor=actor, sessions=sessions)
    found = [
        Route("/", _home),
        *login_routes(web, oidc),
        *(act_routes(web) if actor else ()),
        Route("/events", partial(_events, web)),
        Route("/static/{name}", _static),
        Route("/jobs/{job}/log", partial(_log, web)),
    ]
    for path, template, load in PAGES:
        found.append(Route(f"{path}.json", partial(_twin, web, load)))
        found.append(Route(path, partial(_page, web, template, load)))
    return found


async def _now(web: Web, request: Request, caller: Caller) -> Any:
    return await pages.now_page(web.reader, caller)


async def _jobs(web: Web, request: Request, caller: Caller) -> Any:
    group, before = _query(request, "state"), _query(request, "before")
    return await pages.jobs_page(web.reader, caller, group=group, before=before)


async def _job(web: Web, request: Request, caller: Caller) -> Any:
    stream = None
    if "stream" in request.query_params:
        stream = (_number(request, "fence"), _query(request, "stream"))
    job, metric = request.path_params["job"], _query(request, "metric")
    acts = web.actor is not None
    log = pages.LogAsked(stream=stream, since=_query(request, "since"))
    return await pages.job_page(web.reader, caller, job, log=log, metric=metric, acts=acts)


async def _islands(web: Web, request: Request, caller: Caller) -> Any:
    named, after = _query(request, "named"), _query(request, "after")
    acts = web.actor is not None
    return await pages.islands_page(web.reader, caller, named=named, after=after, acts=acts)


async def _offers(web: Web, request: Request, caller: Caller) -> Any:
    where, sort = _query(request, "where"), _query(request, "sort")
    return await pages.offers_page(web.reader, caller, where=where, sort=sort)


async def _bill(web: Web, request: Request, caller: Caller) -> Any:
    return await pages.bill_page(web.reader, caller)


PAGES: tuple[tuple[str, str, Load], ...] = (
    ("/now", "now.html", _now),
    ("/jobs", "jobs.html", _jobs),
    ("/jobs/{job}", "job.html", _job),
    ("/islands", "islands.html", _islands),
    ("/offers", "offers.html", _offers),
    ("/bill", "bill.html", _bill),
)


async def _page(web: Web, template: str, load: Load, request: Request) -> Response:
    try:
        caller = await web.caller(request)
        view = await load(web, request, caller)
    except Unauthenticated as error:
        if request.headers.get("hx-request"):
            return html(render("problem.html", **frame(request, None), error=error), 401)
        target = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        return RedirectResponse(f"/login?next={target}", 303, headers=HEADERS)
    except CausewayError as error:
        return problem_page(request, error)
    return html(render(template, **frame(request, caller), view=view))


async def _twin(web: Web, load: Load, request: Request) -> Response:
    try:
        view = await load(web, request, await web.caller(request))
    except CausewayError as error:
        return problem_json(error)
    return Response(msgspec.json.encode(view), media_type="application/json", headers=HEADERS)


async def _home(request: Request) -> Response:
    return RedirectResponse("/now", 303, headers=HEADERS)


async def _events(web: Web, request: Request) -> Response:
    try:
        caller = await web.caller(request)
    except CausewayError as error:
        return problem_json(error)
    if web.streams >= live.STREAMS_MAX:
        return Response("too many streams are open", 503, headers=HEADERS)
    last = request.headers.get("last-event-id", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else 0

    async def counted() -> AsyncIterator[bytes]:
        web.streams += 1
        try:
            async for piece in live.changes(web.reader, caller, after=after):
                yield piece
        finally:
            web.streams -= 1

    return StreamingResponse(counted(), media_type="text/event-stream", headers=HEADERS)


async def _log(web: Web, request: Request) -> Response:
    """Return a piece of a log as text; `X-Next-Offset` says where the next one begins."""
    try:
        caller = await web.caller(request)
        offset = _number(request, "offset")
        data = await web.reader.log(
            caller,
            request.path_params["job"],
            fence=_number(request, "fence"),
            stream=_query(request, "stream"),
            offset=offset,
            limit=LOG_PIECE_BYTES_MAX,
        )
    except CausewayError as error:
        return problem_json(error)
    headers = {**HEADERS, "X-Next-Offset": str(offset + len(data))}
    return Response(data, media_type="text/plain; charset=utf-8", headers=headers)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    found = static_files().get(name)
    if found is None:
        return problem_json(NotFound(f"there is no file {name!r}"))
    fresh = request.query_params.get("v") == found.version
    cache = "public, max-age=31536000, immutable" if fresh else "no-cache"
    headers = {**HEADERS, "Cache-Control": cache, "ETag": f'"{found.version}"'}
    return Response(found.body, media_type=found.media_type, headers=headers)


def _query(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")
    if len(text) > QUERY_CHARS_MAX:
        raise InvalidInput(f"{name} has more than {QUERY_CHARS_MAX} characters", where=name)
    return text


def _number(request: Request, name: str) -> int:
    text = _query(request, name) or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidInput(f"{name} must be a whole number, not {text[:40]!r}", where=name)
    return int(text)
