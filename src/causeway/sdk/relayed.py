"""A terminal or a port of a running job, from anywhere: the person's side of the relay.

    asyncio.run(attach(client, job, person))      a terminal, until its end or until detached
    asyncio.run(forward(client, job, ...))        a local TCP port that leads to the job's own

The centre joins each connection with one that the job's island opens; the messages are described
in `docs/interactive.md`. A terminal whose connection breaks is attached again, and shows the screen
as it is; a port's connections are each on their own, so a service that was placed elsewhere is
found there by the next one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from causeway.model.errors import CausewayError, Conflict, Unavailable
from causeway.sdk.calls import answer, part
from causeway.sdk.client import Client

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

DETACH = b"\x1d"
"""Ctrl-]."""
CLEAR = b"\x1b[H\x1b[2J\x1b[3J"
PIECE_BYTES = 32 * 1024
MESSAGE_BYTES_MAX = 256 * 1024
QUEUED_MAX = 8
DIAL_S = 30.0
PING_S = 20.0
PONG_S = 120.0
TRIES = 30
TRY_S = 1.0
CONNECTIONS_MAX = 64


class Person(Protocol):
    """Who sits before a terminal."""

    async def typed(self) -> bytes:
        """Return what was typed next; empty when there will be no more."""

    def show(self, data: bytes) -> None:
        """Show what the terminal shows."""

    def size(self) -> tuple[int, int]:
        """Return rows and columns."""

    async def resized(self) -> None:
        """Return when the size has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """How a person's time at a terminal ended."""

    exit_code: int | None = None
    """Of the shell; None when it goes on."""
    detached: bool = False


@asynccontextmanager
async def dialled(client: Client, path: str) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket to the centre; what it refuses is raised as the error that it named."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus

    address, token, authority = client.access
    secure = address.startswith("https:")
    tls: dict[str, Any] = (
        {"ssl": ssl.create_default_context(cafile=authority or None)} if secure else {}
    )
    url = "ws" + address.removeprefix("http")
    try:
        connection = await connect(
            url + path,
            additional_headers={"Authorization": f"Bearer {token}"} if token else {},
            **tls,
            compression=None,
            proxy=None,
            open_timeout=DIAL_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            max_size=MESSAGE_BYTES_MAX,
            max_queue=QUEUED_MAX,
        )
    except InvalidStatus as error:
        answer(error.response.status_code, bytes(error.response.body or b""))
        raise Unavailable(f"{url} did not open a connection: {error}") from None
    except (OSError, InvalidHandshake, TimeoutError) as error:
        raise Unavailable(
            f"{address} cannot be reached: {error or type(error).__name__}",
            hint="is it running? start one with: causeway up, or set CAUSEWAY_URL",
        ) from None
    try:
        yield connection
    finally:
        await connection.close()


async def attach(client: Client, job: str, person: Person) -> Left:
    """Attach to a terminal until its shell ends or the person detaches. `Conflict` when the job
    does not run (any more)."""
    path = f"/v1/jobs/{part(job)}/terminal"
    failed = 0
    attached = False
    while True:
        try:
            async with dialled(client, path) as wire:
                if attached:
                    person.show(CLEAR)
                attached = True
                left, heard = await _converse(wire, person)
            if left is not None:
                return left
            # One that breaks off before it shows anything is no better than none.
            failed = 0 if heard else failed + 1
            if failed >= TRIES:
                raise Unavailable(f"the terminal of {job} breaks off again and again")
        except Unavailable:
            failed += 1
            if not attached or failed >= TRIES:
                raise
        except Conflict:
            left = await asyncio.to_thread(_ended, client, job) if attached else None
            if left is None:
                raise
            return left
        await asyncio.sleep(TRY_S)


def _ended(client: Client, job: str) -> Left | None:
    """Return how the job ended while nobody was connected; None when it has not."""
    found = client.job(job)
    attempts = found.get("attempts") or [{}]
    code = attempts[-1].get("exit_code")
    return Left(exit_code=code) if found.get("state") == "succeeded" else None


