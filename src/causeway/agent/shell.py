"""The shell of an agent: it carries time, the wire and the engine to the core, and back.

Loops, all on one asyncio loop; whatever blocks runs in threads:

    hold    syncs one after another; the centre holds each until it has news or `hold_ms` passed
    news    a second sync, at once, when something happened here that the centre waits for
    engine  polls the engine: often while attempts run, once a second otherwise
    watch   reads progress, checkpoints and logs of running attempts
    weigh   measures the bandwidth to the centre now and then, when idle
    share   gives other islands content that is here, where the owner wants that

Nothing here decides anything about attempts; that is `core`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from causeway.agent.attempt import AgentJournal
from causeway.agent.calls import Calls, Island
from causeway.agent.centre import Centre
from causeway.agent.core import AgentCore
from causeway.agent.environment import attempt_folder
from causeway.agent.folders import remove_strays
from causeway.agent.hands import Hands, Tools
from causeway.agent.health import Gauges
from causeway.agent.identity import load_identity, lock_root, save_identity
from causeway.agent.journal import JournalFile
from causeway.agent.line import Backoff, Line
from causeway.agent.peers import Sharing
from causeway.agent.probes import Prober
from causeway.agent.seen import load_inventory, save_inventory
from causeway.model.errors import (
    CausewayError,
    Conflict,
    InvalidInput,
    Unavailable,
)
from causeway.model.islands import Inventory, Profile
from causeway.ports import Chance, Clock
from causeway.ports.artifacts import Transfer
from causeway.ports.engine import Engine

T = TypeVar("T")
TransferFactory = Callable[[Sequence[str], Callable[[], str], Callable[[bytes], str]], Transfer]
"""(addresses, token provider, signer) -> a transfer for one thread."""
log = logging.getLogger("causeway.agent")

POLL_S = 0.1
"""When the engine itself says that something changed."""
POLL_S_IDLE = 1.0
WATCH_S = 0.1
THOROUGH_EVERY = 3
NEWS_IN_FLIGHT_MAX = 4
NEWS_GAP_S = 0.02
LEAVE_GRACE_MS = 5_000
LEAVE_S = 20.0
LEAVE_LOOK_S = 0.05
PROBE_S_FIRST = 1.0
PROBE_S = 300.0
PROBE_S_OUTSIDE = 15.0
"""Of an engine that goes on without the agent: nodes of a cluster come and go."""
LOG_TIMEOUT_S = 3.0
WEIGH_BYTES = 512 * 1024
WEIGH_S_FIRST = 3.0
WEIGH_S_BUSY = 30.0
WEIGH_S = 3_600.0
THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What an agent is made from."""

    root: Path
    urls: tuple[str, ...]
    profile: Profile
    join_token: str
    engine: Engine
    transfer_factory: TransferFactory
    clock: Clock
    chance: Chance
    sharing: Sharing | None = None


async def run_agent(
    *,
    root: Path,
    urls: list[str],
    profile: Profile,
    join_token: str | None,
    engine: Engine,
    transfer_factory: TransferFactory,
    clock: Clock,
    chance: Chance,
    sharing: Sharing | None = None,
) -> None:
    """Run an agent until SIGTERM or SIGINT (it then leaves cleanly) or an error that ends it.

    The engine is closed at the end, whatever the end is.
    """
    setup = Setup(
        root=_absolute(root),
        urls=tuple(urls),
        profile=profile,
        join_token=join_token or "",
        engine=engine,
        transfer_factory=transfer_factory,
        clock=clock,
        chance=chance,
        sharing=sharing,
    )
    lock = lock_root(setup.root)
    agent = Agent(setup)
    try:
        engine.on_change(agent.poke_from_thread)
        await agent.run()
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        await asyncio.to_thread(engine.close)
        os.close(lock)


