"""Many runs of scenarios, a policy and a seed each, on all cores; none can take another with it.

A `Task` is one policy on one seed of one scenario, and `run_one` is all there is to running it: the
same function in this process, in a worker, or anywhere that has the package and the traces. What
goes wrong in it is part of the answer (`Ran.error`), never an exception that ends the sweep.

Workers are fresh processes (spawn), one line each to this one. They are kept by hand and not in a
pool, because a pool forgets everything when one of its processes is killed, as happens where memory
runs out: here that is one failed run, which says so, and a new worker.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from causeway.model.errors import CausewayError, InvalidInput
from causeway.twin.kinds import Progress, kind_of
from causeway.twin.outcome import Outcome
from causeway.twin.scenario import Scenario

TELL_S = 0.5
"""A worker tells how far it is at most this often."""
LOOK_S = 1.0
"""`watch` is called at least this often, so that an estimate can be shown while nothing ends."""
JOBS_MAX = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One policy on one seed."""

    scenario: Scenario
    policy: str
    seed: int
    data: Path
    """Folder of traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of a task."""

    task: Task
    outcome: Outcome | None
    """None: it failed, and `error` says why."""
    error: str = ""
    cpu_s: float = 0.0
    """Time on a processor, of the process that ran it."""
    wall_s: float = 0.0


Watch = Callable[[int, float], None]
"""Told the number of a task and the share of it that is done; (-1, 0.0) is a heartbeat."""


def tasks_of(
    scenario: Scenario, data: Path, *, policies: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[Task]:
    """Return a scenario's tasks, seed by seed, so that a sweep that is cut short has whole seeds.

    Raises:
        InvalidInput: the scenario's kind, options or policies, or a policy asked for, are wrong.
    """
    kind, _ = kind_of(scenario)
    for policy in policies:
        if policy not in kind.policies:
            raise InvalidInput(
                f"`{scenario.kind}` has no policy `{policy}`; it has {', '.join(kind.policies)}"
            )
    return [
        Task(scenario=scenario, policy=policy, seed=seed, data=data)
        for seed in seeds or scenario.seeds
        for policy in policies or scenario.policies
    ]


def run_one(task: Task, progress: Progress) -> Ran:
    """Run a task in this process; whatever goes wrong in it is told in what is returned."""
    wall_s, cpu_s = time.monotonic(), time.process_time()
    outcome, error = None, ""
    try:
        kind, options = kind_of(task.scenario)
        outcome = kind.run(options, task.policy, task.seed, task.data, progress)
    except CausewayError as told:
        error = told.message + (f" (at {told.where})" if told.where else "")
        error += f"; try: {told.hint}" if told.hint else ""
    except MemoryError:
        error = "it needs more memory than there is"
    except Exception as defect:
        frame = traceback.extract_tb(defect.__traceback__)[-1]
        error = f"{type(defect).__name__}: {defect} ({Path(frame.filename).name}:{frame.lineno})"
    return Ran(
        task=task,
        outcome=outcome,
        error=error,
        cpu_s=time.process_time() - cpu_s,
        wall_s=time.monotonic() - wall_s,
    )


def sweep(
    tasks: Sequence[Task], *, jobs: int, watch: Watch
) -> Generator[tuple[int, Ran], None, None]:
    """Yield each task's number and what came of it, in the order in which they end.

    With one job at a time everything runs in this process. To stop early, close the iterator.
    """
    if not 1 <= jobs <= JOBS_MAX:
        raise InvalidInput(f"the number of processes goes from 1 to {JOBS_MAX}, and {jobs} is not")
    if jobs == 1 or len(tasks) == 1:
        for index, task in enumerate(tasks):
            yield index, run_one(task, _seldom(partial(watch, index)))
        return
    yield from _Workers(tasks, min(jobs, len(tasks)), watch).run()


def cores() -> int:
    """Return how many processes this one may keep busy."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker:
    """A process, its line, and the number of the task that it has."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, far = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(far,), daemon=True)
        self.process.start()
        far.close()
        self.index = -1

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.line.close()
        self.process.terminate()
        self.process.join()


class _Workers:
    """The sweep over several processes."""

    def __init__(self, tasks: Sequence[Task], count: int, watch: Watch) -> None:
        self._tasks = tasks
        self._left = deque(range(len(tasks)))
        self._count = count
        self._watch = watch
        self._busy: dict[Connection, _Worker] = {}

    def run(self) -> Iterator[tuple[int, Ran]]:
        """Yield what comes of the tasks; end every process, however this ends."""
        try:
            for _ in range(self._count):
                self._give(_Worker())
            while self._busy:
                self._watch(-1, 0.0)
                for line in wait(list(self._busy), LOOK_S):
                    assert isinstance(line, Connection)
                    yield from self._hear(self._busy[line])
        finally:
            for worker in self._busy.values():
                worker.end()

    def _give(self, worker: _Worker) -> None:
        """Give a free worker the next task, or let it go."""
        if not self._left:
            worker.end()
            return
        worker.index = self._left.popleft()
        worker.line.send(self._tasks[worker.index])
        self._busy[worker.line] = worker

    def _hear(self, worker: _Worker) -> Iterator[tuple[int, Ran]]:
        """Take what a worker says: how far it is, that it ended, or nothing more at all."""
        index = worker.index
        try:
            said: float | Ran = worker.line.recv()
        except (EOFError, OSError):
            del self._busy[worker.line]
            worker.process.join()
            code = worker.process.exitcode
            worker.end()
            error = f"its process ended with {code}" + (
                ", as when memory runs out" if code == -signal.SIGKILL else ""
            )
            yield index, Ran(task=self._tasks[index], outcome=None, error=error)
            if self._left:
                self._give(_Worker())
            return
        if isinstance(said, Ran):
            del self._busy[worker.line]
            self._give(worker)
            yield index, said
        else:
            self._watch(index, said)


def _serve(line: Connection) -> None:
    """Run tasks until the line is closed: what a worker process does."""
    # Ctrl-C reaches every process of the terminal; the one that asked decides what is kept.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Each process is one core's worth of the sweep.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    while True:
        try:
            task = line.recv()
        except EOFError:
            return
        ran = run_one(task, _seldom(line.send))
        try:
            line.send(ran)
        except (TypeError, AttributeError, ValueError) as error:
            why = f"its outcome cannot be sent between processes: {error}"
            line.send(Ran(task=task, outcome=None, error=why, cpu_s=ran.cpu_s, wall_s=ran.wall_s))


def _seldom(tell: Progress) -> Progress:
    """Return a progress that passes on at most every `TELL_S` seconds."""
    told_s = -TELL_S

    def progress(share: float) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if now_s - told_s >= TELL_S:
            told_s = now_s
            tell(float(share))

    return progress
