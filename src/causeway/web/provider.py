"""Talking to the identity provider: discovery, its keys, and trading a code for an ID token.

Everything is fetched when it is first needed, over https (or loopback), within bounds of size and
time, without following redirects. Keys are kept for an hour; a token that names an unknown key may
have them fetched again, but not more often than every half minute, whoever asks.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from causeway.model.errors import InvalidInput, Unauthenticated, Unavailable
from causeway.web.identity import OidcSettings, key_id

DOCUMENT_BYTES_MAX = 512 * 1024
TIMEOUT_S = 10.0
KEEP_S = 3_600.0
REFRESH_GAP_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What discovery says (OpenID Connect Discovery 1.0, section 3), as far as it is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


def checked_url(url: str, where: str) -> str:
    """Return an address to which secrets may be sent, or raise `InvalidInput`."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.fragment:
        raise InvalidInput(f"{url[:200]!r} is not an address", where=where)
    if parts.scheme == "https" or (parts.scheme == "http" and _loopback(parts.hostname)):
        return url
    raise InvalidInput(f"{url[:200]!r} must be https", where=where)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Provider:
    """One provider; keeps its metadata and keys for a while."""

    def __init__(self, settings: OidcSettings) -> None:
        checked_url(settings.issuer, "--oidc-issuer")
        self.settings = settings
        self._lock = asyncio.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, list[Any]] | None = None

    async def metadata(self) -> Metadata:
        """Return the discovery document, at most an hour old."""
        async with self._lock:
            kept = self._metadata
            if kept is None or time.monotonic() - kept[0] > KEEP_S:
                kept = self._metadata = (time.monotonic(), await self._discover())
            return kept[1]

    async def _discover(self) -> Metadata:
        issuer = self.settings.issuer
        url = issuer.rstrip("/") + "/.well-known/openid-configuration"
        found: Metadata = _decoded(await _send("GET", url), Metadata)
        if found.issuer != issuer:
            raise Unavailable(
                f"the provider calls itself {found.issuer[:200]!r}, not {issuer!r}",
                hint="give --oidc-issuer exactly as the provider writes it",
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            checked_url(getattr(found, name), name)
        return found

    async def keys_for(self, token: str) -> list[Any]:
        """Return the provider's keys; fetched again when none of them is the token's."""
        kid = key_id(token)
        metadata = await self.metadata()
        async with self._lock:
            kept = self._keys
            age_s = time.monotonic() - kept[0] if kept else KEEP_S + 1
            known = kept is not None and (not kid or any(k.key_id == kid for k in kept[1]))
            if kept is None or age_s > KEEP_S or (not known and age_s > REFRESH_GAP_S):
                kept = self._keys = (time.monotonic(), await _fetch_keys(metadata.jwks_uri))
            return kept[1]

    async def traded(self, code: str, *, verifier: str, redirect_uri: str) -> str:
        """Trade a code for an ID token; the provider gives each code's away once."""
        metadata = await self.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.settings.client_id,
            "code_verifier": verifier,
        }
        headers: dict[str, str] = {"accept": "application/json"}
        secret = self.settings.client_secret
        if secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote(self.settings.client_id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = "Basic " + b64encode(pair.encode()).decode()
        elif secret:
            form["client_secret"] = secret
        answer = _decoded(
            await _send("POST", metadata.token_endpoint, form=form, headers=headers), dict
        )
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated("the provider sent no ID token", hint="log in again")
        return token


async def _fetch_keys(url: str) -> list[Any]:
    import jwt

    document = _decoded(await _send("GET", url), dict)
    try:
        return list(jwt.PyJWKSet.from_dict(document).keys)
    except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:
        raise Unavailable(f"the provider's keys cannot be read: {error}") from None


async def _send(
    method: str,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Send one request and return the body of a good answer, within bounds."""
    import httpx

    host = urlsplit(url).hostname or ""
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=not _loopback(host)) as client,
            client.stream(method, url, data=form, headers=headers) as answer,
        ):
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > DOCUMENT_BYTES_MAX:
                    raise Unavailable(f"{url} answers with more than {DOCUMENT_BYTES_MAX} bytes")
    except (httpx.HTTPError, TimeoutError) as error:
        kind = type(error).__name__
        raise Unavailable(f"the identity provider cannot be reached: {kind}", hint=url) from None
    if method == "POST" and 400 <= answer.status_code < 500:
        raise Unauthenticated("the provider refuses this login's code", hint="log in again")
    if answer.status_code != 200:
        raise Unavailable(f"{url} answers with status {answer.status_code}")
    return body


def _decoded(body: bytes, type_: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable(f"the identity provider's answer cannot be read: {error}") from None
