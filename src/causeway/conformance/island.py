"""One engine on one root, used as an agent uses it: one call at a time, its lease kept, watched.

A thread does what the agent does all the time: it grants the lease further and polls. Every status
that it or a case sees is held against `history`; what contradicts is kept per attempt, and fails
the case that the attempt belongs to. The engine may live in this process or in a child (`far`):
killing the child is then a real kill -9 of the agent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from causeway.conformance.far import FarEngine
from causeway.conformance.history import contradiction
from causeway.conformance.subject import OffsetClock, Subject
from causeway.model.islands import Inventory
from causeway.ports.engine import Condition, Engine, Launch, Status

T = TypeVar("T")
Key = tuple[str, int]
LOOK_S = 0.05
LEASE_MS = 30_000
"""Long enough for an agent to be killed and to come back on a busy machine."""
GRANT_S = 0.5


class Island:
    """An engine that is open."""

    def __init__(
        self,
        subject: Subject,
        root: Path,
        *,
        clock: OffsetClock | None = None,
        far: bool = False,
        lease_ms: int = LEASE_MS,
    ) -> None:
        """`far` has the engine live in a child process. A lease of 0 is never granted."""
        self.subject, self.root = subject, root
        self.clock = clock or OffsetClock()
        self.lease_ms = lease_ms
        self.granted_until_ms = 0
        self.wrong: dict[Key, str] = {}
        """What contradicts in an attempt's statuses, the first thing."""
        self.phases: dict[Key, list[str]] = {}
        """Every phase that was seen, in order."""
        self.changes = 0
        """How often the engine said that something changed."""
        self._last: dict[Key, Status] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        root.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = (
            FarEngine(subject, root, offset_ms=self.clock.offset_ms)
            if far
            else subject.open(root, self.clock)
        )
        self.engine.on_change(self._changed)
        self.error: Exception | None = None
        self.outlives: bool = self.call(lambda engine: engine.outlives)
        """Whether attempts go on when the agent ends."""
        self._keep()
        self._keeper = threading.Thread(target=self._run, name="conformance-island", daemon=True)
        self._keeper.start()

    def call(self, use: Callable[[Engine], T]) -> T:
        """Use the engine, nobody else meanwhile."""
        with self._lock:
            return use(self.engine)

    def start(self, launch: Launch) -> None:
        """Begin starting an attempt."""
        self.call(lambda engine: engine.start(launch))

    def stop(self, key: Key, grace_ms: int) -> None:
        """Ask it to end."""
        self.call(lambda engine: engine.stop(*key, grace_ms=grace_ms))

    def forget(self, key: Key) -> None:
        """Drop all record, here too."""
        with self._lock:
            self.engine.forget(*key)
            self._last.pop(key, None)

    def poll(self) -> Mapping[Key, Status]:
        """Return the present of every attempt, and remember what it contradicts."""
        with self._lock:
            seen = self.engine.poll()
            for key, status in seen.items():
                self._see(key, status)
            return seen

    def probe(self) -> Inventory:
        """Find out what is there."""
        return self.call(lambda engine: engine.probe())

    def condition(self) -> Condition:
        """Return how the engine itself is."""
        return self.call(lambda engine: engine.condition())

    @property
    def closed(self) -> bool:
        """Whether it was let go."""
        return self._closed.is_set()

    def close(self) -> None:
        """Let go, as an agent does that ends."""
        if not self.closed:
            self._leave()
            self.engine.close()

    def kill(self) -> None:
        """Kill -9 the agent, which must be a far one."""
        self._leave()
        assert isinstance(self.engine, FarEngine)
        self.engine.kill()

    def again(self, *, far: bool = False) -> Island:
        """Open the engine anew on the same root."""
        return Island(self.subject, self.root, clock=self.clock, far=far, lease_ms=self.lease_ms)

    def _leave(self) -> None:
        self._closed.set()
        self._keeper.join()

    def _run(self) -> None:
        granted = time.monotonic()
        while not self._closed.wait(LOOK_S):
            try:
                if time.monotonic() - granted >= GRANT_S:
                    granted = time.monotonic()
                    self._keep()
                self.poll()
            except Exception as error:
                # Whoever waits for an attempt of this island meets it; see `Bench`.
                self.error = error
                return

    def _keep(self) -> None:
        if self.lease_ms:
            until_ms = self.clock.monotonic_ms() + self.lease_ms
            self.call(lambda engine: engine.grant(until_ms))
            self.granted_until_ms = until_ms

    def _see(self, key: Key, status: Status) -> None:
        before = self._last.get(key)
        why = contradiction(before, status)
        if why:
            self.wrong.setdefault(key, why)
        phases = self.phases.setdefault(key, [])
        if not phases or phases[-1] != status.phase:
            phases.append(status.phase)
        self._last[key] = status

    def _changed(self) -> None:
        self.changes += 1
