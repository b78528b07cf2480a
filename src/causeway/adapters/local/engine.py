"""The local engine: attempts as processes on this host.

One thread owns everything that changes: it hears from the fork servers, takes the agent's wishes
from a queue, and keeps the time. The port's methods leave a wish or read what that thread showed
last, so none of them waits for a process.

Nothing outlives the agent: see `fork_server`. Groups that a killed agent left behind are cleared
by the next engine that starts with the same root.
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from causeway.adapters.local import images, nvml, probe
from causeway.adapters.local.accelerators import Accelerators
from causeway.adapters.local.attempt import Key, Running
from causeway.adapters.local.conductor import Conductor
from causeway.adapters.local.host import look
from causeway.adapters.local.spawner import ForkServer
from causeway.adapters.local.warm import ENVIRONMENTS
from causeway.model.errors import InvalidInput, Unavailable
from causeway.model.islands import Inventory
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Condition, Launch, Status

SERVER_STARTS_MAX = 8
"""How often one fork server is started before the engine gives it up."""
CLOSE_S = 15.0
TRIAL_S = 20.0
"""How long a probe waits to know whether images run here; a later one says."""


class LocalEngine:
    """`ports.engine.Engine` over processes of this host."""

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock,
        capacity: Capacity | None = None,
        warm: Sequence[str] = (),
        hidden: Sequence[Path] = (),
        visible: Sequence[Path] = (),
        shared: Sequence[Path] = (),
    ) -> None:
        """`root` is the agent's own folder: jobs see nothing of it but their attempt's folder.

        `capacity` caps what is offered (several islands on one host), `warm` names environments
        to keep warm, `hidden` names more folders that jobs must not see, `visible` those outside
        the system's own that every job may read, `shared` those that it may write too.
        """
        unknown = [name for name in warm if name not in ENVIRONMENTS]
        if unknown:
            raise InvalidInput(
                f"there is no warm environment {unknown[0]!r}",
                hint=f"one of: {', '.join(ENVIRONMENTS)}",
            )
        self._root = root
        self._capacity = capacity
        self._host = look(root, hidden, visible, shared=shared)
        self._servers = _Servers(warm, self._host.closed)
        self._conductor = Conductor(
            self._host,
            self._servers,
            now_ms=clock.monotonic_ms,
            show=self._show,
            images=images.find(root, self._host.bwrap),
            accelerators=Accelerators(probe.offered_devices(capacity), nvml.Readings()),
        )
        if self._host.groups is not None:
            self._conductor.trash.extend(self._host.groups.leftovers())
        self._lock = threading.Lock()
        self._shown: dict[Key, Status] = {}
        self._wishes: collections.deque[Callable[[], None]] = collections.deque()
        self._changed: Callable[[], None] = lambda: None
        self._closing = False
        self._broken: Exception | None = None
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        self._thread = threading.Thread(target=self._loop, name="local-engine", daemon=True)
        self._thread.start()

    @property
    def outlives(self) -> bool:
        """Nothing outlives the agent."""
        return False

    def condition(self) -> Condition:
        """What is offered of this host is offered whole; what breaks shows in `poll`."""
        return Condition()

    def grant(self, until_ms: int) -> None:
        """The agent ends attempts itself when their lease runs out, and they end with it."""

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` from the engine's thread whenever `poll` shows a new phase."""
        self._changed = changed

    def probe(self) -> Inventory:
        """Find out what is here; the first time, wait for what is being tried."""
        # Only who asks what is here pays for the trial of images.
        self._wish(self._conductor.stager.begin)
        self._conductor.stager.tried.wait(TRIAL_S)
        host = self._conductor.host
        found = probe.inventory(
            self._root,
            capacity=self._capacity,
            isolation=host.isolation,
            warm=self._servers.ready(),
        )
        return replace(found, images=host.images is not None, rents=host.rents)

    def start(self, launch: Launch) -> None:
        """Begin starting an attempt."""
        key = launch.job, launch.fence
        with self._lock:
            if key in self._shown:
                return
            self._shown[key] = Status(phase=Phase.STARTING)
        self._wish(lambda: self._conductor.begin(launch))

    def stop(self, job: str, fence: int, *, grace_ms: int) -> None:
        """Ask it to end, kill it after the grace."""
        self._wish(lambda: self._conductor.stop((job, fence), grace_ms))

    def poll(self) -> Mapping[tuple[str, int], Status]:
        """Return the present of every attempt. `Unavailable` when the engine itself has failed."""
        if self._broken is not None:
            raise Unavailable(
                f"the local engine has stopped: {self._broken}", hint="restart the agent"
            ) from self._broken
        with self._lock:
            return dict(self._shown)

    def forget(self, job: str, fence: int) -> None:
        """Kill what is left of it and drop all record."""
        with self._lock:
            self._shown.pop((job, fence), None)
        self._wish(lambda: self._conductor.forget((job, fence)))

    def close(self) -> None:
        """Kill everything and let go."""
        if self._closing:
            return
        self._closing = True
        self._wake()
        self._thread.join(CLOSE_S)
        with self._lock:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_write = -1

    # --- the engine's thread ------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            self._servers.begin()
            wait_ms: int | None = 0
            while not self._closing:
                wait_ms = self._turn(wait_ms)
        except Exception as error:
            # What is wrong with one attempt ends that attempt; this is the engine's own mistake.
            # It must not go on half-dead: everything is killed, and `poll` raises.
            self._broken = error
            self._changed()
        self._let_go()

    def _turn(self, wait_ms: int | None) -> int | None:
        """Wait for news, handle it, look at the clock. Return for how long to wait next."""
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        for server in self._servers.all():
            wanted = select.POLLIN | (select.POLLOUT if server.wants_write else 0)
            poller.register(server.link.fileno(), wanted)
        poller.poll(wait_ms)
        self._drain_wake()
        while self._wishes:
            self._wishes.popleft()()
        for server in self._servers.all():
            self._hear(server)
        return self._conductor.tick()

    def _hear(self, server: ForkServer) -> None:
        server.flush()
        events = server.receive()
        if events is None:
            self._servers.lost(server)
            self._conductor.lost(server)
            return
        for event in events:
            if event["event"] == "ready":
                self._servers.is_ready(server, threads=event["threads"], views=event["views"])
                self._changed()
            else:
                self._conductor.hear(event)

    def _let_go(self) -> None:
        for server in self._servers.all():
            server.close()
        groups = [at.group for at in self._conductor.attempts.values() if at.group is not None]
        for group in (*groups, *self._conductor.trash):
            group.kill()
            group.remove()
        self._conductor.stager.close()
        if self._host.groups is not None:
            self._host.groups.close()

    def _show(self, at: Running) -> None:
        """Publish an attempt, unless it was forgotten meanwhile."""
        status = at.status()
        with self._lock:
            before = self._shown.get(at.key)
            # An attempt that was forgotten has no news, also once its key is started anew.
            forgotten = at.key in self._conductor.forgotten
            if before is None or forgotten or self._conductor.attempts.get(at.key) is not at:
                return
            self._shown[at.key] = status
        if before.phase != status.phase or before.restarts != status.restarts:
            self._changed()

    def _wish(self, wish: Callable[[], None]) -> None:
        self._wishes.append(wish)
        self._wake()

    def _wake(self) -> None:
        # A full pipe holds wake-ups that were not read yet: one is enough.
        with self._lock, contextlib.suppress(BlockingIOError):
            if self._wake_write >= 0:
                os.write(self._wake_write, b"x")

    def _drain_wake(self) -> None:
        try:
            os.read(self._wake_read, 65536)
        except BlockingIOError:
            return