async def _converse(wire: ClientConnection, person: Person) -> tuple[Left | None, bool]:
    """Pass on what is typed and shown. Return how it ended (None: the connection broke) and
    whether anything was shown."""
    from websockets.exceptions import ConnectionClosed

    heard = False

    async def type_() -> Left | None:
        while data := await person.typed():
            before, found, _ = data.partition(DETACH)
            if before:
                await wire.send(before)
            if found:
                return Left(detached=True)
        # Nothing more is typed; what is shown goes on until the shell ends.
        await wire.wait_closed()
        return None

    async def size() -> Left | None:
        while True:
            rows, columns = person.size()
            await wire.send(json.dumps({"rows": rows, "cols": columns}))
            await person.resized()

    async def show() -> Left | None:
        nonlocal heard
        async for message in wire:
            heard = True
            if isinstance(message, bytes):
                person.show(message)
            elif "exit" in (word := json.loads(message)):
                return Left(exit_code=int(word["exit"]))
        return None

    tasks = [asyncio.create_task(one()) for one in (show, size, type_)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        left = next((found for task in done if (found := task.result()) is not None), None)
        return left, heard
    except ConnectionClosed:
        return None, heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def forward(
    client: Client,
    job: str,
    *,
    local_port: int,
    remote_port: int = 0,
    ready: Callable[[int], None],
    told: Callable[[CausewayError], None],
) -> None:
    """Listen on this machine and carry every connection to the job's port, until cancelled.

    `remote_port` 0 is the port that a service's file names. `ready` hears the local port,
    `told` hears why a connection could not be carried.
    """
    query = f"?port={remote_port}" if remote_port else ""
    path = f"/v1/jobs/{part(job)}/forward{query}"
    allowed = asyncio.Semaphore(CONNECTIONS_MAX)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with allowed, dialled(client, path) as wire:
                await _carry(wire, reader, writer)
        except CausewayError as error:
            told(error)
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(carry, "127.0.0.1", local_port, limit=PIECE_BYTES)
    except OSError as error:
        raise Conflict(
            f"port {local_port} of this machine cannot be listened on: {error.strerror}",
            hint="choose another: causeway forward JOB LOCAL:REMOTE",
        ) from None
    async with server:
        ready(server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def through(
    client: Client,
    job: str,
    *,
    remote_port: int,
    greeting: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Carry one connection that is open here to a port of the job, until both have ended.

    Nothing is passed on before the other end has said `greeting`: `Unavailable` when something
    else listens there, or nothing.
    """
    async with dialled(client, f"/v1/jobs/{part(job)}/forward?port={remote_port}") as wire:
        said = await greeted(wire, greeting)
        if not said:
            raise Unavailable(f"port {remote_port} of {job} is another program's")
        writer.write(said)
        await _carry(wire, reader, writer)


async def greeted(wire: ClientConnection, greeting: bytes) -> bytes:
    """Return the first bytes from the other end when they begin as they should; else nothing."""
    from websockets.exceptions import ConnectionClosed

    said = b""
    try:
        async with asyncio.timeout(DIAL_S):
            while len(said) < len(greeting):
                message = await wire.recv()
                if isinstance(message, str):
                    return b""
                said += message
    except (TimeoutError, ConnectionClosed):
        return b""
    return said if said.startswith(greeting) else b""


async def _carry(
    wire: ClientConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass on both directions until both have ended, or the connection breaks."""

    async def out() -> None:
        while data := await reader.read(PIECE_BYTES):
            await wire.send(data)
        await wire.send(json.dumps({"end": True}))

    async def back() -> None:
        async for message in wire:
            if isinstance(message, str):
                writer.write_eof()
                return
            writer.write(message)
            await writer.drain()

    async def both() -> None:
        await asyncio.gather(out(), back())

    tasks: list[asyncio.Task[None]] = [
        asyncio.create_task(both()),
        asyncio.create_task(wire.wait_closed()),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # A side that broke off has ended, as one that finished has: there is nobody left to tell.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
