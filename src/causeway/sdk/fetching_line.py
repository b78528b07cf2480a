"""One connection to one source: requests for ranges of chunks, several on their way at once.

HTTP/1.1 by hand, over asyncio's streams: a fetch keeps many connections busy from one thread, and
sends the next request before the last answer has come (pipelining), so that a round trip is not
paid for every piece. Everything that is read is bounded, and every wait has an end.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from causeway.model.errors import CausewayError, InvalidInput
from causeway.sdk.wire import Reply, problem_of

TIMEOUT_S = 30.0
"""Without a single byte."""
CONNECT_S = 10.0
HEAD_BYTES_MAX = 64 * 1024
PROBLEM_BYTES_MAX = 64 * 1024
READ_BYTES = 64 * 1024


class Asked(Protocol):
    """What a request is for. `start` to `end`, exclusive."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """How a source is reached."""

    urls: tuple[str, ...]
    """Of the same source; the next is tried when one does not answer."""
    prefix: str
    """Path before a chunk's name, as `/v1/artifacts/chunks/`."""
    authorisation: Callable[[], str]
    """Value of the `Authorization` header, asked for anew with every request."""
    tls: ssl.SSLContext | None = None
    pin: str = ""
    """SHA-256 of the certificate that the source must show; empty: what `tls` trusts."""


class Broken(Exception):
    """The connection cannot be used any more; what was asked for over it has not come."""


class Refusal(Exception):
    """The source answered, and said no."""

    def __init__(self, status: int, problem: CausewayError) -> None:
        super().__init__(problem.message)
        self.status = status
        self.problem = problem


@dataclass(slots=True, kw_only=True)
class Line:
    """An open connection."""

    address: Address
    host: str
    base: str
    """Path of the address, before everything that is asked for there."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    rtt_ms: float
    """What connecting took, without TLS: one round trip. 0: not known."""
    closing: bool = False
    """The source ends the connection after this answer."""

    def ask(self, chunk: str, piece: Asked, size: int) -> None:
        """Send a request; its answer comes after those of the requests before."""
        lines = [
            f"GET {self.base}{self.address.prefix}{chunk} HTTP/1.1",
            f"Host: {self.host}",
            f"Authorization: {self.address.authorisation()}",
        ]
        if (piece.start, piece.end) != (0, size):
            lines.append(f"Range: bytes={piece.start}-{piece.end - 1}")
        self.writer.write("\r\n".join((*lines, "", "")).encode("latin-1"))

    async def answer(self, piece: Asked, size: int) -> bytes:
        """Return the bytes of the next answer: those of the piece, or of the whole chunk where the
        source does not know ranges. `Refusal` or `Broken` when there are none."""
        status, head = await self._head()
        length = head.get("content-length", "")
        if not length.isdecimal() or "transfer-encoding" in head:
            raise Broken(f"an answer (HTTP {status}) without a length")
        self.closing = head.get("connection", "").lower() == "close"
        if status not in (200, 206):
            if int(length) > PROBLEM_BYTES_MAX:
                raise Broken(f"HTTP {status} with {length} bytes")
            raise Refusal(status, problem_of(Reply(status=status, body=await self._body(length))))
        expected = piece.end - piece.start if status == 206 else size
        if int(length) != expected:
            if int(length) > PROBLEM_BYTES_MAX:
                raise Broken(f"{length} bytes came where {expected} were asked for")
            # Short enough to be looked at: the digest will tell what it is.
            return await self._body(length)
        return await self._body(length)

    async def _head(self) -> tuple[int, dict[str, str]]:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                raw = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise Broken("the answer's head has no end") from error
        first, *lines = raw.decode("latin-1").split("\r\n")
        parts = first.split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdecimal():
            raise Broken(f"{first[:80]!r} is not an HTTP answer")
        pairs = (line.partition(":") for line in lines if line)
        return int(parts[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def _body(self, length: str) -> bytes:
        left = int(length)
        pieces: list[bytes] = []
        while left:
            async with asyncio.timeout(TIMEOUT_S):
                piece = await self.reader.read(min(left, READ_BYTES))
            if not piece:
                raise Broken("the connection ended before the answer did")
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """End the connection at once; what is on its way is not waited for."""
        self.writer.transport.abort()


async def dial(address: Address, turn: int) -> Line:
    """Connect; `OSError`, `TimeoutError` or `Broken` where that fails."""
    url = address.urls[turn % len(address.urls)]
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url!r} is not an http(s) address")
    secure = parts.scheme == "https"
    tls = address.tls if secure else None
    if secure and tls is None:
        raise InvalidInput(f"{url!r} needs to be told whom to trust")
    began_s = time.perf_counter()
    async with asyncio.timeout(CONNECT_S):
        reader, writer = await asyncio.open_connection(
            parts.hostname,
            parts.port or (443 if secure else 80),
            ssl=tls,
            limit=HEAD_BYTES_MAX,
        )
    took_ms = (time.perf_counter() - began_s) * 1000
    # A TLS handshake is a second round trip.
    line = Line(
        address=address,
        host=parts.netloc,
        base=parts.path.rstrip("/"),
        reader=reader,
        writer=writer,
        rtt_ms=took_ms / (2 if secure else 1),
    )
    if address.pin and _shown(writer) != address.pin:
        line.close()
        raise Broken("it shows another certificate than the centre said")
    return line


def _shown(writer: asyncio.StreamWriter) -> str:
    found: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    certificate = found.getpeercert(binary_form=True) if found is not None else None
    return hashlib.sha256(certificate).hexdigest() if certificate else ""
