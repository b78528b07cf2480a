"""Tenants, tokens and secrets: checked on every request, revocable at once."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from urllib.parse import urlsplit

from causeway.control.state import State, Tx
from causeway.model.errors import InvalidInput, NotFound, Refused, Unauthenticated
from causeway.model.identifiers import is_slug, ulid
from causeway.model.parties import PARENTS_MAX, AccessRole, AccessToken, Caller, Tenant

JOIN_PREFIX = "cwj"
JOIN_USES_MAX = 10_000
WEBHOOK_CHARS_MAX = 2_000
WEBHOOK_SECRET_CHARS_MIN = 16
DEVICES_MAX = 10**9
MICROS_MAX = 10**17
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,119}\Z")
_RANK = {role: rank for rank, role in enumerate(AccessRole)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token as it is shown once; the store keeps only its digest."""

    id: str
    secret: str


def caller_of(state: State, secret: str, now_ms: int) -> Caller:
    """Return who a bearer token stands for, or raise `Unauthenticated`."""
    parts = secret.split("_", 2)
    if parts[0] == JOIN_PREFIX:
        raise Unauthenticated("a join token only lets an island join", hint="causeway join URL")
    token = state.tokens.get(parts[1]) if len(parts) == 3 and parts[0] == "cw" else None
    digest = hashlib.sha256(secret.encode()).hexdigest()
    if token is None or not hmac.compare_digest(token.secret_sha256, digest):
        raise Unauthenticated("the token is not known", hint="causeway tokens create")
    if token.revoked_ms:
        raise Unauthenticated("the token was revoked", hint="causeway tokens create")
    if token.expires_ms and token.expires_ms <= now_ms:
        raise Unauthenticated("the token has expired", hint="causeway tokens create")
    return Caller(token=token.id, tenant=token.tenant, role=token.role)


def need(caller: Caller, role: AccessRole) -> None:
    """Raise `Refused` unless the caller has at least the role."""
    if _RANK[caller.role] < _RANK[role]:
        raise Refused(
            f"this needs the role {role.value}; your token has {caller.role.value}",
            hint=f"causeway tokens create --role {role.value}",
        )


def create_token(
    tx: Tx,
    *,
    tenant: str,
    role: AccessRole,
    label: str = "",
    expires_ms: int = 0,
    join_uses: int = 0,
    entropy: Callable[[], int],
) -> NewToken:
    """Make a token for a tenant (made if new), or a join token when `join_uses` is above 0."""
    if not is_slug(tenant):
        raise InvalidInput(
            f"project name {tenant[:90]!r} must be 1-80 of a-z, 0-9, '.', '_', '-'",
            where="$.tenant",
        )
    if not 0 <= join_uses <= JOIN_USES_MAX:
        raise InvalidInput(
            f"join_uses is 0 to {JOIN_USES_MAX:,}", where="$.join_uses", hint="0: not a join token"
        )
    if tenant not in tx.state.tenants and tenant not in tx.tenants:
        tx.tenants[tenant] = Tenant(name=tenant)
    token_id = ulid(tx.now_ms, entropy())
    prefix = JOIN_PREFIX if join_uses else "cw"
    secret = f"{prefix}_{token_id}_{entropy():020x}{entropy():020x}"
    tx.tokens[token_id] = AccessToken(
        id=token_id,
        tenant=tenant,
        role=role,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created_ms=tx.now_ms,
        expires_ms=expires_ms,
        label="join" if join_uses else label,
        join_uses=join_uses,
    )
    tx.fact("token.created", token_id, tenant=tenant, role=role.value, label=label)
    return NewToken(id=token_id, secret=secret)


def install_operator(tx: Tx, secret: str, *, tenant: str) -> None:
    """Make sure that the operator's token of this installation exists, and its project with it."""
    token_id = secret.split("_", 2)[1]
    if token_id in tx.state.tokens:
        return
    if tenant not in tx.state.tenants:
        tx.tenants[tenant] = Tenant(name=tenant)
    tx.tokens[token_id] = AccessToken(
        id=token_id,
        tenant=tenant,
        role=AccessRole.OPERATOR,
        secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        created_ms=tx.now_ms,
        label="first operator",
    )
    tx.fact("token.created", token_id, tenant=tenant, role="operator", label="first operator")


def revoke_token(tx: Tx, caller: Caller, token_id: str) -> None:
    """Revoke a token at once."""
    need(caller, AccessRole.ADMIN)
    token = tx.state.tokens.get(token_id)
    foreign = token is not None and token.tenant != caller.tenant
    if token is None or (foreign and caller.role is not AccessRole.OPERATOR):
        raise NotFound(f"there is no token {token_id}", hint="causeway tokens ls")
    tx.tokens[token_id] = replace(token, revoked_ms=tx.now_ms)
    tx.fact("token.revoked", token_id, tenant=token.tenant, by=caller.token)


