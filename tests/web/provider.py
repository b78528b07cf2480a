"""A small OpenID provider on loopback: real HTTP, real RS256 keys, PKCE checked, codes used once.

It logs everybody in as `person` without asking. `bend` changes the claims before they are signed;
`forge` replaces the signing, so that a test can play a thief or a broken provider.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "causeway-test", "s3cret/with:signs"


def new_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65_537, key_size=2048)


@dataclass(kw_only=True)
class Provider:
    issuer: str = ""
    kid: str = "k1"
    key: RSAPrivateKey = field(default_factory=new_key)
    person: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "ann-1",
            "email": "Ann@Example.org",
            "email_verified": True,
            "groups": ["ml"],
        }
    )
    bend: Callable[[dict[str, Any]], None] = lambda claims: None
    forge: Callable[[dict[str, Any]], str] | None = None
    named: str = ""
    """What discovery calls the issuer; empty: the truth."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    fetched: dict[str, int] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/keys", self._keys),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    def _count(self, request: Request) -> None:
        path = request.url.path
        self.fetched[path] = self.fetched.get(path, 0) + 1

    async def _discovery(self, request: Request) -> Response:
        self._count(request)
        return JSONResponse(
            {
                "issuer": self.named or self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
            }
        )

    async def _keys(self, request: Request) -> Response:
        self._count(request)
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return JSONResponse({"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.asked.append(asked)
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        query = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
        return RedirectResponse(f"{asked['redirect_uri']}?{query}", 303)

    async def _token(self, request: Request) -> Response:
        self._count(request)
        form = await request.form()
        pair = base64.b64encode(b"causeway-test:s3cret%2Fwith%3Asigns").decode()
        asked = self.codes.pop(str(form["code"]), None)
        verifier = str(form["code_verifier"])
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or request.headers.get("authorization") != f"Basic {pair}"
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"id_token": self.id_token(asked["nonce"]), "token_type": "Bearer"})

    def id_token(self, nonce: str) -> str:
        now_s = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now_s,
            "exp": now_s + 300,
            "nonce": nonce,
            **self.person,
        }
        self.bend(claims)
        if self.forge is not None:
            return self.forge(claims)
        return jwt.encode(claims, self.key, "RS256", headers={"kid": self.kid})


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    """Serve it on a port that the system picks, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    provider.issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(provider.app(), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
    assert not thread.is_alive()
