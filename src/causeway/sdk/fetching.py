"""Fetching chunks from several sources at once, over several connections each.

Every source is served by lanes; a lane is one connection that asks for pieces until nothing is left
(`fetching_work` says which, `fetching_line` asks). A lane that fails gives its pieces back, waits,
and dials again; a source whose lanes have all given up, or that sends what is not what its name
says, is dropped with its reason. When no source that is asked has anything left to give, the next
one that stands by is asked: the centre, last of all, whose refusal ends the fetch.

Every chunk is checked by whoever keeps it (`keep`), off the loop. Memory is bounded by the window
of `fetching_work` and a piece for each lane. `fetch` blocks, runs a loop of its own in a thread of
its own, and may therefore be called from anywhere, a notebook's running loop included.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from causeway.model.errors import CausewayError, InvalidInput, NotFound, Unavailable
from causeway.move import CENTRE, lanes_for
from causeway.ports.artifacts import Share
from causeway.sdk.fetching_line import Address, Broken, Line, Refusal, dial
from causeway.sdk.fetching_work import Part, Piece, Tally, Work
from causeway.sdk.wire import PASSING, TRIES, pause_s, stopped

Keep = Callable[[str, bytes | bytearray], None]
"""Checks a chunk and writes it; `InvalidInput` when it is not what its name says."""
DEPTH = 2
"""Requests on their way on one connection."""
IDLE_S = 0.05
WATCH_S = 0.1
STALL_S = 20.0
"""Without one more piece: then who stands by is asked too."""


class Rebuffed(Broken):
    """The source is busy, or does not know us for the moment."""

    def __init__(self, problem: CausewayError) -> None:
        super().__init__(problem.message)
        self.problem = problem


_PASSING = (OSError, EOFError, TimeoutError, Broken)
"""What may be over at the next try."""


@dataclass(slots=True, kw_only=True, eq=False)
class Source:
    """Who is asked, and how it goes."""

    name: str
    """Island, or `CENTRE`."""
    address: Address
    used: bool = True
    """Asked from the start; else it stands by."""
    tries: int = TRIES
    """How often a lane dials in vain before it gives up."""
    rtt_ms: float = 0.0
    """0: the first connection shows it."""
    ranges: bool | None = None
    """Whether it gives ranges of chunks; None: its first answer shows it."""
    problem: CausewayError | None = None
    """Why it was dropped, or what a lane met last."""
    dropped: bool = False
    tally: Tally = field(init=False)
    lanes: int = 0
    """Connections that are open or being made."""
    turn: int = 0
    """Which of its addresses is dialled next."""

    def __post_init__(self) -> None:
        self.tally = Tally(name=self.name, ranges=self.ranges)

    def share(self) -> Share:
        """Return what it delivered, and how fast."""
        tally = self.tally
        return Share(
            source=self.name,
            bytes=tally.bytes,
            seconds=max(0.0, tally.last_s - tally.began_s),
            problem=self.problem.message if self.dropped and self.problem else "",
        )


def fetch(
    sources: Sequence[Source],
    sizes: Mapping[str, int],
    keep: Keep,
    *,
    stop: Callable[[], bool],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> tuple[Share, ...]:
    """Fetch the chunks and hand each to `keep`, which checks and writes it. Blocking.

    Return what each source delivered. The first problem of the last resort is raised; `Unavailable`
    when `stop` says so.
    """
    ended = False

    def wound_up() -> bool:
        return ended or stop()

    job = Fetch(sources, sizes, keep, stop=wound_up, pause=pause)
    with ThreadPoolExecutor(1, thread_name_prefix="causeway-fetch") as thread:
        try:
            thread.submit(lambda: asyncio.run(job.run())).result()
        except BaseException:
            ended = True
            raise
    return tuple(source.share() for source in sources if source.tally.bytes or source.dropped)


class Fetch:
    """One fetch under way."""

    def __init__(
        self,
        sources: Sequence[Source],
        sizes: Mapping[str, int],
        keep: Keep,
        *,
        stop: Callable[[], bool],
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._waiting = deque(sorted(sources, key=lambda source: not source.used))
        self._asked: list[Source] = []
        self._sizes = sizes
        self._work = Work(sizes)
        self._keep = keep
        self._stop = stop
        self._pause = pause
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        self._look = asyncio.Event()
        """Something ended, well or not."""

    async def run(self) -> None:
        """Fetch everything, or raise."""
        try:
            while self._waiting and self._waiting[0].used:
                self._begin(self._waiting.popleft())
            while not self._work.done:
                self._look.clear()
                self._go_on()
                try:
                    async with asyncio.timeout(WATCH_S):
                        await self._look.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _go_on(self) -> None:
        """Raise what ended the fetch; ask who stands by when those that are asked cannot do it."""
        if self._failure is not None:
            raise self._failure
        if self._stop():
            raise stopped()
        serving = any(not source.dropped for source in self._asked)
        came_s = max((source.tally.last_s for source in self._asked), default=0.0)
        stalled = time.monotonic() - came_s > STALL_S
        if (stalled or not serving) and self._waiting:
            self._begin(self._waiting.popleft())
        elif not serving:
            last = self._asked[-1].problem if self._asked else None
            raise last or Unavailable("nobody is known who holds the content")

    def _begin(self, source: Source) -> None:
        self._asked.append(source)
        source.tally.began_s = source.tally.last_s = time.monotonic()
        self._work.join(source.tally)
        self._add_lanes(source, 1)

    def _add_lanes(self, source: Source, count: int) -> None:
        for _ in range(count):
            source.lanes += 1
            self._spawn(self._lane(source))

    def _spawn(self, what: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._look.set()

    def _drop(self, source: Source, problem: CausewayError) -> None:
        if not source.dropped:
            source.dropped = True
            source.problem = problem
            self._work.drop(source.tally)
            self._look.set()

    # -- one connection -------------------------------------------------------------------------

    async def _lane(self, source: Source) -> None:
        tried = 0
        while tried < source.tries and not source.dropped and self._work.can_give(source.tally):
            if tried:
                await self._pause(pause_s(tried))
            before = source.tally.bytes
            try:
                await self._connected(source)
            except _PASSING as error:
                source.turn += 1
                source.problem = _reached_not(source, error)
                # Any lane's success shows that the source is well: try on.
                tried = 1 if source.tally.bytes > before else tried + 1
        source.lanes -= 1
        if not source.lanes and not self._work.done:
            lacking = NotFound(f"it lacks {len(source.tally.lacks)} of the chunks")
            self._drop(source, source.problem if tried and source.problem else lacking)

    async def _connected(self, source: Source) -> None:
        """Dial, and serve until nothing is left; raise what ended the connection early."""
        line = await dial(source.address, source.turn)
        try:
            if not source.rtt_ms:
                source.rtt_ms = line.rtt_ms
                enough = -(-self._work.pieces() // DEPTH)
                self._add_lanes(source, min(lanes_for(line.rtt_ms), enough) - 1)
            await self._serve(source, line)
        finally:
            line.close()

    async def _serve(self, source: Source, line: Line) -> None:
        pending: deque[Piece] = deque()
        try:
            while not line.closing and not source.dropped:
                while len(pending) < DEPTH:
                    piece = self._work.take(source.tally, time.monotonic())
                    if piece is None:
                        break
                    line.ask(piece.part.chunk, piece, piece.part.size)
                    pending.append(piece)
                if pending:
                    await self._take_answer(source, line, pending)
                elif not self._work.can_give(source.tally):
                    return
                else:
                    await asyncio.sleep(IDLE_S)
        finally:
            for piece in pending:
                self._work.unasked(piece)

    async def _take_answer(self, source: Source, line: Line, pending: deque[Piece]) -> None:
        piece = pending[0]
        try:
            data = await line.answer(piece, piece.part.size)
        except Refusal as refusal:
            if refusal.status in PASSING or refusal.status == 401:
                # A session that was just opened anew has another token.
                raise Rebuffed(refusal.problem) from refusal
            pending.popleft()
            if refusal.status == 404 and source.name != CENTRE:
                self._work.lacks(piece.part)
            else:
                self._drop(source, refusal.problem)
            return
        pending.popleft()
        whole = self._work.arrived(piece, data, time.monotonic())
        if whole is not None:
            self._spawn(self._settle(source, whole))

    async def _settle(self, source: Source, part: Part) -> None:
        """Have a chunk checked and written."""
        try:
            await asyncio.to_thread(self._keep, part.chunk, part.buffer)
        except InvalidInput as lie:
            if source.name == CENTRE:
                raise
            self._drop(source, lie)
            self._work.wanted_again(part.chunk)
            return
        self._work.kept(part.chunk)
        if self._work.done:
            self._look.set()


def _reached_not(source: Source, error: Exception) -> CausewayError:
    if isinstance(error, Rebuffed):
        return error.problem
    urls = source.address.urls
    return Unavailable(
        f"cannot reach {urls[(source.turn - 1) % len(urls)]}: {error or type(error).__name__}",
        hint="check the address and that it is up",
    )
