"""The accounts' door: tokens, projects, secrets."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from causeway.api.door import Door
from causeway.api.endpoints import Endpoint
from causeway.api.http import body_of, decode, json_response
from causeway.control import tenancy
from causeway.model.errors import InvalidInput, Refused
from causeway.model.parties import AccessRole, Tenant

EXPIRES_S_MAX = 10 * 366 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a new token may do, for whom, and until when."""

    tenant: str = ""
    """Empty: the caller's own project."""
    role: AccessRole = AccessRole.MEMBER
    label: str = ""
    expires_s: float = 0.0
    """0: does not expire."""
    join_uses: int = 0
    """Above 0: a token that lets this many islands join, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """A token without its secret, or even the secret's digest."""

    id: str
    tenant: str
    role: AccessRole
    label: str
    created_ms: int
    expires_ms: int
    revoked_ms: int
    join_uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRequest:
    """A secret's value; null removes it."""

    value: str | None


async def whoami(door: Door, request: Request) -> Response:
    """Return who the token stands for."""
    return json_response(await door.caller(request))


async def create_token(door: Door, request: Request) -> Response:
    """Make a token; its secret is shown this once."""
    caller = await door.caller(request, AccessRole.ADMIN)
    wish = decode(await body_of(request), TokenRequest)
    tenant = wish.tenant or caller.tenant
    operator = caller.role is AccessRole.OPERATOR
    if not operator and (tenant != caller.tenant or wish.role is AccessRole.OPERATOR):
        raise Refused("only an operator makes tokens for other projects, or operators' tokens")
    if wish.join_uses and not operator:
        raise Refused("only an operator lets islands join")
    if not 0 <= wish.expires_s <= EXPIRES_S_MAX:
        raise InvalidInput(
            f"expires_s is 0 (never) to {EXPIRES_S_MAX:,}, in seconds", where="$.expires_s"
        )
    expires_ms = round(door.clock.now_ms() + wish.expires_s * 1000) if wish.expires_s else 0
    made = await door.service.run(
        lambda tx: tenancy.create_token(
            tx,
            tenant=tenant,
            role=wish.role,
            label=wish.label[:80],
            expires_ms=expires_ms,
            join_uses=wish.join_uses,
            entropy=door.plane.entropy,
        )
    )
    return json_response(made, 201)


async def tokens(door: Door, request: Request) -> Response:
    """List tokens, without their secrets."""
    caller = await door.caller(request, AccessRole.ADMIN)
    everything = caller.role is AccessRole.OPERATOR
    found = await door.service.read(
        lambda s: [t for t in s.tokens.values() if everything or t.tenant == caller.tenant]
    )
    names = TokenView.__dataclass_fields__
    hidden = [TokenView(**{name: getattr(token, name) for name in names}) for token in found]
    return json_response({"tokens": hidden})


async def revoke_token(door: Door, request: Request) -> Response:
    """Revoke a token at once."""
    caller = await door.caller(request, AccessRole.ADMIN)
    wanted = request.path_params["token"]
    await door.service.run(lambda tx: tenancy.revoke_token(tx, caller, wanted))
    return json_response({"revoked": wanted})


async def tenants(door: Door, request: Request) -> Response:
    """List projects with quota, budget and what they have spent."""
    caller = await door.caller(request)
    everything = caller.role is AccessRole.OPERATOR
    found = await door.service.read(
        lambda s: [t for t in s.tenants.values() if everything or t.name == caller.tenant]
    )
    return json_response({"tenants": [_without_secret(t) for t in found]})


async def put_tenant(door: Door, request: Request) -> Response:
    """Set a project's weight, quota, budget and webhook."""
    caller = await door.caller(request, AccessRole.OPERATOR)
    wish = decode(await body_of(request), Tenant)
    kept = await door.service.run(lambda tx: tenancy.set_tenant(tx, caller, wish))
    return json_response(_without_secret(kept))


def _without_secret(tenant: Tenant) -> dict[str, object]:
    return {
        "name": tenant.name,
        "weight": tenant.weight,
        "quota_devices": tenant.quota_devices,
        "borrow_devices": tenant.borrow_devices,
        "parent": tenant.parent,
        "lend_devices": tenant.lend_devices,
        "budget_micros": tenant.budget_micros,
        "spent_micros": tenant.spent_micros,
        "webhook_url": tenant.webhook_url,
    }


async def put_secret(door: Door, request: Request) -> Response:
    """Keep a secret of the caller's project, sealed; only jobs that name it receive it."""
    caller = await door.caller(request, AccessRole.MEMBER)
    name = request.path_params["name"]
    wish = decode(await body_of(request, 64 * 1024), SecretRequest)
    sealed = None if wish.value is None else door.seal(wish.value.encode())
    await door.service.run(lambda tx: tenancy.set_secret(tx, caller, name, sealed))
    return json_response({"name": name, "set": sealed is not None})


async def secret_names(door: Door, request: Request) -> Response:
    """List the names of the project's secrets."""
    caller = await door.caller(request, AccessRole.MEMBER)
    names = await door.service.read(
        lambda s: sorted(name for tenant, name in s.secrets if tenant == caller.tenant)
    )
    return json_response({"secrets": names})


ENDPOINTS = (
    Endpoint(method="GET", path="/v1/whoami", summary="Who the token stands for", handler=whoami),
    Endpoint(
        method="POST",
        path="/v1/tokens",
        summary="Make a token, or a join token",
        handler=create_token,
        request=TokenRequest,
        reply=tenancy.NewToken,
        status=201,
    ),
    Endpoint(
        method="GET",
        path="/v1/tokens",
        summary="List tokens",
        handler=tokens,
        reply=dict[str, list[TokenView]],
    ),
    Endpoint(
        method="DELETE", path="/v1/tokens/{token}", summary="Revoke a token", handler=revoke_token
    ),
    Endpoint(method="GET", path="/v1/tenants", summary="List projects", handler=tenants),
    Endpoint(
        method="PUT",
        path="/v1/tenants",
        summary="Set a project's weight, quota and budget",
        handler=put_tenant,
        request=Tenant,
    ),
    Endpoint(
        method="PUT",
        path="/v1/secrets/{name}",
        summary="Keep a secret, or remove it",
        handler=put_secret,
        request=SecretRequest,
    ),
    Endpoint(
        method="GET", path="/v1/secrets", summary="Names of the secrets", handler=secret_names
    ),
)
