"""What every door of the pages shares: headers, the session's cookie, forms, and safe targets."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from causeway.model.errors import STATUSES, CausewayError, InvalidInput, Refused, Unauthenticated
from causeway.model.parties import Caller
from causeway.web.actor import Actor, Sessions
from causeway.web.reader import Reader
from causeway.web.render import render

COOKIE = "causeway_token"
COOKIE_AGE_S = 12 * 3600
FORM_BYTES_MAX = 8 * 1024
QUERY_CHARS_MAX = 2000

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


Authorise = Callable[[str], Awaitable[Caller]]
"""Token -> caller, or `Unauthenticated`."""


class Web:
    """What the handlers share: who answers, acts and checks tokens; how many streams are open."""

    def __init__(
        self,
        reader: Reader,
        authorise: Authorise,
        *,
        actor: Actor | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self.reader = reader
        self.authorise = authorise
        self.actor = actor
        self.sessions = sessions
        self.streams = 0

    async def caller(self, request: Request) -> Caller:
        """Return who asks, by bearer token or by cookie."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.cookies.get(COOKIE, "")
        if not token:
            raise Unauthenticated("no token was sent", hint="log in at /login")
        return await self.authorise(token.strip())


def frame(request: Request, caller: Caller | None) -> dict[str, Any]:
    """Return what every template needs besides its view."""
    path = request.url.path
    query = f"?{request.url.query}" if request.url.query else ""
    return {
        "caller": caller,
        "fragment": bool(request.headers.get("hx-request")),
        "here": path.split("/")[1],
        "address": path + query,
        "twin": f"{path}.json{query}",
    }


def html(text: str, status: int = 200) -> Response:
    """Answer with a page."""
    return Response(text, status, media_type="text/html; charset=utf-8", headers=HEADERS)


def problem_page(request: Request, error: CausewayError) -> Response:
    """Answer with a page that says what did not work."""
    page = render("problem.html", **frame(request, None), error=error)
    return html(page, STATUSES.get(error.code, 500))


def problem_json(error: CausewayError) -> Response:
    """Answer a program with the error."""
    body = msgspec.json.encode({"error": error.as_dict()})
    status = STATUSES.get(error.code, 500)
    return Response(body, status, media_type="application/json", headers=HEADERS)


def local(target: str) -> str:
    """Return the target when it is a path on this server, otherwise the first page."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if plain and target.isprintable() and "\\" not in target else "/now"


def keep_session(request: Request, response: Response, token: str) -> None:
    """Keep the token in a cookie that scripts cannot read and other sites cannot send."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=COOKIE_AGE_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def own_site(request: Request) -> None:
    """Refuse a form that another site filled in: nobody is to act, or be, someone else."""
    site = request.headers.get("sec-fetch-site", "")
    origin = request.headers.get("origin", "")
    if site:
        own = site in ("same-origin", "none")
    else:
        own = not origin or urlsplit(origin).netloc == request.url.netloc
    if not own:
        raise Refused("this form was sent from another site", hint="open the page here itself")


async def form_of(request: Request) -> Mapping[str, str]:
    """Read a form's fields, within bounds; of a field that comes twice, the first."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_BYTES_MAX:
            raise InvalidInput("the form is too large")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=20)
    except ValueError:
        raise InvalidInput("the form has too many fields") from None
    return {name: values[0] for name, values in fields.items()}


def form_key(token: str) -> str:
    """Return the key that this session's forms carry: made from what no other site can read."""
    return hmac.new(token.encode(), b"causeway form 1", hashlib.sha256).hexdigest()


def check_form_key(token: str, given: str) -> None:
    """Refuse a form that was not made for this session."""
    if not hmac.compare_digest(form_key(token).encode(), given.encode()):
        raise Refused("this form is of another session", hint="go back, reload the page, try again")
