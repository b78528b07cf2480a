"""Requests to the centre that survive a bad moment: pooled, retried, bounded.

Each thread keeps one connection open. A request that could not be made, or that met a busy
server, is made again with growing, jittered pauses, at the next address when there are several.
Only requests that may be repeated go through here. A refusal comes back as the same error class
as it was raised there.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from causeway.model import errors
from causeway.model.errors import CausewayError, Conflict, InvalidInput, NotFound, Unavailable

TRIES = 6
BACKOFF_S = 0.1
BACKOFF_S_MAX = 3.0
TIMEOUT_S = 30.0
REPLY_BYTES_MAX = 64 * 1024**2
PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses after which the same request may succeed."""

_KINDS: dict[str, type[CausewayError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CausewayError)
}


class SizedBody(Protocol):
    """A body that is made while it is sent, and can be made again."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


Body = bytes | SizedBody
NO_HEADERS: Mapping[str, str] = {}


def never() -> bool:
    return False


def stopped() -> Unavailable:
    return Unavailable("the transfer was stopped", hint="run it again: it goes on where it was")


def pause_s(tried: int) -> float:
    """Return how long to wait after so many tries: growing, bounded, never in step with others."""
    longest_s: float = min(BACKOFF_S * 2.0 ** (tried - 1), BACKOFF_S_MAX)
    return longest_s * (0.5 + random.random() / 2)


@dataclass(slots=True, kw_only=True)
class Reply:
    status: int
    body: bytes

    def json(self) -> dict[str, object]:
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise Unavailable(f"the centre's reply is not JSON (HTTP {self.status})") from error
        if not isinstance(value, dict):
            raise Unavailable(f"the centre's reply is not an object (HTTP {self.status})")
        return value


@dataclass(slots=True, kw_only=True)
class Wire:
    """Requests with retries; each thread keeps one connection open."""

    urls: Sequence[str]
    token: Callable[[], str]
    tls: ssl.SSLContext | None
    sleep: Callable[[float], None]
    local: threading.local = field(default_factory=threading.local)
    open: list[http.client.HTTPConnection] = field(default_factory=list)
    turn: int = 0
    """Which URL is tried first: the one that answered last."""

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Body | None = None,
        stop: Callable[[], bool] = never,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Reply:
        """Return the reply below 400, or raise its error. Every request here may be repeated."""
        problem: CausewayError = Unavailable("no centre's address is known")
        for tried in range(TRIES):
            if stop():
                raise stopped()
            if tried:
                self.sleep(pause_s(tried))
            turn = self.turn
            url = self.urls[turn % len(self.urls)]
            try:
                reply = self._once(url, method, path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                self.turn = turn + 1
                problem = Unavailable(
                    f"cannot reach {url}: {error or type(error).__name__}",
                    hint="check the address and that the control plane is up",
                )
                continue
            if reply.status < 400:
                return reply
            problem = problem_of(reply)
            if reply.status not in PASSING:
                raise problem
            self.turn = turn + 1
        raise problem

    def _once(
        self, url: str, method: str, path: str, body: Body | None, more: Mapping[str, str]
    ) -> Reply:
        held: tuple[str, http.client.HTTPConnection] | None
        held = getattr(self.local, "held", None)
        if held is None or held[0] != url:
            self._drop()
            held = (url, self._connect(url))
            self.local.held = held
        headers = {"Authorization": f"Bearer {self.token()}", **more}
        if body is not None:
            kind = "octet-stream" if method == "PUT" else "json"
            headers["Content-Type"] = f"application/{kind}"
            headers["Content-Length"] = str(len(body))
        prefix = urllib.parse.urlsplit(url).path.rstrip("/")
        try:
            held[1].request(method, prefix + path, body=body, headers=headers)
        except BaseException:
            # Part of a body may be on its way: nothing else can follow it.
            self._drop()
            raise
        with held[1].getresponse() as response:
            data = response.read(REPLY_BYTES_MAX + 1)
            if response.length and len(data) <= REPLY_BYTES_MAX:
                # Reading with a bound says nothing of a body that was cut short.
                raise http.client.IncompleteRead(data, response.length)
            if len(data) > REPLY_BYTES_MAX:
                self._drop()
                raise Unavailable(f"the centre's reply is over {REPLY_BYTES_MAX} bytes")
            return Reply(status=response.status, body=data)

    def _connect(self, url: str) -> http.client.HTTPConnection:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(f"{url!r} is not an http(s) address")
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=TIMEOUT_S, context=self.tls
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self.open.append(connection)
        return connection

    def _drop(self) -> None:
        held = getattr(self.local, "held", None)
        if held is not None:
            held[1].close()
            self.open.remove(held[1])
            self.local.held = None

    def close(self) -> None:
        for connection in self.open:
            connection.close()
        self.open.clear()
        self.local = threading.local()


def problem_of(reply: Reply) -> CausewayError:
    """Return the error that the centre named, as the same class that it raised there."""
    fallback = f"the centre answered HTTP {reply.status}"
    try:
        found = json.loads(reply.body).get("error")
    except (ValueError, AttributeError):
        found = None
    if not isinstance(found, dict):
        kind = {401: errors.Unauthenticated, 403: errors.Refused, 404: NotFound, 409: Conflict}
        return kind.get(reply.status, Unavailable)(fallback)
    return _KINDS.get(str(found.get("code")), CausewayError)(
        str(found.get("message", fallback)),
        hint=str(found.get("hint", "")),
        where=str(found.get("where", "")),
    )
