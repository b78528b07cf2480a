"""Requests and answers of the API as values: no sockets here, so both directions can be tested.

A `Call` says what to send. `answer` turns status and body into plain data or into the same
`CausewayError` subclass that was raised at the other end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from causeway.model import errors
from causeway.model.errors import CausewayError, Unavailable

_KINDS: dict[str, type[CausewayError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CausewayError)
}
_BY_STATUS = {401: "unauthenticated", 403: "refused", 404: "not_found", 409: "conflict",
              413: "too_large", 422: "invalid_input", 429: "unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


def get(path: str, **query: str | int) -> Call:
    """Return a GET; empty values and zeros are left out of the query."""
    return Call(method="GET", path=path, query={k: str(v) for k, v in query.items() if v})


def post(path: str, value: object = None) -> Call:
    """Return a POST with a JSON body, or none."""
    if value is None:
        return Call(method="POST", path=path)
    headers = {"content-type": "application/json"}
    return Call(method="POST", path=path, headers=headers, body=json.dumps(value).encode())


def submission(path: str, text: str, *, key: str = "") -> Call:
    """Return the call that sends a job file."""
    headers = {"content-type": "application/yaml"}
    if key:
        headers["idempotency-key"] = key
    return Call(method="POST", path=path, headers=headers, body=text.encode())


def part(text: str) -> str:
    """Quote an identifier for a path; its colons may stay."""
    return quote(text, safe=":")


def answer(status: int, body: bytes) -> Any:
    """Return an answer's data, or raise what it says went wrong."""
    try:
        data = json.loads(body) if body else None
    except ValueError:
        if status < 400:
            raise Unavailable(
                f"the answer is not JSON (HTTP {status})", hint="is this address a control plane?"
            ) from None
        data = None
    if status >= 400:
        raise error_of(status, data)
    return data


def error_of(status: int, data: object) -> CausewayError:
    """Return the error that an answer describes."""
    told = data.get("error") if isinstance(data, Mapping) else None
    if not isinstance(told, Mapping):
        code = _BY_STATUS.get(status, "unavailable" if status >= 500 else "error")
        return _KINDS[code](f"the control plane answered HTTP {status}")
    kind = _KINDS.get(str(told.get("code", "")), CausewayError)
    return kind(
        str(told.get("message", f"HTTP {status}")),
        hint=str(told.get("hint", "")),
        where=str(told.get("where", "")),
    )
