"""The island's two kinds of ends: the terminal of an attempt, and a port of its own processes.

An end turns what comes from the centre (bytes, or a small JSON word) into what its local side
understands, and back. Words: `{"rows": n, "cols": n}` to a terminal, `{"exit": code}` from one,
`{"end": true}` in both directions of a port when one half of the connection is finished.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

PIECE_BYTES = 32 * 1024
FRAME_BYTES_MAX = 64 * 1024
HEAD = struct.Struct("!cI")
SIZE = struct.Struct("!HH")
CODE = struct.Struct("!i")
CELLS_MAX = 4_096
Message = bytes | str


class End(Protocol):
    """One local side of a relayed connection."""

    def pieces(self) -> AsyncIterator[Message]:
        """Yield what goes to the centre until the local side has ended."""

    async def take(self, message: Message) -> None:
        """Pass on what came from the centre; returns when there is room for more."""

    async def close(self) -> None:
        """Let go of the local side."""


class TerminalEnd:
    """An attempt's terminal, as the engine serves it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def reach(cls, path: Path) -> TerminalEnd:
        """Connect. The path may be longer than an address can be, so it goes through its folder."""
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            reader, writer = await asyncio.open_unix_connection(
                f"/proc/self/fd/{folder}/{path.name}", limit=FRAME_BYTES_MAX
            )
        finally:
            os.close(folder)
        return cls(reader, writer)

    async def pieces(self) -> AsyncIterator[Message]:
        while True:
            try:
                kind, size = HEAD.unpack(await self._reader.readexactly(HEAD.size))
                if size > FRAME_BYTES_MAX:
                    raise ConnectionError(f"a message of {size} bytes")
                body = await self._reader.readexactly(size)
            except asyncio.IncompleteReadError:
                return
            if kind == b"x":
                yield json.dumps({"exit": CODE.unpack(body)[0]})
            else:
                yield body

    async def take(self, message: Message) -> None:
        if isinstance(message, str):
            word = json.loads(message)
            rows, columns = (max(1, min(CELLS_MAX, int(word[n]))) for n in ("rows", "cols"))
            self._writer.write(HEAD.pack(b"r", SIZE.size) + SIZE.pack(rows, columns))
        else:
            for start in range(0, len(message), PIECE_BYTES):
                piece = message[start : start + PIECE_BYTES]
                self._writer.write(HEAD.pack(b"d", len(piece)) + piece)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()


class PortEnd:
    """One TCP connection to a process of the attempt."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._taken = asyncio.Event()

    @classmethod
    async def reach(cls, address: str, port: int) -> PortEnd:
        """Connect."""
        return cls(*await asyncio.open_connection(address, port, limit=PIECE_BYTES))

    async def pieces(self) -> AsyncIterator[Message]:
        while data := await self._reader.read(PIECE_BYTES):
            yield data
        yield json.dumps({"end": True})
        # The other half may still be on its way to the process.
        await self._taken.wait()

    async def take(self, message: Message) -> None:
        if isinstance(message, str):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            self._taken.set()
            return
        self._writer.write(message)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
