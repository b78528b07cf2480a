"""A light HTTP/1.1 client for load generators: one kept connection, one request at a time.

It does as little as a true client can, so that on a small machine the generator takes its time from
the server under test as little as possible. Replies must carry a content length.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


class Connection(asyncio.Protocol):
    """One connection, kept open. `ask` may be called again once it has answered."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or self._answer is None:
            return
        lowered = head.lower()
        at = lowered.index(b"content-length:") + 15
        stop = lowered.find(b"\r\n", at)
        length = int(lowered[at : stop if stop > 0 else None])
        if len(body) >= length:
            self._data = b""
            answer, self._answer = self._answer, None
            if not answer.done():
                answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the server closed: {exc}"))

    async def ask(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """Send one request (its head without a content length) and return status and body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def head_of(method: str, path: str, *, token: str = "", more: Sequence[str] = ()) -> bytes:
    """Return the first lines of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: bench", *more]
    if token:
        lines.append(f"authorization: Bearer {token}")
    return ("\r\n".join(lines) + "\r\n").encode()


async def connect(port: int) -> Connection:
    """Open a connection to a local server."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection
