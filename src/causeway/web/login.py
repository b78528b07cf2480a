"""Logging in and out: with a token that is pasted, or through an identity provider.

A token is kept in a cookie that scripts cannot read and other sites cannot send. Logging out ends
a session that an identity provider opened; a token that was made by hand only leaves the browser.
"""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from causeway.model.errors import CausewayError, InvalidInput
from causeway.web.identity import OidcSettings
from causeway.web.oidc import Oidc
from causeway.web.render import render
from causeway.web.replies import (
    COOKIE,
    HEADERS,
    Web,
    form_of,
    frame,
    html,
    keep_session,
    local,
    own_site,
)


def login_routes(web: Web, settings: OidcSettings | None) -> list[Route]:
    """Return the routes of login and logout."""
    oidc = Oidc(web, settings) if settings is not None else None
    return [
        Route("/login", partial(_login, web, oidc is not None), methods=["GET", "POST"]),
        Route("/logout", partial(_logout, web), methods=["POST"]),
        *(oidc.routes() if oidc else ()),
    ]


async def _login(web: Web, provider: bool, request: Request) -> Response:
    target = local(request.query_params.get("next", ""))
    values = {**frame(request, None), "next": target, "provider": provider}
    if request.method == "GET":
        return html(render("login.html", **values, problem=""))
    try:
        own_site(request)
        token = await _form_token(request)
        await web.authorise(token)
    except CausewayError as error:
        return html(render("login.html", **values, problem=error.message), 401)
    response = RedirectResponse(target, 303, headers=HEADERS)
    keep_session(request, response, token)
    return response


async def _form_token(request: Request) -> str:
    """Read the one field of the login form."""
    token = (await form_of(request)).get("token", "").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidInput("that is not a token: paste it whole, as it was shown")
    return token


async def _logout(web: Web, request: Request) -> Response:
    token = request.cookies.get(COOKIE, "")
    response = RedirectResponse("/login", 303, headers=HEADERS)
    if token and web.sessions is not None:
        # The cookie is not sent from other sites, so nobody else can end the session.
        await web.sessions.end(token)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
