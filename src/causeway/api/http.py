"""Requests in, values out; values in, responses out; errors as one kind of JSON problem."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from causeway.model.errors import (
    STATUSES,
    CausewayError,
    InvalidInput,
    TooLarge,
    Unauthenticated,
)

T = TypeVar("T")
BODY_BYTES_MAX = 4 * 1024**2
"""Most that a JSON or YAML body may hold; content goes in chunks of its own."""
WORD_CHARS_MAX = 300
_encoder = msgspec.json.Encoder()
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_AT = re.compile(r" - at `([^`]+)`$")


async def body_of(request: Request, limit_bytes: int = BODY_BYTES_MAX) -> bytes:
    """Read a body, refusing it before it fills the memory."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(int(declared), limit_bytes)
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > limit_bytes:
                raise _too_large(size, limit_bytes)
            pieces.append(piece)
    except ClientDisconnect:
        raise InvalidInput("the connection ended before the body did") from None
    return b"".join(pieces)


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(
        f"the body has at least {size:,} bytes; the most is {limit:,}",
        hint="send large content as artefacts (causeway upload)",
        where="body",
    )


def decode(data: bytes, type_: type[T], *, tolerant: bool = False) -> T:
    """Decode JSON into a value, or raise `InvalidInput` that names the place.

    People's bodies are held to the letter: a field that is not known or is written twice is a slip
    of the keyboard. Agents may be newer than the centre, so theirs are read with `tolerant`.
    """
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders[type_] = msgspec.json.Decoder(type_)
    if not tolerant:
        _refuse_unknown(strict_json(data or b"{}"), type_)
    try:
        value: T = decoder.decode(data or b"{}")
    except msgspec.ValidationError as error:
        text = str(error)
        place = _AT.search(text)
        where = place.group(1) if place else "$"
        raise InvalidInput(_AT.sub("", text), where=where, hint="see /v1/openapi.json") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", where="body") from None
    except RecursionError:
        raise _too_deep() from None
    return value


def strict_json(data: bytes, where: str = "body") -> object:
    """Parse JSON as its standard has it: UTF-8, no NaN, no field twice, nesting within reason.

    `where` is what an error calls the whole."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_once_each, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8: byte {error.start}", where=where) from None
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:
        raise InvalidInput(f"the body is not JSON: {error}", where=where) from None


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(
            f"field {twice[:80]!r} is written twice", where="$", hint="remove one of the two"
        )
    return found


def _no_constant(name: str) -> object:
    raise InvalidInput(f"{name} is no number in JSON", where="body")


def _too_deep(where: str = "body") -> InvalidInput:
    return InvalidInput("the body is nested too deeply", where=where)


def _refuse_unknown(tree: object, type_: Any) -> None:
    known = getattr(type_, "__dataclass_fields__", None)
    if known is None or not isinstance(tree, dict):
        return
    for name in tree:
        if name not in known:
            raise InvalidInput(
                f"unknown field {name[:80]!r}",
                where=f"$.{name[:80]}",
                hint=f"known: {', '.join(known)}",
            )


def bearer(request: HTTPConnection) -> str:
    """Return the bearer token, or raise `Unauthenticated`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(
            "no bearer token was sent", hint="set CAUSEWAY_TOKEN, or causeway login"
        )
    return token.strip()


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Encode a value of `model` (or plain data) as a JSON response."""
    return Response(
        _encoder.encode(value), status, dict(headers or {}), media_type="application/json"
    )


def problem(error: Exception) -> Response:
    """Turn an error into its response. What is not ours is a defect, and says so."""
    if isinstance(error, CausewayError):
        status = STATUSES.get(error.code, 500)
        headers = {"retry-after": "1"} if status == 503 else {}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        return json_response({"error": error.as_dict()}, status, headers)
    body = {
        "code": "error",
        "message": f"a defect in the control plane: {type(error).__name__}",
        "hint": "report it with the server's log",
    }
    return json_response({"error": body}, 500)


def whole(request: Request, name: str, default: int, *, most: int, least: int = 0) -> int:
    """Read a whole number from the query string; beyond the bounds it is the nearest inside."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise InvalidInput(
            f"{name} must be a whole number, not {text[:80]!r}", where=f"query.{name}"
        )
    return max(least, min(int(text), most))


def word(request: Request, name: str, default: str = "") -> str:
    """Read a text from the query string: printable, and short enough to be a name."""
    text = request.query_params.get(name, default)
    if len(text) > WORD_CHARS_MAX or not text.isprintable():
        raise InvalidInput(
            f"{name} is a text of at most {WORD_CHARS_MAX} characters", where=f"query.{name}"
        )
    return text


def plain(value: object) -> Any:
    """Return a value as plain JSON data."""
    return json.loads(_encoder.encode(value))
