"""Round trips between islands, measured where an owner lets itself be reached.

Islands only call out, so nothing can be measured between two of them unless one declares a
`probe_address`. Its agent then listens there and sends back the sixteen bytes that it was sent;
nothing else is ever read or said, and the listener holds few connections for a few seconds. Other
agents connect once a minute to the addresses that the centre named, and take the best of three
echoes on one connection, so that the connection's own making does not count. What did not echo is
not measured and not told: an owner's address cannot be used to learn which ports of another's
network are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping

from causeway.agent.health import Gauges
from causeway.model.errors import InvalidInput
from causeway.model.islands import probe_endpoint
from causeway.ports import Chance

log = logging.getLogger("causeway.agent")
ECHO_BYTES = 16
ECHOES = 3
EVERY_S = 60.0
TIMEOUT_S = 2.0
LISTEN_S = 5.0
CONNECTIONS_MAX = 16
TARGETS_MAX = 32
"""Other islands that one agent measures."""


async def measure_ms(address: str, chance: Chance) -> float | None:
    """Return the round trip to a listener; None where none echoes in time."""
    host, port = probe_endpoint(address)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                took_ms = []
                for _ in range(ECHOES):
                    said = chance.bits(8 * ECHO_BYTES).to_bytes(ECHO_BYTES)
                    began = time.perf_counter()
                    writer.write(said)
                    if await reader.readexactly(ECHO_BYTES) != said:
                        return None
                    took_ms.append((time.perf_counter() - began) * 1000)
                return min(took_ms)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


class Prober:
    """Listens where the owner says so, and measures the islands that the centre names."""

    def __init__(self, address: str, gauges: Gauges, chance: Chance) -> None:
        """`address` is what the owner's profile declares; empty: do not listen."""
        self._address = address
        self._gauges = gauges
        self._chance = chance
        self._open = 0
        self.port = 0
        """Where it listens; 0: nowhere."""

    async def listen(self) -> asyncio.Server | None:
        """Begin to listen, if the owner wants it. `InvalidInput` where that cannot be."""
        if not self._address:
            return None
        _, port = probe_endpoint(self._address)
        try:
            server = await asyncio.start_server(self._echo, "", port, limit=ECHO_BYTES * ECHOES)
        except OSError as error:
            raise InvalidInput(
                f"port {port} of the probe address cannot be listened on: {error}",
                hint="free the port, or take probe_address out of the profile",
            ) from error
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def run(self) -> None:
        """Listen and measure until cancelled."""
        server = await self.listen()
        try:
            while True:
                await self.measure(self._gauges.others)
                # The first addresses arrive with the first answer; then it is once a minute.
                await asyncio.sleep(EVERY_S if self._gauges.others else TIMEOUT_S)
        finally:
            if server is not None:
                server.close()

    async def measure(self, others: Mapping[str, str]) -> None:
        """Measure these islands, one after another, and note what was found."""
        for island, address in list(others.items())[:TARGETS_MAX]:
            try:
                rtt_ms = await measure_ms(address, self._chance)
            except InvalidInput as error:
                log.warning("%s: %s", island, error.message)
                continue
            self._gauges.reached(island, rtt_ms)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > CONNECTIONS_MAX:
                return
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(LISTEN_S):
                    for _ in range(ECHOES):
                        writer.write(await reader.readexactly(ECHO_BYTES))
                        await writer.drain()
        finally:
            self._open -= 1
            writer.close()
