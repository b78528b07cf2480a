"""`RayEngine`: attempts as jobs of a Ray cluster.

Everything about attempts belongs to one thread (`ray`): it takes wishes and answers from its inbox,
looks into folders, answers beats, judges, and publishes what `poll` shows. What blocks for long
happens elsewhere: questions in the asker's thread, submissions and the ending of jobs in a small
pool. So a head that does not answer never keeps a lease from being granted.
"""

from __future__ import annotations

import importlib.metadata
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from causeway.adapters.ray import inventory, keeping
from causeway.adapters.ray.asking import Answer, Asker, look
from causeway.adapters.ray.attempts import Attempt
from causeway.adapters.ray.ledger import Ledger
from causeway.adapters.ray.settings import Settings
from causeway.adapters.ray.speaker import Silent, Speaker
from causeway.adapters.ray.submitting import Done, Submitter
from causeway.adapters.ray.values import Cluster, Node
from causeway.adapters.runner import install
from causeway.adapters.runner.ends import Key, Outcome
from causeway.model.errors import Unavailable
from causeway.model.islands import Inventory
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Condition, Launch, Status

SUBMITTERS = 4
PROBE_TRIES = 5
PROBE_WAIT_S = 1.0
TURN_S_MAX = 1.0
CLOSE_S = 5.0