class Agent:
    """One running agent."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.centre = Centre(setup.urls)
        self.gauges = Gauges(setup.root, setup.clock.monotonic_ms, setup.engine.condition)
        self._inventory: Inventory | None = None
        """As it was kept last."""
        self.prober = Prober(setup.profile.probe_address, self.gauges, setup.chance)
        self.leave = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="agent")
        self._poke = asyncio.Event()
        self._news = asyncio.Event()
        self.line: Line
        self.core: AgentCore
        self.hands: Hands

    def poke_from_thread(self) -> None:
        """Have the engine polled now. Safe to call from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._poke.set)

    async def run(self) -> None:
        """Join, go on from the journal, and serve until asked to leave."""
        self._listen_to_signals()
        try:
            async with asyncio.TaskGroup() as group:
                leaving = group.create_task(self.leave.wait())
                beginning = group.create_task(self._begin(group))
                await asyncio.wait({leaving, beginning}, return_when=asyncio.FIRST_COMPLETED)
                if not beginning.done():
                    beginning.cancel()
                    return
                await beginning
                doing = (
                    self._hold,
                    self._tell_news,
                    self._drive,
                    self._watch,
                    self._probe,
                    self._weigh,
                    self._share,
                )
                loops = [group.create_task(loop()) for loop in (*doing, self.prober.run)]
                await leaving
                await self._wind_down()
                # A sync after the goodbye would make the island live again.
                for task in loops:
                    task.cancel()
                await asyncio.wait(loops)
                await self._say_goodbye()
                self.hands.give_up()
        finally:
            self.centre.close()
            self._threads.shutdown(wait=False, cancel_futures=True)

    # -- beginning ------------------------------------------------------------------------------

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        setup = self.setup
        path = setup.root / "identity.json"
        identity = load_identity(path)
        self.line = line = Line(
            self.centre,
            identity,
            clock=setup.clock,
            chance=setup.chance,
            threads=self._threads,
        )
        joined = await line.insist(
            lambda: self.centre.join(identity, setup.profile, setup.join_token)
        )
        if identity.island not in ("", joined.island):
            raise Conflict(
                f"this agent is {identity.island}, the centre calls it {joined.island}",
                hint="a profile's name cannot change; give the agent a new folder",
            )
        if not identity.island:
            line.identity = replace(identity, island=joined.island)
            save_identity(path, line.identity)
        self.line.granted(joined)
        file = JournalFile(setup.root)
        journal = file.load(joined.island)
        self._wake(file, journal, await self._first_inventory(journal), group)
        log.info("joined as %s", joined.island)

    async def _first_inventory(self, journal: AgentJournal) -> Inventory:
        """Return what is here. An engine outside may be silent for as long as it likes: where
        attempts are held in it, their leases come first, and what was here before has to do."""
        held = self.setup.engine.outlives and bool(journal.attempts)
        kept = load_inventory(self.setup.root) if held else None
        if kept is not None:
            return kept
        return await self.line.insist(self._probed)

    def _probed(self) -> Inventory:
        """Look at the host. Blocks."""
        found = self.setup.engine.probe()
        if self.setup.engine.outlives and found != self._inventory:
            save_inventory(self.setup.root, found)
            self._inventory = found
        return found

    def _wake(
        self,
        file: JournalFile,
        journal: AgentJournal,
        inventory: Inventory,
        group: asyncio.TaskGroup,
    ) -> None:
        setup = self.setup
        core = AgentCore(
            journal,
            profile=setup.profile,
            inventory=inventory,
            root=setup.root,
            base_envs=base_environment() | {"CAUSEWAY_CENTRE": ",".join(setup.urls)},
            outlived=setup.engine.outlives,
        )
        tools = Tools(
            root=setup.root,
            journal=file,
            engine=setup.engine,
            transfer=lambda: setup.transfer_factory(
                setup.urls, lambda: self.line.token, self.line.identity.sign
            ),
            send_log=lambda where, data: self.centre.append_log(where, data, token=self.line.token),
            gauges=self.gauges,
            now_ms=setup.clock.monotonic_ms,
            threads=self._threads,
            spawn=lambda what: group.create_task(self._then_look(what)),
        )
        self.core, self.hands = core, Hands(core, tools)
        self.line.serve(core, self.hands, self.gauges)
        island = Island(
            root=setup.root,
            engine=setup.engine,
            url=lambda: self.centre.url,
            token=lambda: self.line.token,
            spawn=group.create_task,
            tls=self.centre.tls,
        )
        self.line.on_calls = Calls(island).take
        kept = [attempt_folder(setup.root, *key) for key in core.attempts]
        remove_strays(setup.root, kept)
        self.hands.do(core.on_engine(setup.engine.poll(), setup.clock.monotonic_ms()))

    async def _then_look(self, what: Coroutine[Any, Any, None]) -> None:
        await what
        self._after()

    def _after(self) -> None:
        """Something may have changed: let the loops that wait for it see."""
        self._poke.set()
        if self.line.has_news:
            self._news.set()

    # -- the loops ------------------------------------------------------------------------------

    async def _hold(self) -> None:
        backoff, heard = Backoff(self.setup.chance), True
        while True:
            try:
                if await self.line.exchange():
                    self._after()
                    backoff.reset()
                    if not heard:
                        log.info("the centre answers again")
                    heard = True
                    continue
            except (Unavailable, InvalidInput) as error:
                heard = False
                log.warning("%s", error.message)
            await asyncio.sleep(backoff.next_s())

    async def _tell_news(self) -> None:
        allowed = asyncio.Semaphore(NEWS_IN_FLIGHT_MAX)

        async def tell() -> None:
            try:
                await self.line.exchange()
                self._after()
            except (Unavailable, InvalidInput):
                # The holding loop meets the same trouble, says so and tries again: a report is
                # always the whole present, so nothing is lost with this one.
                pass
            finally:
                allowed.release()

        async with asyncio.TaskGroup() as group:
            while True:
                await self._news.wait()
                await allowed.acquire()
                self._news.clear()
                if not self.line.has_news:
                    allowed.release()
                    continue
                # Marked here already, so that the next news is told apart from this one.
                self.line.told = self.core.news
                group.create_task(tell())
                # The first news goes at once; what happens within a moment of it goes together in
                # the next exchange: with many short jobs that is one for a dozen of them.
                await asyncio.sleep(NEWS_GAP_S)

    async def _in_thread(self, action: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._threads, action)

    # -- the island -----------------------------------------------------------------------------

    async def _drive(self) -> None:
        clock, engine = self.setup.clock, self.setup.engine
        while True:
            now_ms = clock.monotonic_ms()
            self.hands.do(self.core.on_time(now_ms))
            statuses = engine.poll()
            self.gauges.polled(statuses, now_ms)
            self.hands.do(self.core.on_engine(statuses, clock.monotonic_ms()))
            if self.line.has_news:
                self._news.set()
            self._poke.clear()
            wait_s = POLL_S if self.core.busy else POLL_S_IDLE
            next_ms = self.core.next_ms()
            if next_ms is not None:
                wait_s = min(wait_s, max(0, next_ms - clock.monotonic_ms()) / 1000)
            # Not `wait_for`: in Python 3.11 it can swallow a cancellation that comes with the poke.
            try:
                async with asyncio.timeout(wait_s):
                    await self._poke.wait()
            except TimeoutError:
                pass

    async def _watch(self) -> None:
        turn = 0
        while True:
            if not self.core.busy:
                await asyncio.sleep(WATCH_S * THOROUGH_EVERY)
            turn += 1
            self.hands.watch(thoroughly=turn % THOROUGH_EVERY == 0)
            if self.line.has_news:
                self._news.set()
            await asyncio.sleep(WATCH_S)

    async def _probe(self) -> None:
        """Look at the host again: soon after the start, when what takes long to get ready (a warm
        environment) has become so, and ever more rarely after that. What an engine was before it
        fell silent stays; that it is silent is told with its condition."""
        most_s = PROBE_S_OUTSIDE if self.setup.engine.outlives else PROBE_S
        wait_s = PROBE_S_FIRST
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, most_s)
            try:
                self.core.on_inventory(await self._in_thread(self._probed))
            except Unavailable as error:
                log.warning("%s", error.message)

    async def _weigh(self) -> None:
        """Measure the bandwidth to the centre where no transfer has shown it for an hour."""
        chance = self.setup.chance
        wait_s = WEIGH_S_FIRST
        while True:
            # At different moments, so that islands that start together do not share one wire.
            await asyncio.sleep(wait_s * (1 + chance.bits(16) / 2**16))
            wait_s = WEIGH_S_BUSY if self.core.busy else WEIGH_S
            if self.core.busy or not self.gauges.bandwidth_is_due(int(WEIGH_S * 1000)):
                continue
            data = chance.bits(8 * WEIGH_BYTES).to_bytes(WEIGH_BYTES)
            try:
                took_s = await self._in_thread(
                    partial(self.centre.echo_s, data, token=self.line.token)
                )
            except CausewayError as error:
                # An older centre has no such door; then only transfers tell.
                log.info("the bandwidth to the centre was not measured: %s", error.message)
                continue
            self.gauges.echoed(WEIGH_BYTES, took_s)

    async def _share(self) -> None:
        """Give other islands what the owner lets them have."""
        if self.setup.sharing is None:
            return
        path = "/v1/agent/content"
        await self.setup.sharing.run(
            self.line.identity.island,
            session=lambda: self.line.token,
            tell=lambda body: self.centre.request(path, body, token=self.line.token)[1],
            links=self.gauges.links,
            bring=self._bring,
        )

    def _bring(self, artifact: str, stop: Callable[[], bool]) -> None:
        """Fetch an artefact ahead, in a thread."""
        self.gauges.moved(self.hands.tools.transfer().bring(artifact, stop=stop))

    async def _wind_down(self) -> None:
        """End what runs, with time to save, until everything is told or time is up."""
        log.info("leaving")
        self.hands.do(self.core.leave(grace_ms=LEAVE_GRACE_MS))
        self._after()
        for _ in range(int(LEAVE_S / LEAVE_LOOK_S)):
            if not self.core.attempts:
                break
            await asyncio.sleep(LEAVE_LOOK_S)

    async def _say_goodbye(self) -> None:
        try:
            await self.line.exchange(leaving=True)
        except CausewayError as error:
            log.warning("left without a goodbye: %s", error.message)
        else:
            log.info("left")

    def _listen_to_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self.leave.set)


def _absolute(path: Path) -> Path:
    """Return the path as jobs will see it, whatever their working folder is."""
    return path.absolute()


def base_environment() -> dict[str, str]:
    """Return what every job finds: system folders, with this agent's interpreter first."""
    interpreter = Path(sys.executable).parent
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": f"{interpreter}:{system}", "LANG": "C.UTF-8"}


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error that tells something: ours before any other."""
    flat = [_first(e) if isinstance(e, BaseExceptionGroup) else e for e in group.exceptions]
    return next((error for error in flat if isinstance(error, CausewayError)), flat[0])
