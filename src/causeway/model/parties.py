"""Tenants, credentials and secrets: who may do what, and what they may spend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PARENTS_MAX = 8
"""Projects from one at the bottom to the one at the top, both counted."""


class AccessRole(StrEnum):
    """What a token may do; each role may do all that the one before it may."""

    VIEWER = "viewer"
    """Read its tenant's things."""
    MEMBER = "member"
    """Submit and stop its tenant's jobs."""
    ADMIN = "admin"
    """Manage its tenant's tokens, secrets and quotas."""
    OPERATOR = "operator"
    """Everything, in every tenant; islands, cordon and drain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One project, with its quota, weight and budget."""

    name: str
    weight: float = 1.0
    quota_devices: int | None = None
    borrow_devices: int | None = None
    budget_micros: int | None = None
    """What it may spend in all; None: no budget set."""
    spent_micros: int = 0
    webhook_url: str = ""
    webhook_secret: str = ""
    parent: str = ""
    """Project that it is part of; it borrows from the others there, and lends to them."""
    lend_devices: int | None = None
    """How much of its quota the others there may borrow; None: all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A token as the store keeps it: never the secret, only its SHA-256."""

    id: str
    tenant: str
    role: AccessRole
    secret_sha256: str
    created_ms: int
    expires_ms: int = 0
    """0: does not expire."""
    revoked_ms: int = 0
    label: str = ""
    join_uses: int = 0
    """For island join tokens: uses left. 0 for tokens of people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is asking, once a door has checked the token."""

    token: str
    tenant: str
    role: AccessRole
