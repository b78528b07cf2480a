"""Sessions of people: tokens that an identity provider vouched for, and that end by themselves.

A session is an access token like any other, so every door checks it in the same way and an
administrator can revoke it at once. Its identifier is made from who the person is and a slot: a
person has a few slots, and a new login takes one that has ended, or the oldest. So however often
people log in, the store holds no more rows than people times slots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from causeway.control.state import Tx
from causeway.control.tenancy import NewToken
from causeway.model.errors import InvalidInput
from causeway.model.identifiers import is_slug
from causeway.model.parties import AccessRole, AccessToken, Caller, Tenant

PREFIX = "oidc-"
SLOTS = 8
"""Sessions of one person at a time; one more ends the oldest."""
SESSION_MS = 12 * 3_600_000
LABEL_CHARS_MAX = 260


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who logged in, and what the installation's rules let them do."""

    issuer: str
    subject: str
    """The provider's own, never reused name of the person."""
    tenant: str
    role: AccessRole


def open_session(tx: Tx, person: Person, *, entropy: Callable[[], int]) -> NewToken:
    """Make a session; its secret is known to nobody else after this."""
    if not is_slug(person.tenant):
        raise InvalidInput(f"project name {person.tenant[:90]!r} is not one", where="rule.tenant")
    if person.tenant not in tx.state.tenants and person.tenant not in tx.tenants:
        tx.tenants[person.tenant] = Tenant(name=person.tenant)
    token_id = _slot(tx, person)
    secret = f"cw_{token_id}_{entropy():020x}{entropy():020x}"
    label = f"oidc:{person.subject}"[:LABEL_CHARS_MAX]
    tx.tokens[token_id] = AccessToken(
        id=token_id,
        tenant=person.tenant,
        role=person.role,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created_ms=tx.now_ms,
        expires_ms=tx.now_ms + SESSION_MS,
        label=label,
    )
    tx.fact("session.opened", token_id, tenant=person.tenant, role=person.role.value, label=label)
    return NewToken(id=token_id, secret=secret)


def _slot(tx: Tx, person: Person) -> str:
    who = hashlib.sha256(f"{person.issuer}\0{person.subject}".encode()).hexdigest()[:24]
    kept: list[tuple[int, str]] = []
    for number in range(SLOTS):
        token_id = f"{PREFIX}{who}-{number}"
        token = tx.tokens.get(token_id) or tx.state.tokens.get(token_id)
        if token is None or token.revoked_ms or token.expires_ms <= tx.now_ms:
            return token_id
        kept.append((token.created_ms, token_id))
    return min(kept)[1]


def end_session(tx: Tx, caller: Caller) -> bool:
    """Revoke the caller's own session; a token that was made by hand stays as it is."""
    token = tx.state.tokens.get(caller.token)
    if token is None or not token.id.startswith(PREFIX) or token.revoked_ms:
        return False
    tx.tokens[token.id] = replace(token, revoked_ms=tx.now_ms)
    tx.fact("session.ended", token.id, tenant=token.tenant)
    return True