def set_tenant(tx: Tx, caller: Caller, tenant: Tenant) -> Tenant:
    """Change a tenant's weight, quota, budget or webhook; what it has spent stays."""
    need(caller, AccessRole.OPERATOR)
    known = tx.state.tenants.get(tenant.name)
    merged = replace(tenant, spent_micros=known.spent_micros if known else 0)
    if known is not None and not tenant.webhook_secret and tenant.webhook_url == known.webhook_url:
        # The secret is never shown, so who changes the rest cannot send it again.
        merged = replace(merged, webhook_secret=known.webhook_secret)
    _check_tenant(merged)
    _check_parent(tx, merged)
    tx.tenants[tenant.name] = merged
    tx.fact("tenant.changed", tenant.name, tenant=tenant.name, by=caller.token)
    return merged


def _check_tenant(tenant: Tenant) -> None:
    """Raise `InvalidInput` for what would break fair share, budgets or webhooks."""
    if not is_slug(tenant.name):
        raise InvalidInput("a project's name is 1-80 of a-z, 0-9, '.', '_', '-'", where="$.name")
    if not (isfinite(tenant.weight) and 0.001 <= tenant.weight <= 1_000_000):
        raise InvalidInput("weight is 0.001 to 1,000,000", where="$.weight")
    for name, most in (
        ("quota_devices", DEVICES_MAX),
        ("borrow_devices", DEVICES_MAX),
        ("lend_devices", DEVICES_MAX),
        ("budget_micros", MICROS_MAX),
    ):
        value = getattr(tenant, name)
        if value is not None and not 0 <= value <= most:
            raise InvalidInput(f"{name} is 0 to {most:,}, or null for no limit", where=f"$.{name}")
    if not tenant.webhook_url:
        return
    check_webhook_url(tenant.webhook_url)
    if not WEBHOOK_SECRET_CHARS_MIN <= len(tenant.webhook_secret) <= 1_000:
        raise InvalidInput(
            f"webhook_secret has {WEBHOOK_SECRET_CHARS_MIN} to 1000 characters",
            where="$.webhook_secret",
            hint="it signs each call, so that the receiver can tell who made it",
        )


def _check_parent(tx: Tx, tenant: Tenant) -> None:
    """Raise `InvalidInput` unless the project's parents are known, few, and not below it."""
    if not tenant.parent:
        if tenant.lend_devices is not None:
            raise InvalidInput(
                "lend_devices bounds what others below the same parent may borrow, and there is "
                "no parent",
                where="$.lend_devices",
                hint="name a parent, or leave lend_devices out",
            )
        return
    above = [tenant.name]
    name = tenant.parent
    while name:
        if name in above:
            raise InvalidInput(
                f"{tenant.name} would be its own parent: {' < '.join([*above, name])}",
                where="$.parent",
            )
        found = tx.tenants.get(name) or tx.state.tenants.get(name)
        if found is None:
            raise InvalidInput(
                f"there is no project {name[:90]!r}", where="$.parent", hint="make the parent first"
            )
        above.append(name)
        name = found.parent
    depth = len(above) + _below(tx, tenant.name)
    if depth > PARENTS_MAX:
        raise InvalidInput(
            f"projects are at most {PARENTS_MAX} deep; this would make {depth}", where="$.parent"
        )


def _below(tx: Tx, name: str) -> int:
    """Return how many levels of projects are below one."""
    parents = {t.name: t.parent for t in (*tx.state.tenants.values(), *tx.tenants.values())}
    level, depth = {name}, 0
    while depth < PARENTS_MAX:
        level = {child for child, parent in parents.items() if parent in level}
        if not level:
            break
        depth += 1
    return depth


def check_webhook_url(url: str) -> None:
    """Raise `InvalidInput` unless events could be sent there at all."""
    plain = url.isascii() and url.isprintable() and " " not in url
    try:
        parts = urlsplit(url)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        sound = parts.scheme == "https" or (parts.scheme == "http" and local)
        sound = sound and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not plain or not sound or len(url) > WEBHOOK_CHARS_MAX or "@" in parts.netloc:
        raise InvalidInput(
            "webhook_url is an https address without a user name in it",
            where="$.webhook_url",
            hint="https://example.org/causeway",
        )


def set_secret(tx: Tx, caller: Caller, name: str, sealed: bytes | None) -> None:
    """Keep a sealed secret of the caller's project, or remove it."""
    need(caller, AccessRole.MEMBER)
    if not _SECRET_NAME.match(name):
        raise InvalidInput(f"secret name {name[:130]!r} must be a variable name", where="$.name")
    tx.secrets[(caller.tenant, name)] = sealed
    kind = "secret.set" if sealed is not None else "secret.removed"
    tx.fact(kind, name, tenant=caller.tenant, by=caller.token)
