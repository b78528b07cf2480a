"""Sharing content with other islands, where an owner lets itself be reached (`content_address`).

The agent then listens there and answers one kind of request:

    GET /content/<artefact>/<chunk>     Authorization: Causeway-Grant ...     Range: bytes=a-b

Nothing is served without a grant of the centre for this artefact, this island and this moment,
checked with the centre's public key and without a question to anybody; and then only chunks of an
artefact that is whole in this island's cache. All of it goes over TLS 1.3 with a key that the agent
makes when it starts: the centre is told the digest of its certificate and tells it to whoever is
granted something, so that nobody else can answer in this island's place, and no authority is
needed.

What the cache holds and how fast transfers from other islands were is told to the centre when it
changes, with every new session, and now and then. An island that does not listen tells only its
figures.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from causeway.agent.peers_door import Door, Gate, certified, listener
from causeway.model.errors import CausewayError, NotFound, Unauthenticated, Unavailable
from causeway.model.islands import probe_endpoint
from causeway.model.sharing import ContentReply, ContentReport, LinkReport
from causeway.ports import Clock
from causeway.ports.artifacts import ChunkCache

log = logging.getLogger("causeway.agent")
LOOK_S = 1.0
POLL_S = 0.5
"""How often the listener looks whether it should end."""
EVERY_S = 60.0
"""Between reports when nothing changed but the ages of figures."""
Links = Callable[[], Mapping[str, tuple[float, int]]]
"""Other island -> (Mbit/s, age in ms), as this agent's transfers showed."""
Tell = Callable[[bytes], bytes]
"""Sends a report to the centre and returns its answer. Blocking."""


class Sharing:
    """One island's part in giving content to others."""

    def __init__(self, cache: ChunkCache | None, *, address: str, root: Path, clock: Clock) -> None:
        """`address` is what the owner's profile declares; empty: do not listen. Nor is there
        anything to give without a cache."""
        self._cache = cache
        self._address = address
        self._root = root
        self.gate = Gate(cache, clock.now_ms) if cache is not None else None
        self.pin = ""
        """SHA-256 of the certificate that it shows; empty: it does not listen."""
        self.door: Door | None = None
        self.port = 0
        """Where it listens; 0: nowhere."""

    def listen(self) -> None:
        """Begin to listen, if the owner wants it. `InvalidInput` where that cannot be."""
        if not self._address or self.gate is None:
            return
        _, port = probe_endpoint(self._address, "$.profile.content_address")
        taken = listener(port)
        self.port = taken.getsockname()[1]
        context, self.pin = certified(self._root)
        self.door = Door(taken, self.gate, context)
        serve = self.door.serve_forever
        threading.Thread(target=serve, args=(POLL_S,), name="content", daemon=True).start()

    def close(self) -> None:
        """Listen no longer."""
        if self.door is not None:
            self.door.shutdown()
            self.door.server_close()
            self.door = None

    async def run(
        self, island: str, *, session: Callable[[], str], tell: Tell, links: Links
    ) -> None:
        """Serve, and keep the centre informed, until cancelled. `session` returns the present
        session's token: a new session is told everything again."""
        if self.gate is not None:
            self.gate.island = island
        await asyncio.to_thread(self.listen)
        told: object = None
        due_s = 0.0
        try:
            while True:
                known = (session(), self._whole(), tuple(links()))
                has_news = known != told or time.monotonic() > due_s
                # An island that neither listens nor has figures has nothing to say.
                if session() and has_news and (self.pin or known[2]):
                    told = known if await self._tell(tell, links()) else None
                    due_s = time.monotonic() + EVERY_S
                await asyncio.sleep(LOOK_S)
        finally:
            await asyncio.to_thread(self.close)

    def _whole(self) -> tuple[str, ...]:
        return self._cache.whole() if self._cache is not None and self.pin else ()

    async def _tell(self, tell: Tell, links: Mapping[str, tuple[float, int]]) -> bool:
        report = ContentReport(
            artifacts=self._whole(),
            pin=self.pin,
            links={
                name: LinkReport(bandwidth_mbit_s=round(mbit_s, 2), age_ms=age_ms)
                for name, (mbit_s, age_ms) in links.items()
            },
        )
        try:
            said = await asyncio.to_thread(tell, msgspec.json.encode(report))
            key = msgspec.json.decode(said, type=ContentReply).key
            if self.gate is not None:
                self.gate.trust(key)
        except NotFound:
            # A centre of before this: all content goes by way of it, as ever.
            return True
        except (Unavailable, Unauthenticated):
            # The line's own syncs meet the same trouble, and say so; this is told after it.
            return False
        except (CausewayError, msgspec.MsgspecError) as error:
            log.warning("what this island could share was not taken: %s", error)
        return True