class RayEngine:
    """Runs attempts in one Ray cluster."""

    def __init__(self, root: Path, *, clock: Clock, speaker: Speaker, settings: Settings) -> None:
        """Begin to watch; attempts of an earlier agent are found again below `root`."""
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._speaker = speaker
        self._settings = settings
        self._pool = ThreadPoolExecutor(SUBMITTERS, thread_name_prefix="ray-does")
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._changed: Callable[[], None] = lambda: None
        self._closed = False
        self._ending = False
        """Whether a thread has Ray end jobs now."""
        self._until_ms = 0
        self._lock = threading.Lock()
        self._shown: Mapping[Key, Status] = {}
        self._coming: dict[Key, Launch] = {}
        """Started, and not taken up by the thread yet."""
        self._going: dict[Key, int] = {}
        """Forgotten, as often as the thread has not taken note of yet."""
        self._held: dict[Key, int] = {}
        """Of those that are coming: they wait until what was forgotten under their key is over in
        Ray. With the grace of a stop that was asked for since; -1: none was."""
        self._condition = Condition()
        self._nodes: tuple[Node, ...] | None = None
        """As they were seen last; None: they never were."""
        self._silence = ""
        self._broken: Exception | None = None
        mark = keeping.own_mark(self._root)
        self._ledger = Ledger(self._root, mark=mark, clock=clock)
        self._submitter = Submitter(
            speaker,
            settings,
            mark=mark,
            programs=(keeping.install(self._root), install(self._root)),
            view=lambda: self._nodes or (),
        )
        self._asker = Asker(
            speaker,
            poll_s=settings.poll_s,
            hear=lambda answer: self._inbox.put(lambda: self._heard(answer)),
            now_ms=clock.monotonic_ms,
        )
        self._ledger.adopt()
        self._show()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True)
        self._thread.start()
        self._asker.start()

    # --- the port ------------------------------------------------------------------------------

    @property
    def outlives(self) -> bool:
        return True

    def on_change(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def probe(self) -> Inventory:
        cluster, nodes = self._look()
        self._nodes = nodes
        return inventory.inventory(
            inventory.offered(nodes, self._settings.resources),
            cluster,
            devices=self._settings.devices,
            disk_bytes=shutil.disk_usage(self._root).free,
            agent_version=importlib.metadata.version("causeway"),
        )

    def condition(self) -> Condition:
        return self._condition

    def grant(self, until_ms: int) -> None:
        self._until_ms = max(self._until_ms, until_ms)

    def start(self, launch: Launch) -> None:
        key = launch.job, launch.fence
        with self._lock:
            if key in self._shown:
                self._inbox.put(lambda: self._ledger.asked_again(launch))
                return
            self._coming[key] = launch
            self._shown = {**self._shown, key: Status(phase=Phase.STARTING)}
        self._inbox.put(lambda: self._begin(launch))

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self._inbox.put(lambda: self._stop((job, fence), grace_ms))

    def poll(self) -> Mapping[Key, Status]:
        if self._broken is not None:
            raise Unavailable(
                f"the Ray engine has stopped: {self._broken}", hint="restart the agent"
            ) from self._broken
        return self._shown

    def forget(self, job: str, fence: int) -> None:
        key = (job, fence)
        with self._lock:
            self._going[key] = self._going.get(key, 0) + 1
            self._coming.pop(key, None)
            self._shown = {one: status for one, status in self._shown.items() if one != key}
        self._inbox.put(lambda: self._forget(key))

    def close(self) -> None:
        self._closed = True
        self._asker.close()
        self._inbox.put(lambda: None)
        self._thread.join(CLOSE_S)
        self._pool.shutdown(wait=True, cancel_futures=True)

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._live()
        except Exception as error:
            # The engine's own mistake. It must not go on half-dead: `poll` raises, and attempts
            # end with their leases unless an agent comes back for them.
            self._broken = error
            self._changed()

    def _live(self) -> None:
        wait_ms_max = round(self._settings.wait_s_max * 1000)
        while not self._closed:
            due_ms = self._ledger.watch(self._until_ms, wait_ms_max=wait_ms_max)
            self._end_doomed()
            self._show()
            wait_s = (due_ms - self._clock.monotonic_ms()) / 1000
            self._take(min(TURN_S_MAX, max(0.001, wait_s)))
        self._take(0.001)
        self._end_doomed()
        self._ledger.let_go()

    def _take(self, wait_s: float) -> None:
        """Carry out every wish that is there, after waiting for the first."""
        try:
            self._carry_out(self._inbox.get(timeout=wait_s))
            while True:
                self._carry_out(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _carry_out(self, wish: Callable[[], None]) -> None:
        try:
            wish()
        except OSError as error:
            # One attempt's folder must not end the thread of all.
            self._ledger.trouble = f"an attempt's folder cannot be used: {error}"

    def _begin(self, launch: Launch) -> None:
        key = launch.job, launch.fence
        with self._lock:
            if self._coming.get(key) is not launch:
                return
            if self._ledger.is_leaving(key):
                self._held.setdefault(key, -1)
                return
            del self._coming[key]
        self._hand_over(launch)
        grace_ms = self._held.pop(key, -1)
        if grace_ms >= 0:
            self._ledger.stop(key, grace_ms)

    def _stop(self, key: Key, grace_ms: int) -> None:
        asked_ms = self._held.get(key)
        if asked_ms is None:
            self._ledger.stop(key, grace_ms)
        else:
            self._held[key] = grace_ms if asked_ms < 0 else min(asked_ms, grace_ms)

    def _let_in(self) -> None:
        """Take up what was held, once nothing stands in its way."""
        for key in list(self._held):
            launch = self._coming.get(key)
            if launch is None:
                # It was forgotten again.
                del self._held[key]
            else:
                self._begin(launch)

    def _hand_over(self, launch: Launch) -> None:
        at = self._ledger.add(launch, self._submitter.submission(launch))

        def submit() -> None:
            try:
                done = self._submitter.submit(launch, at.told)
            except Exception as error:
                # What nobody foresaw ends this attempt, and no other.
                message = f"{type(error).__name__}: {error}"
                ended = Outcome(phase=Phase.FAILED, failure=FailureClass.ENGINE, message=message)
                done = Done(told=at.told, outcome=ended)
            self._inbox.put(lambda: self._submitted(at, done))

        self._pool.submit(submit)

    def _submitted(self, at: Attempt, done: Done) -> None:
        if done.doubt:
            self._ledger.doubtful(at, done.doubt)
        else:
            self._ledger.submitted(at, done.told, done.outcome)
        if done.outcome is not None or done.doubt:
            # A refusal often means that the cluster has changed since it was last looked at.
            self._asker.look_at_cluster()

    def _forget(self, key: Key) -> None:
        self._ledger.forget(key)
        with self._lock:
            self._going[key] -= 1
            if not self._going[key]:
                del self._going[key]

    def _end_doomed(self) -> None:
        """Have Ray end and forget what is to go; what it does not hear of is tried again."""
        if self._ending:
            return
        ends, deletes = self._ledger.doomed.due(self._clock.monotonic_ms())
        if not ends and not deletes:
            return
        self._ending = True

        def act() -> None:
            try:
                for job in ends:
                    self._speaker.stop(job)
                for job in deletes:
                    self._speaker.delete(job)
            except Silent:
                # They stay condemned until Ray shows them gone, so it is asked again.
                return
            finally:
                self._ending = False

        self._pool.submit(act)

    def _heard(self, answer: Answer) -> None:
        self._silence = answer.silence
        if answer.jobs is not None:
            self._ledger.hear(answer.jobs, asked_ms=answer.asked_ms)
            while self._ledger.lost:
                self._hand_over(self._ledger.lost.pop())
            self._let_in()
        if answer.nodes is not None:
            self._nodes = answer.nodes
            self._ledger.weigh(self._submitter.never)
        self._condition = self._judged()

    def _judged(self) -> Condition:
        """Return how the cluster is, by what was seen last."""
        nodes = self._nodes
        problems = inventory.problems(nodes, self._settings) if nodes is not None else ()
        if self._silence:
            problems = (self._silence, *problems)
        problems += tuple(filter(None, (self._ledger.unseen, self._ledger.trouble)))
        offered = inventory.offered(nodes or (), self._settings.resources)
        held = inventory.occupied(offered, self._ledger.holds())
        return Condition(occupied=held if offered else Capacity(), problems=problems)

    def _show(self) -> None:
        """Publish what changed, and tell the asker how much there is to ask for."""
        with self._lock:
            before = self._shown
            shown = {key: one for key, one in self._ledger.shown.items() if key not in self._going}
            shown |= {key: before[key] for key in self._coming}
            self._shown = shown
        news = any(_is_news(before.get(key), status) for key, status in shown.items())
        counts = self._ledger.counts()
        self._asker.tell(open_=counts.open, waiting=counts.waiting)
        if news:
            self._changed()

    def _look(self) -> tuple[Cluster, tuple[Node, ...]]:
        for _ in range(PROBE_TRIES - 1):
            try:
                return look(self._speaker)
            except Silent:
                time.sleep(PROBE_WAIT_S)
        return look(self._speaker)


def _is_news(was: Status | None, now: Status) -> bool:
    return was is None or was.phase != now.phase or was.message != now.message
