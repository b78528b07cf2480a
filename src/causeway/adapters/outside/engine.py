"""The engine's thread, behind the port.

Everything about attempts belongs to that one thread: it takes wishes and answers from its inbox,
looks into folders, answers beats, judges, and publishes what `poll` shows. What blocks for long
happens elsewhere: questions in the asker's thread, submissions and endings in a small pool. So an
engine that does not answer never keeps a lease from being granted.
"""

from __future__ import annotations

import importlib.metadata
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

from causeway.adapters.outside.asking import Answer, Asker, C, J
from causeway.adapters.outside.doomed import Doomed
from causeway.adapters.outside.ledger import Ledger
from causeway.adapters.outside.speaking import Silent
from causeway.adapters.outside.submitting import Done, Submitter
from causeway.adapters.runner.ends import Key, failed
from causeway.model.errors import Unavailable
from causeway.model.islands import Inventory
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.ports import Clock
from causeway.ports.engine import Condition, Launch, Status

SUBMITTERS = 4
PROBE_TRIES = 5
PROBE_WAIT_S = 1.0
TURN_S_MIN = 0.001
TURN_S_MAX = 1.0
CLOSE_S = 5.0
GIB = 1024**3

L = TypeVar("L", bound=Ledger[Any, Any])


class OutsideEngine(Generic[L, J, C]):
    """Runs attempts in an engine that goes on without the agent.

    `J` is what one answer shows of the engine's jobs, `C` what it shows of the cluster. An adapter
    makes the parts, calls `watch_on` when it is ready, and says the rest by the methods below.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        ledger: L,
        doomed: Doomed[Any],
        submitter: Submitter[Any],
        wait_s_max: float,
    ) -> None:
        """After `wait_s_max` in the engine's queue an attempt is withdrawn; 0: never."""
        self.root = root
        self.clock = clock
        self.ledger = ledger
        self.submitter = submitter
        self.engine = submitter.engine
        self.silence = ""
        """Why the engine did not answer when it was asked last."""
        self._doomed = doomed
        self._wait_ms_max = round(wait_s_max * 1000)
        name = self.engine.lower()
        self._pool = ThreadPoolExecutor(SUBMITTERS, thread_name_prefix=f"{name}-does")
        self._inbox: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._changed: Callable[[], None] = lambda: None
        self._closed = False
        self._ending = False
        """Whether a thread has the engine end jobs now."""
        self._until_ms = 0
        self._lock = threading.Lock()
        self._shown: Mapping[Key, Status] = {}
        self._coming: dict[Key, Launch] = {}
        """Started, and not taken up by the thread yet."""
        self._going: dict[Key, int] = {}
        """Forgotten, as often as the thread has not taken note of yet."""
        self._condition = Condition()
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.asker: Asker[J, C]

    def watch_on(self, *, poll_s: float) -> None:
        """Take up the attempts of an earlier agent, and begin to watch."""
        self.asker = Asker(
            engine=self.engine,
            jobs=self.ask_jobs,
            cluster=self.ask_cluster,
            poll_s=poll_s,
            hear=lambda answer: self._wish(lambda: self._heard(answer)),
            now_ms=self.clock.monotonic_ms,
        )
        self.ledger.adopt()
        self._show()
        self._thread.start()
        self.asker.start()

    # --- what the adapter says -----------------------------------------------------------------

    def ask_jobs(self, waiting: bool) -> J:
        """Ask for what the engine has of ours. Blocks, in the asker's thread; raises `Silent`."""
        raise NotImplementedError

    def ask_cluster(self) -> C:
        """Ask for the cluster. Blocks, in several threads; raises `Silent`."""
        raise NotImplementedError

    def carry_out(self, ends: Sequence[Any], kills: Sequence[Any]) -> None:
        """Have the engine end things, and kill others. Blocks; raises `Silent`."""
        raise NotImplementedError

    def see_cluster(self, cluster: C) -> None:
        """Take in what the cluster is now."""
        raise NotImplementedError

    def inventory(self, *, disk_bytes: int, agent_version: str) -> Inventory:
        """Return what there is, by the cluster that was seen last."""
        raise NotImplementedError

    def judged(self) -> Condition:
        """Return how the cluster is, by what was seen last; `problems` adds what is known here."""
        raise NotImplementedError

    def tell_asker(self) -> None:
        """Tell the asker how much there is to ask for."""
        counts = self.ledger.counts()
        self.asker.tell(open_=counts.open, waiting=counts.waiting)

    def heard_jobs(self, jobs: J, asked_ms: int) -> None:
        """Take in what the engine has of ours."""
        raise NotImplementedError

    # --- the port ------------------------------------------------------------------------------

    @property
    def outlives(self) -> bool:
        return True

    def on_change(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def probe(self) -> Inventory:
        self.see_cluster(self._look())
        # In whole units: what changes with every file would be news with every look.
        free = shutil.disk_usage(self.root).free // GIB * GIB
        version = importlib.metadata.version("causeway")
        return self.inventory(disk_bytes=free, agent_version=version)

    def condition(self) -> Condition:
        return self._condition

    def grant(self, until_ms: int) -> None:
        self._until_ms = max(self._until_ms, until_ms)

    def start(self, launch: Launch) -> None:
        key = launch.job, launch.fence
        with self._lock:
            if key in self._shown:
                self._wish(lambda: self.ledger.asked_again(launch))
                return
            self._coming[key] = launch
            self._shown = {**self._shown, key: Status(phase=Phase.STARTING)}
        self._wish(lambda: self.begin(launch))

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self._wish(lambda: self.end((job, fence), grace_ms))

    def poll(self) -> Mapping[Key, Status]:
        if self._broken is not None:
            raise Unavailable(
                f"the {self.engine} engine has stopped: {self._broken}", hint="restart the agent"
            ) from self._broken
        return self._shown

    def forget(self, job: str, fence: int) -> None:
        key = (job, fence)
        with self._lock:
            self._going[key] = self._going.get(key, 0) + 1
            self._coming.pop(key, None)
            self._shown = {one: status for one, status in self._shown.items() if one != key}
        self._wish(lambda: self._forget(key))

    def close(self) -> None:
        self._closed = True
        self.asker.close()
        self._wish(lambda: None)
        self._thread.join(CLOSE_S)
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- the thread ----------------------------------------------------------------------------

    def _wish(self, wish: Callable[[], object]) -> None:
        self._inbox.put(wish)

    def _run(self) -> None:
        try:
            self._live()
        except Exception as error:
            # The engine's own mistake. It must not go on half-dead: `poll` raises, and attempts
            # end with their leases unless an agent comes back for them.
            self._broken = error
            self._changed()

    def _live(self) -> None:
        while not self._closed:
            due_ms = self.ledger.watch(self._until_ms, wait_ms_max=self._wait_ms_max)
            self._end_doomed()
            self._show()
            wait_s = (due_ms - self.clock.monotonic_ms()) / 1000
            self._take(min(TURN_S_MAX, max(TURN_S_MIN, wait_s)))
        self._take(TURN_S_MIN)
        self._end_doomed()
        self.ledger.let_go()

    def _take(self, wait_s: float) -> None:
        """Carry out every wish that is there, after waiting for the first."""
        try:
            self._grant_wish(self._inbox.get(timeout=wait_s))
            while True:
                self._grant_wish(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _grant_wish(self, wish: Callable[[], object]) -> None:
        try:
            wish()
        except OSError as error:
            # One attempt's folder must not end the thread of all.
            self.ledger.trouble = f"an attempt's folder cannot be used: {error}"

    def begin(self, launch: Launch) -> bool:
        """Take up a launch, unless it was forgotten meanwhile; say whether it was taken up."""
        key = launch.job, launch.fence
        with self._lock:
            if self._coming.get(key) is not launch:
                return False
            del self._coming[key]
        self.submit(launch)
        return True

    def end(self, key: Key, grace_ms: int) -> None:
        """Carry a stop out."""
        self.ledger.stop(key, grace_ms)

    def is_coming(self, key: Key) -> Launch | None:
        """Return a launch that has not been taken up."""
        with self._lock:
            return self._coming.get(key)

    def submit(self, launch: Launch) -> None:
        """Have a launch submitted by a thread of the pool."""
        at = self.ledger.add(launch, self.submitter.submission(launch))

        def act() -> None:
            try:
                done = self.submitter.submit(launch, at.told)
            except Exception as error:
                # What nobody foresaw ends this attempt, and no other.
                message = f"{type(error).__name__}: {error}"
                done = Done(told=at.told, outcome=failed(FailureClass.ENGINE, message))
            self._wish(lambda: self._submitted(at, done))

        self._pool.submit(act)

    def _submitted(self, at: Any, done: Done[Any]) -> None:
        if done.silence:
            # Known before the end is, so that the work does not come back at once.
            self.silence = done.silence
            self._condition = self.judged()
        if done.doubt is not None:
            self.ledger.doubtful(at, done.doubt)
        else:
            self.ledger.submitted(at, done.told, done.outcome)
        if done.outcome is not None or done.doubt is not None:
            # A refusal often means that the cluster has changed since it was last looked at.
            self.asker.look_at_cluster()

    def _forget(self, key: Key) -> None:
        self.ledger.forget(key)
        with self._lock:
            self._going[key] -= 1
            if not self._going[key]:
                del self._going[key]

    def _end_doomed(self) -> None:
        """Have the engine end what must go; what it does not hear of is tried again."""
        if self._ending:
            return
        ends, kills = self._doomed.due(self.clock.monotonic_ms())
        if not ends and not kills:
            return
        self._ending = True

        def act() -> None:
            try:
                self.carry_out(ends, kills)
            except Silent:
                # They stay condemned until the engine shows them gone, so it is asked again.
                return
            finally:
                self._ending = False

        self._pool.submit(act)

    def _heard(self, answer: Answer[J, C]) -> None:
        self.silence = answer.silence
        if answer.cluster is not None:
            self.see_cluster(answer.cluster)
        if answer.jobs is not None:
            self.heard_jobs(answer.jobs, answer.asked_ms)
            while self.ledger.lost:
                self.submit(self.ledger.lost.pop())
        self._condition = self.judged()

    def problems(self, seen: Sequence[str]) -> tuple[str, ...]:
        """Return what is wrong: with the engine's answers, by them (`seen`), and with folders."""
        said = (self.silence, *seen, self.ledger.unseen, self.ledger.trouble)
        return tuple(filter(None, said))

    def _show(self) -> None:
        """Publish what changed, and tell the asker how much there is to ask for."""
        with self._lock:
            before = self._shown
            shown = {key: one for key, one in self.ledger.shown.items() if key not in self._going}
            shown |= {key: before[key] for key in self._coming}
            self._shown = shown
        news = any(_is_news(before.get(key), status) for key, status in shown.items())
        self.tell_asker()
        if news:
            self._changed()

    def _look(self) -> C:
        for _ in range(PROBE_TRIES - 1):
            try:
                return self.ask_cluster()
            except Silent:
                time.sleep(PROBE_WAIT_S)
        return self.ask_cluster()


def _is_news(was: Status | None, now: Status) -> bool:
    return was is None or was.phase != now.phase or was.message != now.message
