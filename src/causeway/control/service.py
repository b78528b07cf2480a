"""The plane in a thread of its own, with an asynchronous face for the doors.

Requests that arrive while a transaction is being made durable are put together into the next one
(group commit), so throughput grows with load while each request waits for at most two commits.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeVar

from causeway.control.plane import Command, Plane
from causeway.control.state import State
from causeway.model.errors import CausewayError, Unavailable

T = TypeVar("T")
log = logging.getLogger("causeway")
GROUP_MAX = 512
"""Commands in one transaction."""
INBOX_MAX = 50_000
"""Requests that wait for the plane; more are refused with `Unavailable`."""
DEFECTS_TOLD_MAX = 100
"""Tracebacks of failed ticks in the log of one process."""
FOLLOW_MS = 500
"""How often a follower looks whether it may lead."""


class Service:
    """Runs a plane. Start it inside a running event loop."""

    def __init__(self, plane: Plane, on_lead: Command[None] | None = None) -> None:
        self.plane = plane
        self._on_lead = on_lead
        self._inbox: queue.SimpleQueue[tuple[bool, Callable[[Any], Any], Any] | None]
        self._inbox = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="plane", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wakers: dict[str, set[asyncio.Future[bool]]] = {}
        self._told: dict[str, int] = {}
        """Island -> its counter of news, as the event loop heard last."""
        self._changed: set[asyncio.Event] = set()
        self._newest = 0
        self._stopping = False
        self._follows = False
        self.failure: BaseException | None = None
        self.defects = 0
        """Ticks and rounds that raised what they never should."""
        self.on_failure: Callable[[], None] | None = None
        """Called in the event loop when the plane's thread ends by a defect. The process should
        end too: whoever watches it starts a fresh one from the store."""

    async def start(self) -> None:
        """Start the thread; return once the first attempt to lead was made."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Stop the thread after the turn that it is in; what still waits is told so."""
        self._stopping = True
        self._inbox.put(None)
        for event in self._changed:
            event.set()
        await asyncio.to_thread(self._thread.join, 10.0)

    async def run(self, command: Command[T]) -> T:
        """Run a command durably and return its result, or raise its error."""
        return await self._ask(True, command)

    async def read(self, query: Callable[[State], T]) -> T:
        """Look at the state, between transactions."""
        return await self._ask(False, query)

    async def wait_news(self, island: str, seen: int, timeout_s: float) -> bool:
        """Wait until the island's commands may have changed since its counter of news stood at
        `seen`; False when the time was over first.

        A thousand islands wait like this at any time: a future and a timer cost a fraction of what
        a task with `asyncio.wait_for` does.
        """
        if self._told.get(island, seen) > seen:
            return True
        loop = asyncio.get_running_loop()
        news: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(timeout_s, _tell, news, False)
        waiting = self._wakers.setdefault(island, set())
        waiting.add(news)
        try:
            return await news
        finally:
            timer.cancel()
            waiting.discard(news)
            if not waiting and self._wakers.get(island) is waiting:
                del self._wakers[island]

    def wake(self, island: str) -> None:
        """Have the island's held sync answered now. Call it on the service's own loop."""
        for waiting in self._wakers.get(island, ()):
            _tell(waiting, True)

    async def changes(self) -> AsyncGenerator[int, None]:
        """Yield the newest event's number whenever there are new events."""
        seen = -1
        event = asyncio.Event()
        self._changed.add(event)
        try:
            while not self._stopping:
                if self._newest != seen:
                    seen = self._newest
                    yield seen
                event.clear()
                if self._newest == seen:
                    await event.wait()
        finally:
            self._changed.discard(event)

    async def _ask(self, writes: bool, action: Callable[[Any], T]) -> T:
        if self.failure is not None:
            raise Unavailable(f"the control plane stopped: {self.failure}")
        if self._stopping:
            raise Unavailable("the control plane is being stopped", hint="try again in a second")
        if self._inbox.qsize() > INBOX_MAX:
            raise Unavailable("too many requests wait already", hint="try again in a second")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._inbox.put((writes, action, future))
        return await future

    def _work(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except BaseException as error:  # The thread's last word: every waiter must learn of it.
            self.failure = error
            self._fail_all(error)
            if self.on_failure is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(self.on_failure)
            raise
        finally:
            self._fail_all(Unavailable("it is being stopped"))
            self.plane.store.close()

    def _turn(self) -> None:
        plane = self.plane
        if not plane.leading and not self._lead():
            if not self._follows:
                self._follows = True
                log.warning("not leading: another control plane does, or the store is not there")
            self._drain(FOLLOW_MS)
            return
        if self._follows:
            self._follows = False
            log.warning("this control plane leads now")
        self._drain(plane.rest_ms())

    def _lead(self) -> bool:
        try:
            leads = self.plane.lead()
            if leads and self._on_lead is not None:
                for outcome in self.plane.run([self._on_lead]):
                    outcome.get()
        except CausewayError:
            # The store cannot be reached; this process follows until it can. It may lead already,
            # when only the command failed: then it gives that up, so that the command comes first.
            self.plane.epoch = None
            return False
        return leads

    def _drain(self, wait_ms: int) -> None:
        items = []
        try:
            first = self._inbox.get(timeout=wait_ms / 1000)
            items.append(first)
            while len(items) < GROUP_MAX:
                items.append(self._inbox.get_nowait())
        except queue.Empty:
            pass
        commands = [item for item in items if item is not None and item[0]]
        reads = [item for item in items if item is not None and not item[0]]
        done: list[tuple[Any, Any, BaseException | None]] = []
        if commands:
            outcomes = self.plane.run([command for _, command, _ in commands])
            for (_, _, future), outcome in zip(commands, outcomes, strict=True):
                done.append((future, outcome.value, outcome.error))
        done.extend(self._look(query, future) for _, query, future in reads)
        self._publish(done)
        self._advance()

    def _look(
        self, query: Callable[[State], Any], future: Any
    ) -> tuple[Any, Any, BaseException | None]:
        try:
            if not self.plane.leading:
                raise Unavailable("this control plane follows another", hint="try the other one")
            return (future, query(self.plane.state), None)
        except Exception as error:
            # A defect in one question is its asker's to hear of; it must not stop the thread.
            return (future, None, error)

    def _advance(self) -> None:
        plane = self.plane
        if not plane.leading:
            return
        try:
            now_ms = plane.clock.monotonic_ms()
            if now_ms >= self._tick_due_ms:
                self._tick_due_ms = now_ms + plane.settings.tick_ms
                plane.tick()
            else:
                plane.schedule()
        except Unavailable:
            # The plane has loaded its state again (or follows now); the next turn asks anew.
            pass
        except CausewayError as error:
            # A decision that the state does not allow is a defect, and it will come again: it is
            # told, and what people and islands ask goes on.
            self.defects += 1
            if self.defects <= DEFECTS_TOLD_MAX:
                log.error("a tick failed: %s", error, exc_info=error)
        self._publish([])

    _tick_due_ms = 0

    def _publish(self, done: list[tuple[Any, Any, BaseException | None]]) -> None:
        state = self.plane.state
        touched = {island: state.news[island] for island in state.touched}
        newest = self.plane.state.next_event - 1
        if not done and not touched and newest == self._newest:
            return
        state.touched = set()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._resolve, done, touched, newest)

    def _resolve(
        self,
        done: list[tuple[Any, Any, BaseException | None]],
        touched: Mapping[str, int],
        newest: int,
    ) -> None:
        for future, value, error in done:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)
        self._told.update(touched)
        for island in touched:
            for waiting in self._wakers.get(island, ()):
                _tell(waiting, True)
        if newest != self._newest:
            self._newest = newest
            for event in self._changed:
                event.set()

    def _fail_all(self, error: BaseException) -> None:
        done: list[tuple[Any, Any, BaseException | None]] = []
        problem = Unavailable(f"the control plane stopped: {error}")
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                done.append((item[2], None, problem))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._resolve, done, {}, self._newest)


def _tell(waiting: asyncio.Future[bool], news: bool) -> None:
    if not waiting.done():
        waiting.set_result(news)
