"""Routes of the dashboard: pages, their `.json` twins, logs, the stream, login and static files.

A person pastes a token once; it is then kept in a cookie that scripts cannot read and other sites
cannot send. Programs may send it as a bearer token instead. Whoever asks for a page without one is
sent to the login page; whoever asks for JSON gets the error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from causeway.model.errors import (
    STATUSES,
    CausewayError,
    InvalidInput,
    NotFound,
    Refused,
    Unauthenticated,
)
from causeway.model.parties import Caller
from causeway.web import live, pages
from causeway.web.files import static_files
from causeway.web.reader import Reader
from causeway.web.render import render

COOKIE = "causeway_token"
COOKIE_AGE_S = 12 * 3600
LOG_PIECE_BYTES_MAX = 256 * 1024
FORM_BYTES_MAX = 8 * 1024
QUERY_CHARS_MAX = 2000

Authorise = Callable[[str], Awaitable[Caller]]
"""Token -> caller, or `Unauthenticated`."""
Load = Callable[["Web", Request, Caller], Awaitable[Any]]

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Web:
    """What the handlers share: who answers, who checks tokens, and how many streams are open."""

    def __init__(self, reader: Reader, authorise: Authorise) -> None:
        self.reader = reader
        self.authorise = authorise
        self.streams = 0

    async def caller(self, request: Request) -> Caller:
        """Return who asks, by bearer token or by cookie."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.cookies.get(COOKIE, "")
        if not token:
            raise Unauthenticated("no token was sent", hint="log in at /login")
        return await self.authorise(token.strip())


def routes(reader: Reader, *, authorise: Authorise) -> list[Route]:
    """Return the dashboard's routes, to be mounted at the root of the server."""
    web = Web(reader, authorise)
    found = [
        Route("/", _home),
        Route("/login", partial(_login, web), methods=["GET", "POST"]),
        Route("/logout", _logout, methods=["POST"]),
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
    return await pages.job_page(web.reader, caller, job, stream=stream, metric=metric)


async def _islands(web: Web, request: Request, caller: Caller) -> Any:
    named, after = _query(request, "named"), _query(request, "after")
    return await pages.islands_page(web.reader, caller, named=named, after=after)


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
            return _html(render("problem.html", **_frame(request, None), error=error), 401)
        target = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        return RedirectResponse(f"/login?next={target}", 303, headers=HEADERS)
    except CausewayError as error:
        page = render("problem.html", **_frame(request, None), error=error)
        return _html(page, STATUSES.get(error.code, 500))
    return _html(render(template, **_frame(request, caller), view=view))


async def _twin(web: Web, load: Load, request: Request) -> Response:
    try:
        view = await load(web, request, await web.caller(request))
    except CausewayError as error:
        return _problem_json(error)
    return Response(msgspec.json.encode(view), media_type="application/json", headers=HEADERS)


def _frame(request: Request, caller: Caller | None) -> dict[str, Any]:
    """What every template needs besides its view."""
    path = request.url.path
    query = f"?{request.url.query}" if request.url.query else ""
    return {
        "caller": caller,
        "fragment": bool(request.headers.get("hx-request")),
        "here": path.split("/")[1],
        "address": path + query,
        "twin": f"{path}.json{query}",
    }


async def _home(request: Request) -> Response:
    return RedirectResponse("/now", 303, headers=HEADERS)


async def _login(web: Web, request: Request) -> Response:
    target = _local(request.query_params.get("next", ""))
    frame = {**_frame(request, None), "next": target}
    if request.method == "GET":
        return _html(render("login.html", **frame, problem=""))
    try:
        _own_site(request)
        token = await _form_token(request)
        await web.authorise(token)
    except CausewayError as error:
        return _html(render("login.html", **frame, problem=error.message), 401)
    response = RedirectResponse(target, 303, headers=HEADERS)
    response.set_cookie(
        COOKIE,
        token,
        max_age=COOKIE_AGE_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


def _own_site(request: Request) -> None:
    """Refuse a form that another site filled in: nobody is to be logged in as someone else."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused("this form was sent from another site", hint="open /login itself")


async def _form_token(request: Request) -> str:
    """Read the one field of the login form, within bounds."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            raise InvalidInput("the form is too large for a token")
    token = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidInput("that is not a token: paste it whole, as it was shown")
    return token


def _local(target: str) -> str:
    """Return the target when it is a path on this server, otherwise the first page."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if plain and target.isprintable() and "\\" not in target else "/now"


async def _logout(request: Request) -> Response:
    response = RedirectResponse("/login", 303, headers=HEADERS)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


async def _events(web: Web, request: Request) -> Response:
    try:
        caller = await web.caller(request)
    except CausewayError as error:
        return _problem_json(error)
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
        return _problem_json(error)
    headers = {**HEADERS, "X-Next-Offset": str(offset + len(data))}
    return Response(data, media_type="text/plain; charset=utf-8", headers=headers)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    found = static_files().get(name)
    if found is None:
        return _problem_json(NotFound(f"there is no file {name!r}"))
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


def _html(text: str, status: int = 200) -> Response:
    return Response(text, status, media_type="text/html; charset=utf-8", headers=HEADERS)


def _problem_json(error: CausewayError) -> Response:
    body = msgspec.json.encode({"error": error.as_dict()})
    status = STATUSES.get(error.code, 500)
    return Response(body, status, media_type="application/json", headers=HEADERS)
