"""`KubernetesEngine`: attempts as Jobs of a cluster.

Everything about attempts belongs to one thread (`kubernetes`): it takes wishes and answers from its
inbox, looks into folders, answers beats, judges, and publishes what `poll` shows. What blocks for
long happens elsewhere: questions in the asker's thread, making and deleting in a small pool. So an
API server that does not answer never keeps a lease from being granted.
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

from causeway.adapters.kubernetes import inventory
from causeway.adapters.kubernetes.access import Access
from causeway.adapters.kubernetes.asking import Answer, Asker
from causeway.adapters.kubernetes.attempts import Attempt
from causeway.adapters.kubernetes.keeping import own_mark
from causeway.adapters.kubernetes.ledger import Ledger, failed
from causeway.adapters.kubernetes.settings import Settings
from causeway.adapters.kubernetes.speaker import Silent, Speaker
from causeway.adapters.kubernetes.submitting import Done, Submitter
from causeway.adapters.kubernetes.values import Cluster
from causeway.adapters.runner import install
from causeway.adapters.runner.ends import Key
from causeway.model.errors import InvalidInput, Unavailable
from causeway.model.islands import Inventory
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.ports import Clock
from causeway.ports.engine import Condition, Launch, Status

SUBMITTERS = 4
PROBE_TRIES = 5
PROBE_WAIT_S = 1.0
TURN_S_MAX = 1.0


class KubernetesEngine:
    """Runs attempts in one namespace of a cluster."""

    def __init__(self, root: Path, *, clock: Clock, access: Access, settings: Settings) -> None:
        """Begin to watch; attempts of an earlier agent are found again below `root`."""
        self._root = root.resolve()
        if not self._root.is_relative_to(Path(settings.mount).resolve()):
            raise InvalidInput(
                f"the agent's root {self._root} is not on the volume at {settings.mount}",
                where="$.engine.mount",
                hint="jobs see the agent's folder through that volume; put --root below it",
            )
        self._root.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._settings = settings
        self._pool = ThreadPoolExecutor(SUBMITTERS, thread_name_prefix="kubernetes-does")
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._changed: Callable[[], None] = lambda: None
        self._closed = False
        self._until_ms = 0
        self._lock = threading.Lock()
        self._shown: Mapping[Key, Status] = {}
        self._coming: dict[Key, Launch] = {}
        """Started, and not taken up by the thread yet."""
        self._going: dict[Key, int] = {}
        """Forgotten, as often as the thread has not taken note of yet."""
        self._condition = Condition()
        self._cluster = Cluster()
        self._silence = ""
        self._broken: Exception | None = None
        mark = own_mark(self._root)
        self._speaker = Speaker(access, settings, mark=mark)
        self._ledger = Ledger(self._root, mark=mark, clock=clock)
        self._submitter = Submitter(
            self._speaker,
            settings,
            mark=mark,
            program=install(self._root),
            view=lambda: self._cluster,
        )
        self._asker = Asker(
            self._speaker,
            poll_s=settings.poll_s,
            hear=lambda answer: self._wish(lambda: self._heard(answer)),
            now_ms=clock.monotonic_ms,
        )
        self._ledger.adopt()
        self._show()
        self._thread = threading.Thread(target=self._run, name="kubernetes", daemon=True)
        self._thread.start()
        self._asker.start()

    # --- the port ------------------------------------------------------------------------------

    @property
    def outlives(self) -> bool:
        return True

    def on_change(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def probe(self) -> Inventory:
        self._cluster = self._look()
        return inventory.inventory(
            self._cluster,
            self._settings,
            name=self._speaker.name,
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
                self._wish(lambda: self._ledger.asked_again(launch))
                return
            self._coming[key] = launch
            self._shown = {**self._shown, key: Status(phase=Phase.STARTING)}
        self._wish(lambda: self._begin(launch))

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        self._wish(lambda: self._ledger.stop((job, fence), grace_ms))

    def poll(self) -> Mapping[Key, Status]:
        if self._broken is not None:
            raise Unavailable(
                f"the Kubernetes engine has stopped: {self._broken}", hint="restart the agent"
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
        self._asker.close()
        self._wish(lambda: None)
        self._thread.join(5)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._speaker.close()

    # --- the thread ----------------------------------------------------------------------------

    def _wish(self, wish: Callable[[], None]) -> None:
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
        settings = self._settings
        while not self._closed:
            due_ms = self._ledger.watch(
                self._until_ms,
                wait_ms_max=round(settings.wait_s_max * 1000),
                image_ms_max=round(settings.image_s_max * 1000),
            )
            self._delete()
            self._show()
            wait_s = (due_ms - self._clock.monotonic_ms()) / 1000
            self._take(min(TURN_S_MAX, max(0.001, wait_s)))
        self._take(0.001)
        self._delete()
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
            del self._coming[key]
        self._hand_over(launch)

    def _hand_over(self, launch: Launch) -> None:
        at = self._ledger.add(launch, self._submitter.submission(launch))

        def submit() -> None:
            try:
                done = self._submitter.submit(launch, at.told)
            except Exception as error:
                # What nobody foresaw ends this attempt, and no other.
                message = f"{type(error).__name__}: {error}"
                done = Done(told=at.told, doubt=failed(FailureClass.ENGINE, message))
            self._wish(lambda: self._submitted(at, done))

        self._pool.submit(submit)

    def _submitted(self, at: Attempt, done: Done) -> None:
        if done.doubt is not None:
            self._ledger.doubtful(at, done.doubt)
        else:
            self._ledger.submitted(at, done.told, done.outcome)
        if done.outcome is not None or done.doubt is not None:
            # A refusal often means that the cluster has changed since it was last looked at.
            self._asker.look_at_cluster()

    def _forget(self, key: Key) -> None:
        self._ledger.forget(key)
        with self._lock:
            self._going[key] -= 1
            if not self._going[key]:
                del self._going[key]

    def _delete(self) -> None:
        """Have Kubernetes delete what must go; what it does not hear of is tried again."""
        ends, kills = self._ledger.doomed.due(self._clock.monotonic_ms())
        if not ends and not kills:
            return

        def delete() -> None:
            try:
                self._speaker.delete(ends, kill=False)
                self._speaker.delete(kills, kill=True)
            except Silent:
                # They stay condemned until Kubernetes shows them gone, so it is asked again.
                return

        self._pool.submit(delete)

    def _heard(self, answer: Answer) -> None:
        self._silence = answer.silence
        if answer.cluster is not None:
            self._cluster = answer.cluster
        if answer.seen is not None:
            self._ledger.hear(answer.seen, asked_ms=answer.asked_ms)
            while self._ledger.lost:
                self._hand_over(self._ledger.lost.pop())
        self._condition = self._judged()

    def _judged(self) -> Condition:
        problems = inventory.problems(self._cluster, self._settings)
        said = (self._silence, *problems, self._ledger.unseen, self._ledger.trouble)
        held = inventory.occupied(self._cluster, self._settings, self._ledger.holds())
        return Condition(occupied=held, problems=tuple(filter(None, said)))

    def _show(self) -> None:
        """Publish what changed, and tell the asker how much there is to ask for."""
        with self._lock:
            before = self._shown
            shown = {key: one for key, one in self._ledger.shown.items() if key not in self._going}
            shown |= {key: before[key] for key in self._coming}
            self._shown = shown
        news = any(_is_news(before.get(key), status) for key, status in shown.items())
        open_, waiting = self._ledger.counts()
        self._asker.tell(open_=open_, waiting=waiting)
        if news:
            self._changed()

    def _look(self) -> Cluster:
        for _ in range(PROBE_TRIES - 1):
            try:
                return self._speaker.cluster()
            except Silent:
                time.sleep(PROBE_WAIT_S)
        return self._speaker.cluster()


def _is_news(was: Status | None, now: Status) -> bool:
    return was is None or was.phase != now.phase or was.message != now.message
