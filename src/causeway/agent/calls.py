"""Answers calls: a person waits at the centre for an attempt here, so the agent dials.

For each call the agent reaches the local end (an attempt's terminal, or a port that one of its
processes listens on), opens one WebSocket to the centre with its session, and passes bytes on in
both directions, each only as fast as the other side takes them. Nothing is opened or imported
until there is a call: an idle agent pays nothing for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from causeway.agent.ends import End, PortEnd, TerminalEnd
from causeway.agent.environment import terminal_socket
from causeway.agent.listeners import address_of
from causeway.model.protocol import CallCommand, CallKind
from causeway.ports.engine import Engine, Status

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

CALLS_MAX = 128
"""Calls under way at a time; the centre repeats those that are passed over."""
SEEN_MAX = 4_096
MESSAGE_BYTES_MAX = 256 * 1024
QUEUED_MAX = 8
DIAL_S = 10.0
PING_S = 20.0
PONG_S = 120.0
TRIES = 20
TRY_S = 0.1
log = logging.getLogger("causeway.agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """What answering a call needs to know."""

    root: Path
    engine: Engine
    url: Callable[[], str]
    """The centre's address, now."""
    token: Callable[[], str]
    """The session's."""
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    tls: ssl.SSLContext | None = None


class Calls:
    """The calls that this island has heard."""

    def __init__(self, island: Island) -> None:
        self._island = island
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._busy = 0

    def take(self, calls: Iterable[CallCommand]) -> None:
        """Begin to answer every call that was not heard before."""
        for call in calls:
            if call.call in self._seen or self._busy >= CALLS_MAX:
                continue
            self._seen[call.call] = None
            if len(self._seen) > SEEN_MAX:
                self._seen.popitem(last=False)
            self._busy += 1
            self._island.spawn(self._answer(call))

    async def _answer(self, call: CallCommand) -> None:
        end: End | None = None
        try:
            end, problem = await self._reach(call)
            async with self._dial(call) as far:
                await far.send(json.dumps({"error": problem} if end is None else {"ok": True}))
                if end is None:
                    await far.wait_closed()
                else:
                    await carry(end, far)
        except Exception as error:
            # One broken connection is that person's trouble, whatever broke it, not the agent's.
            log.info("call for %s ended: %s: %s", call.job, type(error).__name__, error)
        finally:
            self._busy -= 1
            if end is not None:
                await end.close()

    async def _reach(self, call: CallCommand) -> tuple[End | None, str]:
        """Return the local end, or why there is none."""
        status = self._island.engine.poll().get((call.job, call.fence))
        if status is None:
            return None, "this attempt does not run here any more"
        try:
            if call.kind == CallKind.TERMINAL:
                return await self._terminal(call), ""
            return await self._port(call, status)
        except OSError as error:
            return None, f"the job's {call.kind} cannot be reached: {error.strerror or error}"

    async def _port(self, call: CallCommand, status: Status) -> tuple[End | None, str]:
        """Connect to what listens on a port in the job, and to nobody else."""
        address = status.address
        if not address and self._island.engine.outlives:
            return None, "ports of this job cannot be reached: its node's are not its own"
        if not address:
            address = await asyncio.to_thread(address_of, status.pids, call.port)
        if not address:
            return None, f"no process of the job listens on port {call.port}"
        try:
            return await asyncio.wait_for(PortEnd.reach(address, call.port), DIAL_S), ""
        except TimeoutError:
            return None, f"{address} does not answer: does a route lead there from the agent?"

    async def _terminal(self, call: CallCommand) -> TerminalEnd:
        """Connect; a terminal that has just begun may take a moment to be there."""
        path = terminal_socket(self._island.root, call.job, call.fence)
        for _ in range(TRIES - 1):
            try:
                return await TerminalEnd.reach(path)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(TRY_S)
        return await TerminalEnd.reach(path)

    def _dial(self, call: CallCommand) -> Any:
        from websockets.asyncio.client import connect

        where = urlencode({"call": call.call, "job": call.job, "fence": call.fence})
        url = "ws" + self._island.url().rstrip("/").removeprefix("http")
        tls = self._island.tls
        secure: dict[str, Any] = {} if tls is None or not url.startswith("wss:") else {"ssl": tls}
        return connect(
            f"{url}/v1/agent/relay?{where}",
            additional_headers={"Authorization": f"Bearer {self._island.token()}"},
            **secure,
            compression=None,
            proxy=None,
            open_timeout=DIAL_S,
            ping_interval=PING_S,
            ping_timeout=PONG_S,
            max_size=MESSAGE_BYTES_MAX,
            max_queue=QUEUED_MAX,
        )


async def carry(end: End, far: ClientConnection) -> None:
    """Pass everything on until either side ends."""

    async def out() -> None:
        async for piece in end.pieces():
            await far.send(piece)

    async def back() -> None:
        async for message in far:
            await end.take(message)

    tasks = [asyncio.create_task(out()), asyncio.create_task(back())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
