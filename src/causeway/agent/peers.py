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
figures. The answer may name artefacts that jobs which wait will need here: those are brought into
the cache one after another, so that the jobs find them when their turn comes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
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
AHEAD_S = 10.0
"""The same for an island with a cache: so often it asks what it could fetch ahead."""
OLDER_S = 600.0
"""The same to a centre that did not know what it was told."""
TRIED_MAX = 256
Links = Callable[[], Mapping[str, tuple[float, int]]]
"""Other island -> (Mbit/s, age in ms), as this agent's transfers showed."""
Tell = Callable[[bytes], bytes]
"""Sends a report to the centre and returns its answer. Blocking."""
Bring = Callable[[str, Callable[[], bool]], None]
"""Brings an artefact into the cache, until the second argument says to stop. Blocking."""


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
        self._older = False
        """The centre knows nothing of this."""
        self._leaving = False
        self._bringing: asyncio.Task[None] | None = None
        self._tried: dict[str, None] = {}
        """What was brought ahead, or could not be; the newest last."""
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
        self, island: str, *, session: Callable[[], str], tell: Tell, links: Links, bring: Bring
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
                # An island that neither keeps content nor has figures has nothing to say.
                has_part = bool(self._cache is not None or known[2])
                if session() and has_news and has_part:
                    reply = await self._tell(tell, links())
                    told = known if reply is not None else None
                    due_s = time.monotonic() + self._every_s()
                    self._bring_one(reply.ahead if reply is not None else (), bring)
                await asyncio.sleep(LOOK_S)
        finally:
            self._leaving = True
            await asyncio.to_thread(self.close)

    def _whole(self) -> tuple[str, ...]:
        return self._cache.whole() if self._cache is not None and self.pin else ()

    def _every_s(self) -> float:
        if self._older:
            return OLDER_S
        return AHEAD_S if self._cache is not None else EVERY_S

    def _bring_one(self, ahead: Sequence[str], bring: Bring) -> None:
        """Begin with the first that was not tried yet, unless one is on its way."""
        if self._bringing is not None and not self._bringing.done():
            return
        artifact = next((one for one in ahead if one not in self._tried), "")
        if artifact:
            self._tried[artifact] = None
            while len(self._tried) > TRIED_MAX:
                del self._tried[next(iter(self._tried))]
            self._bringing = asyncio.create_task(self._bring(artifact, bring))

    async def _bring(self, artifact: str, bring: Bring) -> None:
        try:
            await asyncio.to_thread(bring, artifact, lambda: self._leaving)
        except (CausewayError, OSError) as error:
            # The job fetches it when it is placed, and then the problem is the job's.
            log.info("%s was not fetched ahead: %s", artifact, error)

    async def _tell(
        self, tell: Tell, links: Mapping[str, tuple[float, int]]
    ) -> ContentReply | None:
        """Tell the centre; return its answer, or None where it is to be told again."""
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
            reply = msgspec.json.decode(said, type=ContentReply)
        except NotFound:
            # A centre of before this: all content goes by way of it, as ever.
            self._older = True
            return ContentReply(key="")
        except (Unavailable, Unauthenticated):
            # The line's own syncs meet the same trouble, and say so; this is told after it.
            return None
        except (CausewayError, msgspec.MsgspecError) as error:
            log.warning("what this island could share was not taken: %s", error)
            return ContentReply(key="")
        self._older = False
        if self.gate is not None:
            self.gate.trust(reply.key)
        return reply
