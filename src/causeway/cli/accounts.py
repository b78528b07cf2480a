"""Commands about access: login, tokens, secrets."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from typing import Any

from causeway.cli import exits, talk
from causeway.cli.figures import instant
from causeway.cli.options import Flag, Json
from causeway.model.errors import InvalidInput
from causeway.model.parties import AccessRole
from causeway.sdk import calls, settings
from causeway.sdk.client import Client
from causeway.spec.units import duration_s


def login(url: str, /, *, oidc: Flag = False, ca: str = "") -> int:
    """Keep a control plane's address and your token in the configuration file.

    Parameters
    ----------
    url
        Address, e.g. https://causeway.example.org.
    oidc
        Log in through your organisation, in a browser on this machine, for twelve hours; without
        it the token is asked for, or read from a pipe.
    ca
        PEM file of the authority behind its certificate.
    """
    token = _through_browser(url, ca) if oidc else _secret("token: ")
    with Client(url, token, ca=ca) as client:
        who = client.send(calls.get("/v1/whoami"))
    path = settings.save(settings.Settings(url=url, token=token, ca=ca))
    talk.say(f"You are {who.get('role')} of {who.get('tenant')}. Kept in {path}.")
    return exits.OK


def _through_browser(url: str, ca: str) -> str:
    """Return a session's token that a person handed over in the browser."""
    from causeway.cli.browser import token_through_browser

    def redeem(code: str, verifier: str) -> str:
        with Client(url, "", ca=ca) as client:
            answer = client.send(
                calls.post("/login/oidc/token", {"code": code, "verifier": verifier})
            )
        return str(answer["token"])

    def say(address: str) -> None:
        talk.say("Open this address in a browser on this machine, and log in there:")
        talk.say(address)

    return token_through_browser(url, redeem=redeem, say=say)


def _secret(prompt: str) -> str:
    """Read a secret without showing it; from a pipe, its first line."""
    text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    if not text.strip():
        raise InvalidInput("nothing was given", hint="type it, or pipe it in")
    return text.strip()


def create(
    *,
    role: AccessRole = AccessRole.MEMBER,
    tenant: str = "",
    label: str = "",
    expires: str = "",
    join: Flag = False,
    uses: int = 1,
    json: Json = False,
) -> int:
    """Make a token; its secret is shown this once.

    Parameters
    ----------
    role
        What it may do.
    tenant
        Project; yours unless an operator says otherwise.
    label
        What it is for.
    expires
        Lifetime, e.g. 30d; empty: until it is revoked.
    join
        Make a token that lets islands join, and nothing else.
    uses
        How many islands a join token lets in.
    """
    wish = {
        "tenant": tenant,
        "role": role.value,
        "label": label,
        "expires_s": duration_s(expires, "--expires") if expires else 0.0,
        "join_uses": uses if join else 0,
    }
    with Client.from_settings() as client:
        made = client.send(calls.post("/v1/tokens", wish))
    talk.show(made, lambda m: [str(m.get("secret", ""))], as_json=json)
    talk.say("Keep it: it is not shown again.")
    return exits.OK


def revoke(token: str, /) -> int:
    """Revoke a token at once.

    Parameters
    ----------
    token
        Its identifier, from `causeway tokens ls`.
    """
    with Client.from_settings() as client:
        client.send(calls.Call(method="DELETE", path=f"/v1/tokens/{calls.part(token)}"))
    talk.say(f"{token} is revoked.")
    return exits.OK


def ls(*, json: Json = False) -> int:
    """List tokens, without their secrets."""
    with Client.from_settings() as client:
        found = client.send(calls.get("/v1/tokens")).get("tokens", [])
    talk.show(found, _tokens, as_json=json)
    return exits.OK


def _tokens(rows: Any) -> Iterator[str]:
    cells = [
        [
            str(one.get("id", "")),
            str(one.get("tenant", "")),
            f"join ({one['join_uses']} left)" if one.get("join_uses") else str(one.get("role", "")),
            "revoked" if one.get("revoked_ms") else instant(one.get("expires_ms")) or "no end",
            str(one.get("label", "")),
        ]
        for one in rows
    ]
    yield from talk.table(["TOKEN", "PROJECT", "ROLE", "UNTIL", "LABEL"], cells)


def set_secret(name: str, /) -> int:
    """Keep a secret of the project; only jobs that name it receive it.

    Parameters
    ----------
    name
        Environment variable that jobs see. The value is asked for, or read from a pipe.
    """
    return _put(name, _secret(f"{name}: "))


def remove_secret(name: str, /) -> int:
    """Remove a secret.

    Parameters
    ----------
    name
        Its name.
    """
    return _put(name, None)


def _put(name: str, value: str | None) -> int:
    body = calls.post("", {"value": value}).body
    with Client.from_settings() as client:
        client.send(calls.Call(method="PUT", path=f"/v1/secrets/{calls.part(name)}", body=body))
    talk.say(f"{name} is {'kept' if value is not None else 'removed'}.")
    return exits.OK


def list_secrets(*, json: Json = False) -> int:
    """List the names of the project's secrets."""
    with Client.from_settings() as client:
        found = client.send(calls.get("/v1/secrets")).get("secrets", [])
    talk.show(found, lambda names: [str(n) for n in names], as_json=json)
    return exits.OK
