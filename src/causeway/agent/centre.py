"""Requests to the control plane: several addresses, one session, errors as the tree names them.

Built on `http.client` in threads rather than an asynchronous client: an idle agent is one thread
asleep in a read, and the smaller import keeps it well under its memory bound. Connections are kept
open and shared; whoever fails turns everybody to the next address.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from causeway.agent.identity import Identity
from causeway.model import errors
from causeway.model.errors import CausewayError, InvalidInput, Unavailable
from causeway.model.islands import Profile
from causeway.model.protocol import (
    JoinReply,
    JoinRequest,
    SessionReply,
    SessionRequest,
    SyncReply,
    SyncRequest,
)

T = TypeVar("T")
REPLY_BYTES_MAX = 16 * 1024**2
IDLE_CONNECTIONS_MAX = 8
TIMEOUT_S = 10.0
_BY_CODE: dict[str, type[CausewayError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CausewayError)
}
_BY_STATUS: Mapping[int, type[CausewayError]] = {
    401: errors.Unauthenticated,
    403: errors.Refused,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: InvalidInput,
}
_DECODERS: Mapping[Any, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (JoinReply, SessionReply, SyncReply)
}
"""Made here, by one thread: msgspec learns a class when it meets it first, and crashes the process
when two threads have it learn the same one at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """A reply with what the exchange itself showed."""

    reply: SyncReply
    rtt_ms: float
    """Without the time that the centre held the request."""


