"""One run: a function, its tasks, and the jobs that carry them. Recovery is here.

A portion that comes back settles its tasks, each once; what it did not get to, and what a failed
job held, goes out again in a later wave. A run with a name that an earlier program began goes on
where that left it: its results are taken, its jobs that still run are waited for, the rest is sent.
Everything that this needs is at the centre.

Methods without an underscore may be called from any thread; `step` from one. Nothing waits for the
wire while it holds the lock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from causeway.model.errors import CausewayError, InvalidInput, NotFound
from causeway.model.jobs import TERMINAL, JobState
from causeway.sdk.remote import outcomes, packing
from causeway.sdk.remote.desk import Desk
from causeway.sdk.remote.futures import RemoteFuture
from causeway.sdk.remote.options import RESULTS, Options
from causeway.sdk.remote.outcomes import Outcome, Outcomes, RemoteError
from causeway.sdk.remote.plan import Ledger, Portion
from causeway.sdk.remote.waves import Shipper, Wave, made_up_name

LOOK_S = (0.1, 1.0)
"""Pauses between looks at the jobs, at the beginning and later."""
LOOK_SHARE = 0.05
"""How the pause grows with what the run has lasted."""
DEATHS_FIRST = 3
DEATHS_MORE = 64
"""So many failed jobs before the first that came back, or so many more than came back, and the run
is given up."""
TASKS_MAX = 1_000_000
_AT_WORK = frozenset({JobState.RUNNING.value, JobState.STARTING.value, JobState.PLACED.value})
_ENDED = frozenset(state.value for state in TERMINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a run is."""

    tasks: int
    done: int
    failed: int
    lanes: int
    """Portions that run now."""
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
        self.name = options.name or made_up_name(function)
        self._function = function
        self._wake = wake
        self._process = os.getpid()
        self._module = packing.own_module(function)
        self._lock = threading.RLock()
        self._ledger = Ledger(most=options.per_job)
        self._open: dict[int, RemoteFuture[Any]] = {}
        """Futures without an outcome, by task."""
        self._payloads: dict[int, bytes] = {}
        """Pickled inputs of tasks without an outcome."""
        self._calls: list[tuple[Any, Any]] = []
        """Arguments as they were given, of a run with a name: its fingerprint covers them."""
        self._tally = _Tally()
        self._shipper = Shipper(self.name, options)
        self._begun = False
        self._waves: list[Wave] = []
        self._sending: Wave | None = None
        self._unwanted: set[Portion] = set()
        """Portions that are out, and none of whose tasks is wanted any more."""
        self._to_stop: list[str] = []
        self._error: BaseException | None = None
        self._look_at_s = 0.0

    # For whoever has the futures

    def add(
        self, calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    ) -> list[RemoteFuture[Any]]:
        """Add tasks; their inputs are pickled now, so they may change afterwards."""
        payloads = [packing.pickled(call, self._module) for call in calls]
        made: list[RemoteFuture[Any]] = []
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._ledger.tasks + len(calls) > TASKS_MAX:
                raise InvalidInput(f"a run has at most {TASKS_MAX:,} tasks")
            for payload in payloads:
                index = self._ledger.add(len(payload))
                self._payloads[index] = payload
                self._open[index] = RemoteFuture(self, index)
                made.append(self._open[index])
            if self.options.name:
                self._calls += calls
        self._wake(self)
        return made

    @property
    def takes_more(self) -> bool:
        """Whether tasks can be added. After a fork, a run stays the parent's: its thread is."""
        if self._process != os.getpid():
            return False
        return self._error is None and self._ledger.tasks < TASKS_MAX

    def drop(self, index: int) -> None:
        """Forget a task: nobody waits for it any more."""
        with self._lock:
            self._forget(index)
        self._wake(self)

    def cancel(self) -> None:
        """Cancel everything that has not ended, and stop its jobs."""
        with self._lock:
            left = dict(self._open)
            self._stop_all()
        for future in left.values():
            future.forget()
        self._wake(self)

    def fail(self, error: BaseException) -> None:
        """Give up: every task that has no outcome yet fails with the error."""
        with self._lock:
            self._error = error
            left = dict(self._open)
            self._tally.failed += len(left)
            self._stop_all()
        for future in left.values():
            future.settle(lambda it: it.set_exception(error))
        self._wake(self)

    @property
    def busy(self) -> bool:
        """Whether there is anything left to do."""
        with self._lock:
            return bool(self._open or self._to_stop or self._unwanted)

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

    def left_behind(self) -> list[str]:
        """Return the jobs and groups that are to be stopped when the program ends now."""
        with self._lock:
            mine = [] if self.options.name else [wave.id for wave in self._waves]
            return mine + self._to_stop

    # For the one thread that moves it

    def step(self, desk: Desk, now_s: float) -> float:
        """Do what there is to do; return after how many seconds to come again."""
        self._stop_jobs(desk)
        with self._lock:
            self._unwanted &= self._ledger.out.keys()
        if not self._begun and self._open:
            self._begin(desk, now_s)
        if now_s >= self._look_at_s and self._waves:
            self._look(desk)
            share_s = LOOK_SHARE * self._ledger.elapsed_s(now_s)
            self._look_at_s = now_s + max(LOOK_S[0], min(LOOK_S[1], share_s))
        self._send(desk, now_s)
        return max(0.0, self._look_at_s - now_s)

    def _begin(self, desk: Desk, now_s: float) -> None:
        """Bring what all jobs share to the centre; pick up what an earlier program has left.

        The waves are read in their order, and what has ended of one is taken before the next is
        read: a task that a portion did not get to is in a later one."""
        with self._lock:
            calls = list(self._calls)
        self._shipper.open(desk, self._function, calls=calls)
        for wave in self._waves:
            self._look_at(wave, desk)
        while (wave_kept := self._shipper.kept(desk)) is not None:
            with self._lock:
                self._ledger.began_s = now_s
                for portion in wave_kept.portions.values():
                    self._ledger.claim(portion)
                self._waves.append(wave_kept)
            self._look_at(wave_kept, desk)
        self._begun = True
        self._calls.clear()

    def _forget(self, index: int) -> None:
        self._open.pop(index, None)
        self._payloads.pop(index, None)
        portion = self._ledger.settle(index)
        if portion is not None:
            self._unwanted.add(portion)

    def _stop_all(self) -> None:
        """Stop every job, and forget every task."""
        self._to_stop += [wave.id for wave in self._waves]
        self._waves.clear()
        self._ledger.out.clear()
        for index in list(self._open):
            self._forget(index)
        self._unwanted.clear()

    def _stop_jobs(self, desk: Desk) -> None:
        while self._to_stop:
            desk.stop(self._to_stop[0])
            with self._lock:
                del self._to_stop[0]

    # Looking

    def _look(self, desk: Desk) -> None:
        at_work: list[Portion] = []
        for wave in list(self._waves):
            at_work += self._look_at(wave, desk)
        with self._lock:
            self._ledger.seen(at_work)
            self._tally.lanes = len(at_work)
            self._waves = [wave for wave in self._waves if wave.portions]

    def _look_at(self, wave: Wave, desk: Desk) -> list[Portion]:
        """Look at a wave's jobs, and take what has ended; return the portions that run."""
        at_work = []
        for view in desk.jobs(wave.id, alone=wave.alone):
            portion = wave.portions.get(str(view["name"]))
            if portion is None:
                continue
            self._note(wave, portion, view=view)
            if view["state"] in _ENDED:
                self._ended(wave, portion, view=view, desk=desk)
                del wave.portions[str(view["name"])]
            elif view["state"] in _AT_WORK:
                at_work.append(portion)
            if portion in self._unwanted and view["state"] not in _ENDED:
                desk.stop(str(view["id"]))
                with self._lock:
                    self._unwanted.discard(portion)
        return at_work

    def _note(self, wave: Wave, portion: Portion, *, view: dict[str, Any]) -> None:
        """Tell the futures where their tasks are, when that has changed."""
        job, state = str(view["id"]), str(view["state"])
        with self._lock:
            self._tally.costs[job] = int(view["cost_micros"])
            self._tally.currency = str(view["currency"])
            if wave.seen.get(job) == state:
                return
            wave.seen[job] = state
            for index in portion.indices:
                future = self._open.get(index)
                if future is not None:
                    at_work = state == JobState.RUNNING.value
                    future.note(job=job, island=str(view["island"]), at_work=at_work)

    def _ended(self, wave: Wave, portion: Portion, *, view: dict[str, Any], desk: Desk) -> None:
        if view["state"] == JobState.SUCCEEDED.value:
            self._came_back(portion, view, desk=desk, recovered=wave.recovered)
        elif wave.recovered:
            # What failed or was stopped of an earlier program is asked for anew.
            with self._lock:
                self._ledger.give_back(portion)
        elif view["state"] == JobState.FAILED.value:
            self._died(portion, view, words=desk.last_words(str(view["id"])))
        else:
            # Somebody has stopped this job, and meant it.
            with self._lock:
                left = [self._open[i] for i in portion.indices if i in self._open]
                for index in portion.indices:
                    self._forget(index)
                self._ledger.give_back(portion)
            for future in left:
                future.forget()

    def _came_back(
        self, portion: Portion, view: dict[str, Any], *, desk: Desk, recovered: bool
    ) -> None:
        island = str(view["island"]).rpartition(":")[2] or "its island"
        try:
            found = self._fetch(portion, view["outputs"].get(RESULTS, ""), desk=desk, island=island)
        except NotFound:
            if recovered:
                # A run of long ago: what is no longer kept is as if it had never run.
                with self._lock:
                    self._ledger.give_back(portion)
            else:
                self._died(portion, view, words="it ended well, but its results are not there")
            return
        with self._lock:
            self._ledger.come_back(portion, {task.index: task.seconds for task in found.tasks})
        for task in found.tasks:
            self._settle(task)
        if found.misfit:
            self.fail(
                RemoteError(
                    f"{self.name} cannot run on {island}: {found.misfit}",
                    hint='workdir="." brings your modules along; where=... or image=... choose '
                    "an island or an image with this Python and your packages",
                )
            )

    def _fetch(self, portion: Portion, artifact: str, *, desk: Desk, island: str) -> Outcomes:
        """Return what a portion sent back; what cannot be read is each task's error."""
        if not artifact:
            raise NotFound("a portion without results")
        pickled = self.options.results == "pickle"
        try:
            with desk.fetched(artifact) as folder:
                return outcomes.read(folder / RESULTS, portion, pickled=pickled, island=island)
        except InvalidInput as error:
            wrong = error
        return Outcomes(
            tasks=tuple(Outcome(index=i, seconds=0.0, error=wrong) for i in portion.indices)
        )

    def _settle(self, task: Outcome) -> None:
        """Give a task its outcome: the first one counts."""
        with self._lock:
            future = self._open.pop(task.index, None)
            self._payloads.pop(task.index, None)
            self._tally.failed += future is not None and task.error is not None
        if future is None:
            return
        if task.error is None:
            future.settle(lambda it: it.set_result(task.value))
        else:
            future.settle(lambda it: it.set_exception(task.error))

    def _died(self, portion: Portion, view: dict[str, Any], *, words: str) -> None:
        error = RemoteError(
            f"job {view['id']} failed: {view['headline']}",
            traceback=words,
            hint=f"causeway explain {view['id']}",
        )
        with self._lock:
            again = self._ledger.die(portion)
            deaths, returns = self._ledger.deaths, self._ledger.returns
            if not again:
                self._ledger.settle(portion.start)
        if (deaths >= DEATHS_FIRST and not returns) or deaths > returns + DEATHS_MORE:
            self.fail(error)
        elif not again:
            self._settle(Outcome(index=portion.start, seconds=0.0, error=error))

    # Sending

    def _send(self, desk: Desk, now_s: float) -> None:
        """Send the next wave; one whose sending was interrupted goes first, as it was."""
        if self._sending is None:
            with self._lock:
                budget_s = self._ledger.budget_s(now_s)
                portions = self._ledger.next_wave(now_s)
                # A task that is cancelled from here on is sent with the others of its portion.
                payloads = [[self._payloads[i] for i in portion.indices] for portion in portions]
            if not portions:
                return
            try:
                self._sending = self._shipper.planned(
                    desk, portions, payloads=payloads, budget_s=budget_s
                )
            except CausewayError:
                with self._lock:
                    for portion in portions:
                        self._ledger.give_back(portion)
                raise
        wave = self._sending
        wave.id = desk.submit(wave.body, key=wave.key)
        self._sending = None
        with self._lock:
            if any(portion in self._ledger.out for portion in wave.portions.values()):
                self._waves.append(wave)
            else:
                # All of it was cancelled while it was on its way.
                self._to_stop.append(wave.id)
