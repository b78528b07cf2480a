"""Login through an identity provider: OpenID Connect's authorization-code flow with PKCE.

    /login/oidc           -> the provider, with state, nonce and challenge
    /login/oidc/callback  <- the provider, with a code; the session begins
    /login/oidc/token     <- `causeway login --oidc`, with the code that a person handed to it

What a login must remember until the provider answers is sealed into a cookie of that browser, so
nothing is kept for logins that nobody finishes; a state is good for one callback only. The command
line listens on loopback and opens /login/oidc?cli_port=...: at the end the person sees which port
asks and follows a link to it, with a code that only the command that began can redeem.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from causeway.model.errors import (
    STATUSES,
    CausewayError,
    InvalidInput,
    Unauthenticated,
    Unavailable,
)
from causeway.web.actor import Sessions
from causeway.web.identity import OidcSettings, Rule, admitted, challenge_of, verified
from causeway.web.provider import Provider
from causeway.web.render import render
from causeway.web.replies import (
    FORM_BYTES_MAX,
    HEADERS,
    Web,
    frame,
    html,
    keep_session,
    local,
    problem_json,
)

FLOW_COOKIE = "causeway_login"
FLOW_MS = 600_000
"""How long a person may take at the provider."""
CODE_MS = 120_000
"""How long the command line may take to redeem its code."""
KEPT_MAX = 10_000
"""States that were used, and codes not redeemed; beyond, logins are refused for a while."""
AT_ONCE_MAX = 64
PARAMETER_CHARS_MAX = 4_096
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_STATE = re.compile(r"[A-Za-z0-9_-]{16,128}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class CliAsk:
    """The command line that began a login."""

    port: int
    challenge: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What one login remembers, sealed in the browser's cookie."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    target: str
    until_ms: int
    cli: CliAsk | None = None
    """None: a browser logs itself in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Who a command line may act as, once it redeems the code."""

    subject: str
    rule: Rule
    challenge: str
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redemption:
    """What the command line sends: its code, and the verifier behind its challenge."""

    code: str
    verifier: str


class Oidc:
    """The doors of one provider."""

    def __init__(self, web: Web, settings: OidcSettings) -> None:
        if web.sessions is None:
            raise InvalidInput("logins need somewhere to open sessions", where="oidc")
        self.sessions: Sessions = web.sessions
        self.settings = settings
        self.provider = Provider(settings)
        self._used: dict[str, int] = {}
        self._grants: dict[str, Grant] = {}
        self._at_once = 0

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/login/oidc", partial(self._page, self._start)),
            Route("/login/oidc/callback", partial(self._page, self._callback)),
            Route("/login/oidc/token", self._redeem, methods=["POST"]),
        ]

    async def _page(
        self, handler: Callable[[Request], Awaitable[Response]], request: Request
    ) -> Response:
        """Answer, or show on the login page what did not work."""
        if self._at_once >= AT_ONCE_MAX:
            return self._problem(request, Unavailable("too many people log in at this moment"))
        self._at_once += 1
        try:
            return await handler(request)
        except CausewayError as error:
            return self._problem(request, error)
        finally:
            self._at_once -= 1

    def _problem(self, request: Request, error: CausewayError) -> Response:
        said = f"{error.message}; {error.hint}" if error.hint else error.message
        values = {**frame(request, None), "next": "/now", "provider": True, "problem": said}
        response = html(render("login.html", **values), STATUSES.get(error.code, 500))
        response.delete_cookie(FLOW_COOKIE, path="/login/oidc", httponly=True, samesite="lax")
        return response

    async def _start(self, request: Request) -> Response:
        metadata = await self.provider.metadata()
        base = self.settings.public_url or str(request.base_url)
        flow = Flow(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            redirect_uri=base.rstrip("/") + "/login/oidc/callback",
            target=local(request.query_params.get("next", "")),
            until_ms=self.sessions.now_ms() + FLOW_MS,
            cli=_cli_of(request),
        )
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": flow.redirect_uri,
            "scope": self.settings.scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge_of(flow.verifier),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in metadata.authorization_endpoint else "?"
        address = f"{metadata.authorization_endpoint}{joint}{urlencode(query)}"
        response = RedirectResponse(address, 303, headers=HEADERS)
        response.set_cookie(
            FLOW_COOKIE,
            self.sessions.seal(msgspec.json.encode(flow)).decode(),
            max_age=FLOW_MS // 1000,
            path="/login/oidc",
            httponly=True,
            # The provider's site sends the browser back, so a strict cookie would not come along.
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    async def _callback(self, request: Request) -> Response:
        flow = self._flow(request)
        subject, rule = await self._person(request, flow)
        if flow.cli is not None:
            response = self._hand_over(request, flow.cli, subject, rule)
        else:
            token = await self._open(subject, rule)
            # A page, not a redirect: a browser that comes from the provider's site would not send
            # the strict cookie along with the next request of the same chain.
            values = {**frame(request, None), "rule": rule, "target": flow.target, "cli_href": ""}
            response = html(render("welcome.html", **values))
            keep_session(request, response, token)
        response.delete_cookie(FLOW_COOKIE, path="/login/oidc", httponly=True, samesite="lax")
        return response

    def _flow(self, request: Request) -> Flow:
        """Return what this browser's login remembers, and use its state up."""
        sealed = request.cookies.get(FLOW_COOKIE, "")
        given = _parameter(request, "state")
        again = "begin again at /login"
        if not sealed:
            raise Unauthenticated("this browser did not begin this login", hint=again)
        try:
            flow = msgspec.json.decode(self.sessions.unseal(sealed.encode()), type=Flow)
        except (InvalidInput, msgspec.DecodeError, UnicodeEncodeError):
            raise Unauthenticated("this login cannot be continued", hint=again) from None
        if not hmac.compare_digest(flow.state.encode(), given.encode()):
            raise Unauthenticated("the answer belongs to another login", hint=again)
        now_ms = self.sessions.now_ms()
        if flow.until_ms <= now_ms:
            raise Unauthenticated("this login took too long", hint=again)
        self._used = {state: ms for state, ms in self._used.items() if ms > now_ms}
        if flow.state in self._used:
            raise Unauthenticated("this login was already used", hint=again)
        if len(self._used) >= KEPT_MAX:
            raise Unavailable("too many logins at this moment", hint="try again in some minutes")
        self._used[flow.state] = flow.until_ms
        return flow

    async def _person(self, request: Request, flow: Flow) -> tuple[str, Rule]:
        """Trade the code for an ID token, check it, and return whom it admits."""
        metadata = await self.provider.metadata()
        issuer = _parameter(request, "iss")
        needs_issuer = metadata.authorization_response_iss_parameter_supported
        if (issuer or needs_issuer) and issuer != self.settings.issuer:
            raise Unauthenticated("the answer is from another provider", hint="begin again")
        if "error" in request.query_params:
            said = re.sub(r"[^a-z_]", "", _parameter(request, "error"))[:60]
            raise Unauthenticated(f"the provider refused the login: {said or 'no reason given'}")
        code = _parameter(request, "code")
        if not code:
            raise Unauthenticated("the provider sent no code", hint="begin again at /login")
        token = await self.provider.traded(
            code, verifier=flow.verifier, redirect_uri=flow.redirect_uri
        )
        keys = await self.provider.keys_for(token)
        now_s = self.sessions.now_ms() / 1000
        claims = verified(token, keys, settings=self.settings, nonce=flow.nonce, now_s=now_s)
        return claims["sub"], admitted(self.settings.rules, claims)

    async def _open(self, subject: str, rule: Rule) -> str:
        return await self.sessions.open(
            issuer=self.settings.issuer, subject=subject, tenant=rule.tenant, role=rule.role
        )

    def _hand_over(self, request: Request, cli: CliAsk, subject: str, rule: Rule) -> Response:
        """Show a link to the command line's port; following it is the person's consent."""
        now_ms = self.sessions.now_ms()
        self._grants = {c: g for c, g in self._grants.items() if g.until_ms > now_ms}
        if len(self._grants) >= KEPT_MAX:
            raise Unavailable("too many logins at this moment", hint="try again in some minutes")
        code = secrets.token_urlsafe(32)
        self._grants[code] = Grant(
            subject=subject, rule=rule, challenge=cli.challenge, until_ms=now_ms + CODE_MS
        )
        query = urlencode({"code": code, "state": cli.state})
        href = f"http://127.0.0.1:{cli.port}/?{query}"
        values = {**frame(request, None), "rule": rule, "target": "", "cli_href": href}
        return html(render("welcome.html", **values, cli_port=cli.port))

    async def _redeem(self, request: Request) -> Response:
        try:
            wish = await _redemption(request)
            grant = self._grants.pop(wish.code, None)
            now_ms = self.sessions.now_ms()
            if grant is None or grant.until_ms <= now_ms or not wish.verifier.isascii():
                raise Unauthenticated("the code is not known, or too old", hint="begin again")
            if not hmac.compare_digest(challenge_of(wish.verifier), grant.challenge):
                raise Unauthenticated("the code belongs to another command", hint="begin again")
            token = await self._open(grant.subject, grant.rule)
        except CausewayError as error:
            return problem_json(error)
        body = {"token": token, "tenant": grant.rule.tenant, "role": grant.rule.role.value}
        return Response(msgspec.json.encode(body), media_type="application/json", headers=HEADERS)