class Centre:
    """The control plane, seen from an island. Blocking; safe to use from several threads."""

    def __init__(self, urls: Sequence[str], *, tls: ssl.SSLContext | None = None) -> None:
        if not urls:
            raise InvalidInput("an agent needs at least one address of a control plane")
        self.urls = tuple(_checked(url) for url in urls)
        self._tls = tls
        self._turn = 0
        self._idle: list[tuple[str, http.client.HTTPConnection]] = []
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._encoder = msgspec.json.Encoder()

    @property
    def url(self) -> str:
        """The address whose turn it is: the one that answered last."""
        return self.urls[self._turn % len(self.urls)]

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What authorities are trusted; None: the system's."""
        return self._tls

    def join(self, identity: Identity, profile: Profile, token: str) -> JoinReply:
        """Join, or join again with the known key."""
        wish = JoinRequest(token=token, public_key=identity.public_key, profile=profile)
        said = self._encoder.encode(wish)
        _, body = self.request("/v1/agent/join", said, signature=identity.sign(said))
        return _decoded(body, JoinReply)

    def open_session(self, identity: Identity, *, at_ms: int, nonce: str) -> SessionReply:
        """Prove the key; get a session."""
        said = f"causeway-session\n{identity.island}\n{at_ms}\n{nonce}"
        wish = SessionRequest(
            island=identity.island,
            at_ms=at_ms,
            nonce=nonce,
            signature=identity.sign(said.encode()),
        )
        return self._ask("/v1/agent/session", wish, SessionReply)

    def sync(self, request: SyncRequest, *, token: str, timeout_s: float) -> Synced:
        """Exchange news; may be held open by the centre."""
        began = time.perf_counter()
        headers, body = self.request(
            "/v1/agent/sync", self._encoder.encode(request), token=token, timeout_s=timeout_s
        )
        took_ms = (time.perf_counter() - began) * 1000
        held = headers.get("x-held-ms", "0")
        held_ms = float(held) if held.isdecimal() else 0.0
        return Synced(reply=_decoded(body, SyncReply), rtt_ms=max(0.0, took_ms - held_ms))

    def append_log(self, where: Mapping[str, str | int], data: bytes, *, token: str) -> int:
        """Send a piece of a log; return the offset that the centre expects next."""
        path = "/v1/agent/logs?" + urllib.parse.urlencode(where)
        _, body = self.request(path, data, token=token, kind="application/octet-stream")
        return _decoded(body, dict[str, int]).get("next", 0)

    def echo_s(self, data: bytes, *, token: str) -> float:
        """Send bytes and get them back; return the seconds that this took."""
        began = time.perf_counter()
        _, body = self.request("/v1/agent/echo", data, token=token, kind="application/octet-stream")
        took_s = time.perf_counter() - began
        if body != data:
            raise InvalidInput("the centre sent back other bytes than it was sent")
        return took_s

    def request(
        self,
        path: str,
        body: bytes,
        *,
        token: str = "",
        kind: str = "application/json",
        signature: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> tuple[Mapping[str, str], bytes]:
        """POST once to the address whose turn it is. Return headers and body, or raise."""
        turn = self._turn
        url = self.urls[turn % len(self.urls)]
        headers = {"Content-Type": kind}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if signature:
            headers["X-Causeway-Signature"] = signature
        path = urllib.parse.urlsplit(url).path.rstrip("/") + path
        try:
            status, said, data = self._once(url, path, body, headers, timeout_s)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._turn = turn + 1
            raise Unavailable(
                f"cannot reach {url}: {error or type(error).__name__}",
                hint="check the address and that the control plane is up",
            ) from error
        if status < 400:
            return said, data
        if status >= 500:
            self._turn = turn + 1
        raise _problem(status, data)

    def close(self) -> None:
        """Close every connection; requests under way end with `Unavailable`."""
        with self._lock:
            self._closed = True
            self._idle.clear()
            for connection in list(self._open):
                if connection.sock is not None:
                    _shut(connection)

    def _once(
        self, url: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        for fresh in (False, True):
            connection, used = self._take(url, timeout_s, fresh=fresh)
            try:
                connection.request("POST", path, body=body, headers=dict(headers))
                response = connection.getresponse()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A kept connection may have been closed by the other end while it was idle.
                self._drop(connection)
                if fresh or not used or self._closed:
                    raise
                continue
            except BaseException:
                self._drop(connection)
                raise
            try:
                data = response.read(REPLY_BYTES_MAX + 1)
            except BaseException:
                self._drop(connection)
                raise
            if len(data) > REPLY_BYTES_MAX or response.will_close:
                self._drop(connection)
            else:
                self._give(url, connection)
            if len(data) > REPLY_BYTES_MAX:
                raise ValueError(f"the reply is over {REPLY_BYTES_MAX} bytes")
            return response.status, {k.lower(): v for k, v in response.getheaders()}, data
        raise AssertionError("a fresh connection either answers or raises")

    def _take(
        self, url: str, timeout_s: float, *, fresh: bool
    ) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the agent is leaving")
            if not fresh:
                for index, (address, connection) in enumerate(self._idle):
                    if address == url:
                        del self._idle[index]
                        if connection.sock is not None:
                            connection.sock.settimeout(timeout_s)
                        return connection, True
            made = _connection(url, timeout_s, self._tls)
            self._open.add(made)
            return made, False

    def _give(self, url: str, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_CONNECTIONS_MAX:
                self._idle.append((url, connection))
                return
        self._drop(connection)

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def _ask(self, path: str, wish: object, kind: type[T]) -> T:
        _, body = self.request(path, self._encoder.encode(wish))
        return _decoded(body, kind)


def _checked(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url!r} is not an http(s) address")
    return url


def _connection(
    url: str, timeout_s: float, tls: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=tls)
    return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)


def _shut(connection: http.client.HTTPConnection) -> None:
    """Wake a thread that reads from the connection; `close` alone would leave it asleep."""

    try:
        connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It was closed already by the other end.
        pass


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        decoder = _DECODERS.get(kind)
        found: T = msgspec.json.decode(body, type=kind) if decoder is None else decoder.decode(body)
        return found
    except msgspec.MsgspecError as error:
        raise Unavailable(f"the centre's answer cannot be understood: {error}") from error


def _problem(status: int, body: bytes) -> CausewayError:
    """Return the error that the centre named, as the class that it raised there."""
    fallback = f"the centre answered HTTP {status}"
    try:
        found = json.loads(body)["error"]
        kind = _BY_CODE.get(found["code"], _BY_STATUS.get(status, Unavailable))
        return kind(
            str(found.get("message", fallback)),
            hint=str(found.get("hint", "")),
            where=str(found.get("where", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return _BY_STATUS.get(status, Unavailable)(fallback)
