"""Carries out what the core decides: engine, folders, transfers, logs.

Everything that is quick is done at once, in order, on the agent's one loop. Whatever waits for a
disk or a wire runs in a thread, and comes back to the core as a stimulus. What goes wrong with one
attempt's files or transfers becomes that attempt's `Problem`; it never stops the loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from causeway.agent.attempt import Key, Stage
from causeway.agent.core import AgentCore
from causeway.agent.folders import AttemptFolder, remove_all
from causeway.agent.health import Gauges
from causeway.agent.instructions import (
    CancelStage,
    Forget,
    Grant,
    Instruction,
    LastLook,
    Problem,
    Stop,
    UploadCheckpoint,
    UploadOutputs,
    Wipe,
    WriteJournal,
)
from causeway.agent.instructions import Stage as StageInputs
from causeway.agent.journal import JournalFile
from causeway.agent.streams import LogStreams
from causeway.agent.wiping import wipe
from causeway.model.errors import (
    CausewayError,
    Conflict,
    InvalidInput,
    NotFound,
    StaleFence,
    Unauthenticated,
    Unavailable,
)
from causeway.model.jobs import FailureClass
from causeway.model.protocol import CheckpointReport, StartCommand, Wiped
from causeway.ports.artifacts import Transfer
from causeway.ports.engine import Engine, Launch

T = TypeVar("T")
log = logging.getLogger("causeway.agent")
READS_MAX = 64
"""Pieces of a progress file that are read at a last look."""
LogSender = Callable[[Mapping[str, str | int], bytes], int]


@dataclass(slots=True, kw_only=True)
class Work:
    """What the shell keeps of one attempt while it is held."""

    folder: AttemptFolder
    logs: LogStreams
    given_up: threading.Event = field(default_factory=threading.Event)
    """Set when whatever is under way for it is in vain."""
    found_step: int = -1
    told: bool = False
    """The centre has all that it wrote; nothing of it writes any more."""
    pushing: asyncio.Task[None] | None = None
    running: set[asyncio.Task[None]] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the hands work with."""

    root: Path
    journal: JournalFile
    engine: Engine
    transfer: Callable[[], Transfer]
    """Makes one for each use: a transfer serves one thread at a time."""
    send_log: LogSender
    gauges: Gauges
    now_ms: Callable[[], int]
    """Monotonic."""
    threads: Executor
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Hands:
    """One core's hands."""

    def __init__(self, core: AgentCore, tools: Tools) -> None:
        self.core = core
        self.tools = tools
        self.works: dict[Key, Work] = {}
        self._queue: deque[Instruction] = deque()
        self._busy = False
        self._written = -1
        self._launches: list[Launch] = []
        """Asked for, and not handed to the engine yet: one record of the journal serves all."""
        self._leftovers: list[AttemptFolder] = []
        """Folders to be removed; one thread at a time takes all that there are."""
        self._sweeping = False
        for job, fence in core.attempts:
            self._work(job, fence)

    def do(self, instructions: Iterable[Instruction]) -> None:
        """Carry the instructions out, and those that follow from them, in order."""
        self._queue.extend(instructions)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue or self._launches:
                if self._queue:
                    self._one(self._queue.popleft())
                else:
                    self._launch()
        finally:
            self._busy = False

    def write_journal(self) -> None:
        """Make the journal durable, unless this very one already is."""
        revision = self.core.revision
        if revision == self._written:
            return
        try:
            self.tools.journal.write(self.core.journal())
        except OSError as error:
            raise Unavailable(
                f"the agent's journal cannot be written: {error}",
                hint=f"see whether the disk of {self.tools.root} is full or read-only",
            ) from error
        self._written = revision

    def watch(self, *, thoroughly: bool) -> None:
        """Look at what running jobs have written: progress always, the rest when thorough."""
        for key, work in list(self.works.items()):
            held = self.core.attempts.get(key)
            if held is None or held.stage is not Stage.ENGINE:
                continue
            self._read_progress(key, work)
            if thoroughly:
                self._find_checkpoint(key, work)
                if work.logs.behind():
                    self._begin_push(key, work)

    def give_up(self) -> None:
        """Call off everything that is under way."""
        for work in self.works.values():
            work.given_up.set()

    # -- instructions ---------------------------------------------------------------------------

    def _one(self, instruction: Instruction) -> None:
        engine = self.tools.engine
        match instruction:
            case WriteJournal():
                # Written at the latest before a launch and before a sync, several in one go.
                pass
            case Launch():
                self._launches.append(instruction)
            case Stop(job=job, fence=fence, grace_ms=grace_ms):
                self._launch()
                engine.stop(job, fence, grace_ms=grace_ms)
            case Grant(until_ms=until_ms):
                engine.grant(until_ms)
            case StageInputs(start=start):
                self._stage(start)
            case CancelStage(job=job, fence=fence):
                self._work(job, fence).given_up.set()
            case LastLook(job=job, fence=fence):
                work = self._work(job, fence)
                self._spawn(work, self._last_look((job, fence), work))
            case UploadCheckpoint(job=job, fence=fence, step=step):
                work = self._work(job, fence)
                self._spawn(work, self._upload_checkpoint((job, fence), work, step))
            case UploadOutputs(job=job, fence=fence, paths=paths):
                work = self._work(job, fence)
                self._spawn(work, self._upload_outputs((job, fence), work, paths))
            case Wipe(job=job, fence=fence):
                work = self._work(job, fence)
                self._spawn(work, self._wipe((job, fence), work))
            case Forget(job=job, fence=fence):
                self._launch()
                engine.forget(job, fence)
                work = self._work(job, fence)
                del self.works[(job, fence)]
                work.given_up.set()
                self.tools.spawn(self._clear_away((job, fence), work))

    def _launch(self) -> None:
        """Hand over what is to be started, once it is in the journal."""
        if self._launches:
            self.write_journal()
            launches, self._launches = self._launches, []
            for launch in launches:
                self.tools.engine.start(launch)
                log.info("%s attempt %d starts", launch.job, launch.fence)

    def _work(self, job: str, fence: int) -> Work:
        work = self.works.get((job, fence))
        if work is None:
            folder = AttemptFolder(self.tools.root, job, fence)
            work = Work(folder=folder, logs=LogStreams(folder.path / "logs"))
            self.works[(job, fence)] = work
        return work

    def _spawn(self, work: Work, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.tools.spawn(what)
        work.running.add(task)
        task.add_done_callback(work.running.discard)
        return task

    def _stage(self, start: StartCommand) -> None:
        job, fence = start.job, start.fence
        work = self._work(job, fence)
        try:
            work.folder.make()
        except OSError as error:
            problem = problem_of(error)
            self.do(self.core.on_staged(job, fence, now_ms=self._now(), problem=problem))
            return
        if start.spec.workdir or start.spec.inputs or start.resume:
            self._spawn(work, self._fetch(work, start))
        else:
            self.do(self.core.on_staged(job, fence, now_ms=self._now()))

    async def _fetch(self, work: Work, start: StartCommand) -> None:
        transfer = self.tools.transfer()
        moved = await self._try(
            lambda: work.folder.stage(start, transfer, stop=work.given_up.is_set)
        )
        problem = moved if isinstance(moved, Problem) else None
        for one in moved if not isinstance(moved, Problem) else ():
            self.tools.gauges.moved(one)
        self.do(self.core.on_staged(start.job, start.fence, now_ms=self._now(), problem=problem))

    async def _upload_checkpoint(self, key: Key, work: Work, step: int) -> None:
        transfer = self.tools.transfer()
        sent = await self._try(
            lambda: work.folder.push_checkpoint(step, transfer, stop=work.given_up.is_set)
        )
        outcome: CheckpointReport | Problem
        if isinstance(sent, Problem):
            outcome = sent
        else:
            outcome, moved = sent
            self.tools.gauges.moved(moved)
        self.do(self.core.on_checkpoint(*key, outcome, now_ms=self._now()))

    async def _upload_outputs(self, key: Key, work: Work, paths: tuple[str, ...]) -> None:
        transfer = self.tools.transfer()
        outcome = await self._try(
            lambda: work.folder.push_outputs(paths, transfer, stop=work.given_up.is_set)
        )
        self.do(self.core.on_outputs(*key, outcome, now_ms=self._now()))

    async def _last_look(self, key: Key, work: Work) -> None:
        for _ in range(READS_MAX):
            if not self._read_progress(key, work):
                break
        self._find_checkpoint(key, work)
        work.told = await self._flush_logs(key, work)
        self.do(self.core.on_looked(*key, now_ms=self._now()))

    async def _wipe(self, key: Key, work: Work) -> None:
        if work.pushing is not None and not work.pushing.done():
            await asyncio.wait([work.pushing])
        outcome = await self._try(lambda: wipe(work.folder.path, *key))
        if isinstance(outcome, Problem):
            outcome = Wiped(files=0, bytes=0, processes=0, left=(outcome.message,))
        for sentence in outcome.left:
            log.warning("%s attempt %d is not wiped: %s", *key, sentence)
        self.do(self.core.on_wiped(*key, outcome, now_ms=self._now()))

    async def _clear_away(self, key: Key, work: Work) -> None:
        if work.running:
            await asyncio.wait(work.running)
        if not work.told:
            await self._flush_logs(key, work)
        log.info("%s attempt %d is over, and told", *key)
        self._leftovers.append(work.folder)
        if not self._sweeping:
            await self._sweep()

    async def _sweep(self) -> None:
        """Remove folders until none is left; those that come meanwhile go together."""
        self._sweeping = True
        try:
            while self._leftovers:
                folders, self._leftovers = self._leftovers, []
                await asyncio.get_running_loop().run_in_executor(
                    self.tools.threads, remove_all, folders
                )
        finally:
            self._sweeping = False

    # -- what jobs write ------------------------------------------------------------------------

    def _read_progress(self, key: Key, work: Work) -> bool:
        try:
            lines = work.folder.new_progress()
        except OSError:
            # The file is the job's own; one that cannot be read is a curve that is not drawn.
            return False
        if lines:
            self.do(self.core.on_progress(*key, lines, now_ms=self._now()))
        return bool(lines)

    def _find_checkpoint(self, key: Key, work: Work) -> None:
        try:
            step = work.folder.newest_checkpoint()
        except OSError:
            # The folder is the job's own; what cannot be read is no checkpoint.
            return
        if step > work.found_step:
            work.found_step = step
            self.do(self.core.on_checkpoint_found(*key, step, now_ms=self._now()))

    def _begin_push(self, key: Key, work: Work) -> None:
        if work.pushing is None or work.pushing.done():
            work.pushing = self._spawn(work, self._push_logs(key, work))

    async def _flush_logs(self, key: Key, work: Work) -> bool:
        """Send what is left; say whether the centre has all of it. One failure ends it: an end is
        told without the last lines rather than not at all; they are tried once more when the
        attempt is released."""
        if work.pushing is not None and not work.pushing.done():
            await asyncio.wait([work.pushing])
        if not work.logs.behind():
            return True
        await self._push_logs(key, work)
        return not work.logs.behind()

    async def _push_logs(self, key: Key, work: Work) -> None:
        job, fence = key

        def send(stream: str, offset: int, data: bytes) -> int:
            where: dict[str, str | int] = {"job": job, "fence": fence}
            return self.tools.send_log({**where, "stream": stream, "offset": offset}, data)

        def push() -> None:
            try:
                work.logs.push(send)
            except (StaleFence, NotFound, InvalidInput):
                # The centre takes no more of this attempt; what is here goes with the folder.
                work.logs.fenced = True
            except (CausewayError, OSError):
                # The stream stays behind, and goes on from the same offset at the next look.
                pass

        await asyncio.get_running_loop().run_in_executor(self.tools.threads, push)

    async def _try(self, action: Callable[[], T]) -> T | Problem:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self.tools.threads, action)
        except Exception as error:
            # Whatever a job's files or a peer's content provoke ends in that attempt's record.
            return problem_of(error)

    def _now(self) -> int:
        return self.tools.now_ms()


def problem_of(error: Exception) -> Problem:
    """Return what an error means for the attempt that it happened to."""
    match error:
        case Unavailable() | Unauthenticated():
            return Problem(message=error.message)
        case StaleFence():
            return Problem(message=error.message, failure=FailureClass.ISLAND, retry=False)
        case NotFound() | InvalidInput():
            return Problem(message=error.message, failure=FailureClass.USER, retry=False)
        case Conflict():
            return Problem(message=error.message)
        case CausewayError():
            return Problem(message=error.message, retry=False)
        case OSError():
            return Problem(message=str(error))
    return Problem(message=f"{type(error).__name__}: {error}", retry=False)