async def _redemption(request: Request) -> Redemption:
    body = b""
    async with asyncio.timeout(10):
        async for piece in request.stream():
            body += piece
            if len(body) > FORM_BYTES_MAX:
                raise InvalidInput("the body is too large", where="body")
    try:
        return msgspec.json.decode(body, type=Redemption)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"the body is not a code and a verifier: {error}") from None


def _parameter(request: Request, name: str) -> str:
    values = request.query_params.getlist(name)
    if len(values) > 1 or sum(map(len, values)) > PARAMETER_CHARS_MAX:
        raise InvalidInput(f"{name} comes twice or is too long", where=f"query.{name}")
    return values[0] if values else ""


def _cli_of(request: Request) -> CliAsk | None:
    """Read what a command line asks for."""
    port = _parameter(request, "cli_port")
    if not port:
        return None
    challenge, state = _parameter(request, "cli_challenge"), _parameter(request, "cli_state")
    if not re.fullmatch(r"[0-9]{4,5}", port) or not 1024 <= int(port) <= 65_535:
        raise InvalidInput("cli_port is a port from 1024 to 65535", where="query.cli_port")
    if not _CHALLENGE.match(challenge) or not _STATE.match(state):
        raise InvalidInput("cli_challenge or cli_state is not one", where="query.cli_challenge")
    return CliAsk(port=int(port), challenge=challenge, state=state)
