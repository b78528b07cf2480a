"""One run: a function, its tasks, and the jobs that carry them. Recovery is here.

A wave is one submission of several chunks. It is sent under an idempotency key, so a wave whose
answer was lost is sent again and is still one. A chunk that comes back settles its tasks once; what
it did not get to, and what a failed job held, goes out again in a later wave.

A run with a name leaves its plan at the centre: an artefact `NAME.call` with the function, and one
`NAME.w0`, `NAME.w1`, ... for each wave, written before the wave is sent. A program that asks for
the same run again reads them in that order, takes the results that are there, waits for the jobs
that still run, and sends the rest. Everything that it needs is at the centre.

Methods without an underscore may be called from any thread; `step` from one.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causeway.model.errors import CausewayError, Conflict, InvalidInput, NotFound
from causeway.model.jobs import TERMINAL, JobState
from causeway.sdk.remote import outcomes, packing
from causeway.sdk.remote.desk import Desk, scratch
from causeway.sdk.remote.futures import RemoteFuture
from causeway.sdk.remote.options import CALL, RESULTS, TASKS, Options
from causeway.sdk.remote.outcomes import Outcome, RemoteError
from causeway.sdk.remote.plan import Chunk, Ledger

LOOK_S = (0.1, 1.0)
"""Pauses between looks at the jobs, at the beginning and later."""
LOOK_SHARE = 0.05
"""How the pause grows with what the run has lasted."""
BUNDLE_BYTES = 1024**2
"""Inputs of neighbouring chunks travel together up to so much."""
DEATHS_FIRST = 3
DEATHS_MORE = 64
"""So many failed jobs before the first that came back, or so many more than came back, and the run
is given up: it is not one task that does it."""
TASKS_MAX = 1_000_000
_AT_WORK = frozenset({JobState.RUNNING.value, JobState.STARTING.value, JobState.PLACED.value})
_ENDED = frozenset(state.value for state in TERMINAL)


@dataclass(slots=True, kw_only=True)
class Wave:
    """Chunks that were, or are to be, submitted together."""

    number: int
    chunks: dict[str, Chunk]
    """By the job's name."""
    body: dict[str, Any]
    key: str
    id: str = ""
    """The job, or the group; empty until it is known to be submitted."""
    recovered: bool = False
    """An earlier program has sent it."""

    @property
    def alone(self) -> bool:
        """Whether it is one job, without a group."""
        return len(self.body.get("stages", ())) < 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a run is."""

    tasks: int
    done: int
    failed: int
    lanes: int
    """Chunks that run now."""
    cost_micros: int
    currency: str


@dataclass(slots=True)
class _Tally:
    failed: int = 0
    lanes: int = 0
    costs: dict[str, int] = field(default_factory=dict)
    """Job -> what it has cost so far."""
    currency: str = "USD"


class Run:
    """See the module."""

    def __init__(
        self, function: Callable[..., Any], options: Options, *, wake: Callable[[Run], None]
    ) -> None:
        self.options = options
        self.name = options.name or _made_up(function)
        self.futures: list[RemoteFuture[Any]] = []
        self._function = function
        self._wake = wake
        self._module = packing.own_module(function)
        self._lock = threading.RLock()
        self._ledger = Ledger(most=options.chunk)
        self._payloads: list[bytes] = []
        self._calls: list[tuple[Any, Any]] = []
        """Arguments as they were given, of a run with a name: its fingerprint covers them."""
        self._tally = _Tally()
        self._common: dict[str, Any] | None = None
        self._call = ""
        self._waves: list[Wave] = []
        self._sending: Wave | None = None
        self._sent = 0
        self._unwanted: set[Chunk] = set()
        """Chunks that are out, and none of whose tasks is wanted any more."""
        self._to_stop: list[str] = []
        self._error: BaseException | None = None
        self._look_at_s = 0.0

    # For whoever has the futures

    def add(
        self, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    ) -> list[RemoteFuture[Any]]:
        """Add tasks; their inputs are pickled now, so they may change afterwards."""
        payloads = [packing.pickled(call, self._module) for call in calls]
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._ledger.tasks + len(calls) > TASKS_MAX:
                raise InvalidInput(f"a run has at most {TASKS_MAX:,} tasks")
            made: list[RemoteFuture[Any]] = []
            for payload in payloads:
                made.append(RemoteFuture(self, self._ledger.add(len(payload))))
                self._payloads.append(payload)
            self.futures += made
            if self.options.name:
                self._calls += calls
        self._wake(self)
        return made

    def drop(self, index: int) -> None:
        """Forget a task: nobody waits for it any more."""
        with self._lock:
            chunk = self._ledger.settle(index)
            self._payloads[index] = b""
            if chunk is not None:
                self._unwanted.add(chunk)
        self._wake(self)

    def cancel(self) -> None:
        """Cancel everything that has not ended, and stop its jobs."""
        with self._lock:
            for future in self.futures:
                if future.forget():
                    self._ledger.settle(future.index)
            self._stop_all()
        self._wake(self)

    def fail(self, error: BaseException) -> None:
        """Give up: every task that has no outcome yet fails with the error."""
        with self._lock:
            self._error = error
            for future in self.futures:
                if future.settle(lambda it: it.set_exception(error)):
                    self._ledger.settle(future.index)
                    self._tally.failed += 1
            self._stop_all()
        self._wake(self)

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do."""
        with self._lock:
            unsettled = self._ledger.settled < self._ledger.tasks
            return unsettled or bool(self._to_stop) or bool(self._unwanted)

    @property
    def standing(self) -> Standing:
        """How far it is."""
        with self._lock:
            return Standing(
                tasks=self._ledger.tasks,
                done=self._ledger.settled,
                failed=self._tally.failed,
                lanes=self._tally.lanes,
                cost_micros=sum(self._tally.costs.values()),
                currency=self._tally.currency,
            )

    def open_jobs(self) -> list[str]:
        """Return the jobs and groups that are not known to have ended."""
        with self._lock:
            return [wave.id for wave in self._waves if wave.id] + list(self._to_stop)

    # For the one thread that moves it

    def step(self, desk: Desk, now_s: float) -> float:
        """Do what there is to do; return after how many seconds to come again."""
        self._stop_jobs(desk)
        if not self.busy:
            return LOOK_S[1]
        if self._common is None:
            self._begin(desk, now_s)
        if now_s >= self._look_at_s:
            self._look(desk)
            began_s = self._ledger.began_s
            elapsed_s = now_s - (now_s if began_s is None else began_s)
            self._look_at_s = now_s + max(LOOK_S[0], min(LOOK_S[1], LOOK_SHARE * elapsed_s))
        self._send(desk, now_s)
        return max(0.0, self._look_at_s - now_s)

    def _stop_all(self) -> None:
        self._to_stop += [wave.id for wave in self._waves if wave.id]
        self._waves.clear()
        self._unwanted.clear()
        self._ledger.out.clear()

    def _stop_jobs(self, desk: Desk) -> None:
        while True:
            with self._lock:
                if not self._to_stop:
                    return
                job = self._to_stop[0]
            desk.stop(job)
            with self._lock:
                self._to_stop.remove(job)

    def _begin(self, desk: Desk, now_s: float) -> None:
        """Bring what all jobs share to the centre; pick up what an earlier program has left."""
        name = f"{self.name}.call" if self.options.name else ""
        meta: dict[str, str | int] = {}
        found = None
        if name:
            with self._lock:
                mark = packing.fingerprint(self._function, self._calls)
                meta = {"fingerprint": mark, "tasks": self._ledger.tasks}
            found = desk.known(name)
        if found is None:
            with scratch() as folder:
                packing.write_call(folder, self._function, self.options)
                self._call = desk.keep(folder, name=name, meta=meta)
        else:
            _same_run(self.name, found["manifest"]["meta"], meta)
            self._call = str(found["artifact"]["id"])
        common = {**self.options.common(), "outputs": [RESULTS]}
        if self.options.workdir:
            common["workdir"] = desk.keep(Path(self.options.workdir), kind="workdir")
        self._common = common
        if found is not None:
            self._pick_up(desk, now_s)

    def _pick_up(self, desk: Desk, now_s: float) -> None:
        """Read the waves that were sent, in their order. Each is submitted again under its key: one
        that got there is the same, and one that did not gets there now."""
        self._ledger.began_s = now_s
        while (found := desk.known(f"{self.name}.w{self._sent}")) is not None:
            with desk.fetched(str(found["artifact"]["id"])) as folder:
                plan = json.loads((folder / "plan.json").read_text("utf-8"))
            chunks = {name: Chunk(start, stop) for name, (start, stop) in plan["chunks"].items()}
            wave = Wave(
                number=self._sent, chunks=chunks, body=plan["body"], key=plan["key"], recovered=True
            )
            wave.id = desk.submit(wave.body, key=wave.key)
            self._sent += 1
            with self._lock:
                for chunk in chunks.values():
                    self._ledger.claim(chunk)
                self._waves.append(wave)
            self._look_at(wave, desk)

    # Looking

    def _look(self, desk: Desk) -> None:
        at_work: list[Chunk] = []
        for wave in list(self._waves):
            at_work += self._look_at(wave, desk)
        with self._lock:
            self._ledger.seen(at_work)
            self._tally.lanes = len(at_work)
            self._waves = [
                wave
                for wave in self._waves
                if any(chunk in self._ledger.out for chunk in wave.chunks.values())
            ]
            self._unwanted &= self._ledger.out.keys()

    def _look_at(self, wave: Wave, desk: Desk) -> list[Chunk]:
        """Look at a wave's jobs, and take what has ended; return the chunks that run."""
        at_work = []
        for view in desk.jobs(wave.id, alone=wave.alone):
            chunk = wave.chunks.get(str(view["name"]))
            if chunk is None or chunk not in self._ledger.out:
                continue
            job, state, island = str(view["id"]), view["state"], str(view["island"])
            with self._lock:
                self._tally.costs[job] = int(view["cost_micros"])
                self._tally.currency = str(view["currency"])
                for index in chunk.indices:
                    self.futures[index].note(job=job, island=island, at_work=state == "running")
            if state in _AT_WORK:
                at_work.append(chunk)
            if state in _ENDED:
                self._ended(wave, chunk, view, desk)
            elif chunk in self._unwanted:
                desk.stop(job)
                with self._lock:
                    self._unwanted.discard(chunk)
        return at_work

    def _ended(self, wave: Wave, chunk: Chunk, view: dict[str, Any], desk: Desk) -> None:
        if view["state"] == JobState.SUCCEEDED.value:
            self._came_back(chunk, view, desk)
        elif view["state"] == JobState.FAILED.value:
            self._died(chunk, view, desk)
        else:
            with self._lock:
                if not wave.recovered:
                    # Somebody has stopped this job, and meant it.
                    for index in chunk.indices:
                        if self.futures[index].forget():
                            self._ledger.settle(index)
                self._ledger.give_back(chunk)

    def _came_back(self, chunk: Chunk, view: dict[str, Any], desk: Desk) -> None:
        island = str(view["island"])
        pickled = self.options.results == "pickle"
        try:
            with desk.fetched(str(view["outputs"].get(RESULTS, ""))) as folder:
                found = outcomes.read(folder / RESULTS, chunk, pickled=pickled, island=island)
        except NotFound:
            # Its results are no longer kept: it is as if it had never run.
            with self._lock:
                self._ledger.give_back(chunk)
            return
        except InvalidInput as error:
            problem = error
            seconds = dict.fromkeys(chunk.indices, 0.0)
            tasks = tuple(Outcome(index=i, seconds=0.0, error=problem) for i in chunk.indices)
            self._settle(tasks)
            with self._lock:
                self._ledger.come_back(chunk, seconds)
            return
        with self._lock:
            self._ledger.come_back(chunk, {task.index: task.seconds for task in found.tasks})
        self._settle(found.tasks)
        if found.misfit:
            self.fail(
                RemoteError(
                    f"nothing of {self.name} can run on {island or 'its island'}: {found.misfit}",
                    hint='workdir="." brings your modules along; where=... and image=... choose '
                    "an island or an image with this Python and your packages",
                )
            )

    def _settle(self, tasks: Sequence[Outcome]) -> None:
        for task in tasks:
            self._payloads[task.index] = b""
            future = self.futures[task.index]
            if task.error is None:
                future.settle(lambda it, value=task.value: it.set_result(value))  # type: ignore[misc]
            elif future.settle(lambda it, error=task.error: it.set_exception(error)):  # type: ignore[misc]
                with self._lock:
                    self._tally.failed += 1

    def _died(self, chunk: Chunk, view: dict[str, Any], desk: Desk) -> None:
        words = desk.last_words(str(view["id"]))
        error = RemoteError(
            f"job {view['id']} failed: {view['headline']}",
            traceback=words,
            hint=f"causeway explain {view['id']}",
        )
        with self._lock:
            again = self._ledger.die(chunk)
            deaths, returns = self._ledger.deaths, self._ledger.returns
        hopeless = deaths >= DEATHS_FIRST and not returns
        if hopeless or deaths > returns + DEATHS_MORE:
            self.fail(error)
        elif not again:
            with self._lock:
                self._ledger.settle(chunk.start)
            self._settle((Outcome(index=chunk.start, seconds=0.0, error=error),))

    # Sending

    def _send(self, desk: Desk, now_s: float) -> None:
        """Send the next wave; one whose sending was interrupted goes first, as it was."""
        if self._sending is None:
            with self._lock:
                budget_s = self._ledger.budget_s(now_s)
                chunks = self._ledger.next_wave(now_s)
                payloads = [[self._payloads[i] for i in chunk.indices] for chunk in chunks]
            if not chunks:
                return
            try:
                self._sending = self._prepared(desk, chunks, payloads, budget_s=budget_s)
            except CausewayError:
                with self._lock:
                    for chunk in chunks:
                        if chunk in self._ledger.out:
                            self._ledger.give_back(chunk)
                raise
        wave = self._sending
        wave.id = desk.submit(wave.body, key=wave.key)
        self._sending = None
        self._sent += 1
        with self._lock:
            if any(chunk in self._ledger.out for chunk in wave.chunks.values()):
                self._waves.append(wave)
            else:
                # All of it was cancelled while it was on its way.
                self._to_stop.append(wave.id)

    def _prepared(
        self, desk: Desk, chunks: list[Chunk], payloads: list[list[bytes]], *, budget_s: float
    ) -> Wave:
        """Bring a wave's inputs to the centre, and then its plan; return what to submit."""
        stages: list[dict[str, Any]] = []
        for first, last in _bundles(payloads):
            with scratch() as folder:
                for chunk, inputs in zip(chunks[first:last], payloads[first:last], strict=True):
                    packing.write_tasks(folder, chunk, inputs)
                bundle = desk.keep(folder)
            stages += [
                {
                    "name": f"{self.name}.{chunk.start}-{chunk.stop}",
                    "inputs": {CALL: self._call, TASKS: bundle},
                    "run": self.options.command(chunk, budget_s),
                }
                for chunk in chunks[first:last]
            ]
        title = f"{self.name}.w{self._sent}"
        body = {**(self._common or {}), "name": title, "stages": stages}
        if len(stages) == 1:
            body = {**(self._common or {}), **stages[0]}
        named = dict(zip((stage["name"] for stage in stages), chunks, strict=True))
        wave = Wave(
            number=self._sent, chunks=named, body=body, key=f"{title}/{secrets.token_hex(8)}"
        )
        if self.options.name:
            plan = {
                "chunks": {name: [one.start, one.stop] for name, one in named.items()},
                "body": body,
                "key": wave.key,
            }
            with scratch() as folder:
                (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
                desk.keep(folder, name=title)
        return wave


def _bundles(payloads: list[list[bytes]]) -> list[tuple[int, int]]:
    """Return the ranges of chunks whose inputs travel together."""
    found: list[tuple[int, int]] = []
    first, held = 0, 0
    for index, inputs in enumerate(payloads):
        size = sum(map(len, inputs))
        if index > first and held + size > BUNDLE_BYTES:
            found.append((first, index))
            first, held = index, 0
        held += size
    return [*found, (first, len(payloads))]


def _same_run(name: str, kept: dict[str, Any], asked: dict[str, str | int]) -> None:
    """Refuse to continue a run with another function or other inputs."""
    if {field: kept.get(field) for field in asked} != asked:
        raise Conflict(
            f"there is a run {name!r} already, of another function or with other inputs "
            f"({kept.get('tasks')} of them; these are {asked['tasks']})",
            hint="choose another name, or ask for exactly the same again",
        )


def _made_up(function: Callable[..., Any]) -> str:
    """Return a name that nobody else has."""
    word = re.sub(r"[^a-z0-9]+", "-", str(getattr(function, "__name__", "call")).lower())
    return f"{word.strip('-')[:24] or 'call'}-{secrets.token_hex(4)}"
