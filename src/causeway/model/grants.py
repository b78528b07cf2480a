"""A grant: the centre's word that one island may fetch one artefact from another, for a while.

The serving island checks it without asking anybody: it knows the centre's public key, its own name,
and the time. A grant is carried as text, `<payload>.<signature>`, both base64 without padding:

    payload     JSON: {"artifact", "asker", "server", "expires_ms"}
    signature   Ed25519 of the control plane's grant key over `causeway-grant\\n<payload>`

Whoever carries it may use it (a bearer): so it is short-lived, good for one artefact at one island,
and only ever sent over TLS to the island whose certificate the centre named. Signing and checking
are done by who holds the keys; here is only the form.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from causeway.model.errors import Unauthenticated
from causeway.model.identifiers import canonical_json

LASTS_MS = 10 * 60_000
SKEW_MS = 5 * 60_000
"""How far an island's clock may be from the centre's: as for a session."""
TEXT_CHARS_MAX = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Who may fetch what from whom, until when."""

    artifact: str
    asker: str
    server: str
    expires_ms: int
    """By the centre's clock."""


def sealed(grant: Grant, sign: Callable[[bytes], bytes]) -> str:
    """Return the grant as text, signed."""
    payload = _plain(canonical_json(asdict(grant)))
    return f"{payload}.{_plain(sign(_said(payload)))}"


def opened(text: str, holds: Callable[[bytes, bytes], bool]) -> Grant:
    """Return what the text grants, or raise `Unauthenticated`. `holds(said, signature)` says
    whether the centre signed it."""
    payload, _, signature = text.partition(".")
    try:
        if len(text) > TEXT_CHARS_MAX or not holds(_said(payload), _bytes(signature)):
            raise Unauthenticated("the grant is not signed by this federation's centre")
        found = json.loads(_bytes(payload))
        return Grant(
            artifact=str(found["artifact"]),
            asker=str(found["asker"]),
            server=str(found["server"]),
            expires_ms=int(found["expires_ms"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Unauthenticated("what was sent is not a grant") from error


def refusal(grant: Grant, *, artifact: str, server: str, now_ms: int) -> str:
    """Say why the grant is not good for this; empty: it is.

    >>> grant = Grant(artifact="sha256:0", asker="a", server="b", expires_ms=1_000)
    >>> refusal(grant, artifact="sha256:0", server="b", now_ms=900)
    ''
    >>> refusal(grant, artifact="sha256:1", server="b", now_ms=900)
    'the grant is for another artefact'
    """
    if grant.server != server:
        return "the grant is for another island"
    if grant.artifact != artifact:
        return "the grant is for another artefact"
    if now_ms > grant.expires_ms + SKEW_MS:
        return "the grant has run out"
    return ""


def _said(payload: str) -> bytes:
    return f"causeway-grant\n{payload}".encode()


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
