"""The agent's line to the centre: one session at a time, and syncs within it.

A session that the centre no longer knows (it restarted, or a newer session exists) is opened again
with the island's key, a bounded number of times a minute: two agents with one identity would take
it from each other for ever, and both end with an error that says so instead.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from causeway.agent.centre import Centre
from causeway.agent.core import AgentCore
from causeway.agent.hands import Hands
from causeway.agent.health import Gauges
from causeway.agent.identity import Identity
from causeway.model.errors import CausewayError, Conflict, Unauthenticated, Unavailable
from causeway.model.islands import Health
from causeway.model.protocol import CallCommand, JoinReply, SessionReply
from causeway.ports import Chance, Clock

T = TypeVar("T")
log = logging.getLogger("causeway.agent")
HEALTH_MS = 5_000
BACKOFF_S = 0.05
BACKOFF_S_MAX = 1.0
SESSIONS_MAX = 20
SESSIONS_MS = 60_000
OVERTAKEN_MAX = 3


class Backoff:
    """Waits that double up to a bound, each with jitter so that islands do not march in step."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._tries = 0

    def next_s(self) -> float:
        """Return how long to wait before the next try."""
        wait_s: float = min(BACKOFF_S_MAX, BACKOFF_S * 2.0 ** min(self._tries, 10))
        self._tries += 1
        return wait_s * (0.5 + self._chance.bits(16) / 2**17)

    def reset(self) -> None:
        """It worked: begin anew."""
        self._tries = 0


class Line:
    """Everything that an agent says to its centre, logs and content apart."""

    def __init__(
        self, centre: Centre, identity: Identity, *, clock: Clock, chance: Chance, threads: Executor
    ) -> None:
        self.identity = identity
        self.token = ""
        """Of the present session."""
        self.told = -1
        """Which news the newest sync carried."""
        self.core: AgentCore
        self.hands: Hands
        self.on_calls: Callable[[Sequence[CallCommand]], None] = lambda calls: None
        self._gauges: Gauges
        self._centre = centre
        self._clock = clock
        self._chance = chance
        self._threads = threads
        self._session = 0
        self._opening = asyncio.Lock()
        self._opened_ms: list[int] = []
        self._timeout_s = 10.0
        self._newest_seq = 0
        self._overtaken = 0
        self._health_ms = -HEALTH_MS
        self._problems: tuple[str, ...] = ()
        """As they were told last."""

    def serve(self, core: AgentCore, hands: Hands, gauges: Gauges) -> None:
        """From now on, speak for this core."""
        self.core, self.hands, self._gauges = core, hands, gauges

    @property
    def has_news(self) -> bool:
        """Whether something happened that no sync has carried yet."""
        return self.core.news != self.told

    async def exchange(self, *, leaving: bool = False) -> bool:
        """One sync. Say whether it was answered; raise `Unavailable` when it could not be sent."""
        token, session = await self._in_session()
        self.hands.write_journal()
        now_ms = self._clock.monotonic_ms()
        self.told = self.core.news
        request = self.core.sync_request(now_ms, health=self._health(now_ms), leaving=leaving)
        self._newest_seq = request.seq
        sync = functools.partial(self._centre.sync, request, token=token, timeout_s=self._timeout_s)
        try:
            synced = await self._in_thread(sync)
        except Unauthenticated:
            self.core.on_lost(request.seq)
            if self._session == session:
                self._session = 0
            return False
        except Conflict as error:
            self.core.on_lost(request.seq)
            self._count_overtaken(request.seq, error)
            return False
        except CausewayError:
            self.core.on_lost(request.seq)
            raise
        if self._session == session:
            self._overtaken = 0
            self._gauges.exchanged(synced.rtt_ms)
            after_ms = self._clock.monotonic_ms()
            self.hands.do(self.core.on_reply(synced.reply, now_ms, now_ms=after_ms))
            if request.health is not None:
                self._gauges.told(synced.reply.probes)
            if synced.reply.calls:
                self.on_calls(synced.reply.calls)
        return True

    def _count_overtaken(self, seq: int, error: Conflict) -> None:
        """Our own later sync may overtake this one; another agent's may not."""
        if seq != self._newest_seq:
            return
        self._overtaken += 1
        if self._overtaken >= OVERTAKEN_MAX:
            raise Conflict(
                f"another agent speaks for {self.identity.island}: {error.message}",
                hint="stop the other agent, or give this one its own folder and name",
            )

    async def _in_session(self) -> tuple[str, int]:
        async with self._opening:
            if not self._session:
                now_ms = self._clock.monotonic_ms()
                recent = [at for at in self._opened_ms if now_ms - at < SESSIONS_MS]
                if len(recent) >= SESSIONS_MAX:
                    raise Conflict(
                        f"{self.identity.island} lost its session {len(recent)} times within a "
                        "minute: another agent has the same identity",
                        hint="stop the other agent, or give this one its own folder and name",
                    )
                self._opened_ms = [*recent, now_ms]
                opened = await self._in_thread(
                    functools.partial(
                        self._centre.open_session,
                        self.identity,
                        at_ms=self._clock.now_ms(),
                        nonce=f"{self._chance.bits(128):032x}",
                    )
                )
                self.granted(opened)
                self.token, self._session = opened.token, opened.session
                self._overtaken = 0
                self.core.on_session()
            return self.token, self._session

    def granted(self, terms: JoinReply | SessionReply) -> None:
        # A sync that gets lost must leave time for another one within the same lease.
        self._timeout_s = max(terms.hold_ms + 1_000, (terms.hold_ms + terms.lease_ms) // 2) / 1000

    def _health(self, now_ms: int) -> Health | None:
        """Return what is told of the island now and then, and at once when a trouble comes or goes:
        what its engine does not take must not be sent there again meanwhile."""
        problems = self._gauges.problems
        if now_ms - self._health_ms < HEALTH_MS and problems == self._problems:
            return None
        self._health_ms, self._problems = now_ms, problems
        return self._gauges.read()

    async def insist(self, ask: Callable[[], T]) -> T:
        """Ask until the centre can be reached; what it refuses is raised."""
        backoff = Backoff(self._chance)
        while True:
            try:
                return await self._in_thread(ask)
            except Unavailable as error:
                log.warning("%s", error.message)
                await asyncio.sleep(backoff.next_s())

    async def _in_thread(self, action: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, action)