class _Servers:
    """The fork servers: one cold, one warm per environment, each started again when it dies."""

    def __init__(self, warm: Sequence[str], closed: Sequence[Path]) -> None:
        self._names = tuple(warm)
        self._closed = tuple(closed)
        self._held: dict[str, ForkServer] = {}
        """By environment; the cold one under the empty name."""
        self._starts: collections.Counter[str] = collections.Counter()

    def begin(self) -> None:
        """Start all of them in the background."""
        for name in ("", *self._names):
            self._start(name)

    def all(self) -> list[ForkServer]:
        """Return those that run."""
        return list(self._held.values())

    def ready(self) -> tuple[str, ...]:
        """Return the environments that can be forked from now."""
        return tuple(name for name in self._names if self.warm(name) is not None)

    def cold(self) -> ForkServer:
        """Return the cold one, started again if need be."""
        if "" not in self._held:
            self._start("")
        if "" not in self._held:
            raise OSError(f"its fork server died {SERVER_STARTS_MAX} times")
        return self._held[""]

    def warm(self, environment: str) -> ForkServer | None:
        """Return the warm one of an environment when it is ready."""
        server = self._held.get(environment)
        return server if environment and server is not None and server.ready else None

    def is_ready(self, server: ForkServer, *, threads: int, views: bool) -> None:
        """Take note that a server is up. One with threads cannot be forked safely and is closed."""
        server.views = views
        server.ready = threads == 1
        if not server.ready:
            self._remove(server)
            server.close()

    def lost(self, server: ForkServer) -> None:
        """Start it again, as often as is allowed."""
        name = self._remove(server)
        server.close()
        self._start(name)

    def _remove(self, server: ForkServer) -> str:
        name = next(name for name, held in self._held.items() if held is server)
        del self._held[name]
        return name

    def _start(self, name: str) -> None:
        if self._starts[name] < SERVER_STARTS_MAX:
            self._starts[name] += 1
            modules = ENVIRONMENTS[name] if name else ()
            self._held[name] = ForkServer(modules, closed=self._closed)
