"""Who a person is, as an identity provider says it: pure checks, no network and no clock.

An ID token is believed only when all of this holds: its algorithm is one of three asymmetric ones,
its signature fits a key that the provider publishes, it was made by this issuer for this client,
it is of now, and it carries the nonce of the login that asked for it (OpenID Connect Core 1.0,
section 3.1.3.7). What the person may then do is decided by the installation's own rules; who meets
none of them stays outside.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from causeway.model.errors import InvalidInput, Refused, Unauthenticated
from causeway.model.identifiers import is_slug
from causeway.model.parties import AccessRole

ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Asymmetric, and in every provider; `none` and shared-secret ones can never pass."""
SKEW_S = 60
"""How far the provider's clock may be from ours."""
TOKEN_CHARS_MAX = 16 * 1024
SUBJECT_CHARS_MAX = 255
REQUIRED = ("iss", "sub", "aud", "exp", "iat", "nonce")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """People whose claim has this value (or this ending) get this role in this project."""

    claim: str
    """Name of a claim; one that holds a list matches when any entry does."""
    equals: str = ""
    ends_with: str = ""
    tenant: str
    role: AccessRole


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """One identity provider and what its people may do here."""

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    """Empty: a public client, protected by PKCE alone."""
    rules: tuple[Rule, ...] = ()
    """The first that matches wins; without a match nobody gets in."""
    public_url: str = ""
    """Address of this server as browsers see it; empty takes it from the request."""
    scopes: str = "openid email profile"


def rules_of(plain: Mapping[str, Any], where: str = "rules") -> tuple[Rule, ...]:
    """Read `[[rule]]` tables, or raise `InvalidInput` that names the place.

    >>> entry = {"claim": "groups", "equals": "ml", "tenant": "acme", "role": "member"}
    >>> rules_of({"rule": [entry]})[0].role.value
    'member'
    """
    entries = plain.get("rule")
    if set(plain) != {"rule"} or not isinstance(entries, list) or not entries:
        raise InvalidInput("the rules are [[rule]] tables, at least one", where=where)
    return tuple(_rule(entry, f"{where}: rule {n}") for n, entry in enumerate(entries, 1))


def _rule(entry: Any, where: str) -> Rule:
    known = set(Rule.__dataclass_fields__)
    if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
        raise InvalidInput("a rule is a table of texts", where=where)
    for name in entry:
        if name not in known:
            raise InvalidInput(
                f"unknown field {name!r}", where=where, hint=f"one of: {', '.join(sorted(known))}"
            )
    role = entry.get("role", "")
    if role not in AccessRole._value2member_map_:
        raise InvalidInput(
            f"{role!r} is not a role", where=where, hint=", ".join(r.value for r in AccessRole)
        )
    if not is_slug(entry.get("tenant", "")):
        raise InvalidInput("tenant must name a project", where=where)
    if not entry.get("claim") or bool(entry.get("equals")) == bool(entry.get("ends_with")):
        raise InvalidInput("a rule has a claim and either equals or ends_with", where=where)
    return Rule(**{**entry, "role": AccessRole(role)})


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636, section 4.2).

    >>> challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def key_id(token: str) -> str:
    """Return which key an ID token says it was signed with, unverified; empty: it does not say."""
    return str(_header(token).get("kid", ""))


def _header(token: str) -> dict[str, Any]:
    import jwt

    if len(token) > TOKEN_CHARS_MAX:
        raise Unauthenticated("the ID token is too long to be one")
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise Unauthenticated("the provider's ID token cannot be read") from None
    if header.get("alg") not in ALGORITHMS or "crit" in header:
        raise Unauthenticated(
            f"the ID token is signed with {str(header.get('alg'))[:20]!r}",
            hint=f"let the provider use one of {', '.join(ALGORITHMS)}",
        )
    return header


def verified(
    token: str, keys: Sequence[Any], *, settings: OidcSettings, nonce: str, now_s: float
) -> dict[str, Any]:
    """Return an ID token's claims once everything about it was checked."""
    import jwt

    header = _header(token)
    key = _fitting(keys, header)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[header["alg"]],
            audience=settings.client_id,
            issuer=settings.issuer,
            options={
                "require": list(REQUIRED),
                # Times are compared below, against the clock that was handed in.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.PyJWTError as error:
        raise Unauthenticated(f"the ID token is not believed: {error}") from None
    _check_times(claims, now_s)
    _check_party(claims, settings.client_id)
    if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
        raise Unauthenticated("the ID token belongs to another login", hint="log in again")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX:
        raise Unauthenticated("the ID token names nobody")
    return claims


def _fitting(keys: Sequence[Any], header: Mapping[str, Any]) -> Any:
    """Return the one key that the header asks for; its own algorithm must be the token's."""
    kid = header.get("kid")
    fitting = [
        key
        for key in keys
        if key.algorithm_name == header["alg"]
        and key.public_key_use in (None, "sig")
        and (kid is None or key.key_id == kid)
    ]
    if len(fitting) != 1:
        raise Unauthenticated("the provider publishes no key for this ID token")
    return fitting[0]


def _check_times(claims: Mapping[str, Any], now_s: float) -> None:
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unauthenticated(f"{name} of the ID token is not a time")
    if claims["exp"] + SKEW_S <= now_s:
        raise Unauthenticated("the ID token has expired", hint="log in again")
    if max(claims["iat"], claims.get("nbf", 0)) > now_s + SKEW_S:
        raise Unauthenticated(
            "the ID token is from the future", hint="set the clocks of both machines"
        )


def _check_party(claims: Mapping[str, Any], client_id: str) -> None:
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    party = claims.get("azp", client_id if not several else None)
    if party != client_id:
        raise Unauthenticated("the ID token was made for another client")


def admitted(rules: Sequence[Rule], claims: Mapping[str, Any]) -> Rule:
    """Return the first rule that lets this person in, or raise `Refused`."""
    for rule in rules:
        if any(_meets(rule, value) for value in _values(rule.claim, claims)):
            return rule
    raise Refused(
        "you are known, but no rule lets you in",
        hint="ask an operator to add you to the login rules",
    )


def _values(name: str, claims: Mapping[str, Any]) -> list[str]:
    """Return a claim's texts; an address that the provider did not verify counts for nothing."""
    if name == "email" and claims.get("email_verified") is not True:
        return []
    value = claims.get(name)
    entries = value if isinstance(value, list) else [value]
    return [entry for entry in entries if isinstance(entry, str)]


def _meets(rule: Rule, value: str) -> bool:
    if rule.claim == "email":
        value, wanted, ending = value.lower(), rule.equals.lower(), rule.ends_with.lower()
    else:
        wanted, ending = rule.equals, rule.ends_with
    return value == wanted if wanted else bool(ending) and value.endswith(ending)
