"""An engine over a real cluster, with short words for what tests do with it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster import Cluster

from causeway.adapters.slurm import open_engine
from causeway.adapters.world import SystemClock
from causeway.model.jobs import JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Engine, Launch, Status

WAIT_S = 60.0
"""Only a hang takes this long; nothing is asserted about time."""
ENDED = {Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED}
AGES_MS = 3_600_000
Key = tuple[str, int]
_numbers = itertools.count(1)


class Island:
    """One agent's folder, and its engine."""

    def __init__(self, root: Path, cluster: Cluster, settings: Mapping[str, Any]) -> None:
        self.root = root
        self.cluster = cluster
        self.settings = {"conf": str(cluster.conf), "poll_s": 0.2, "timeout_s": 5, **settings}
        self.clock = SystemClock()
        self.engine: Engine | None = None
        self.open()

    def open(self, *, granted_ms: int = AGES_MS) -> None:
        """Open the engine, as an agent does at its start."""
        self.engine = open_engine(self.settings, root=self.root, clock=self.clock)
        self.grant(granted_ms)

    def grant(self, for_ms: int) -> None:
        self.the.grant(self.clock.monotonic_ms() + for_ms)

    @property
    def the(self) -> Engine:
        assert self.engine is not None
        return self.engine

    def close(self) -> None:
        """The agent ends; its attempts go on."""
        self.the.close()
        self.engine = None

    def start(
        self,
        run: str,
        *,
        deadline_stop: bool = True,
        envs: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> Key:
        """Start an attempt."""
        key = (f"urn:cpi:test:job:j{next(_numbers)}", 1)
        folder = self.folder(key)
        for part in ("work", "logs", "checkpoints"):
            (folder / part).mkdir(parents=True)
        self.the.start(
            Launch(
                job=key[0],
                fence=key[1],
                spec=JobSpec(name="t", run=run, **spec),
                folder=folder,
                envs={"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "12345", **(envs or {})},
                deadline_stop=deadline_stop,
            )
        )
        return key

    def folder(self, key: Key) -> Path:
        return self.root / "attempts" / f"{key[0].rpartition(':')[2]}-{key[1]}"

    def out(self, key: Key, name: str = "rank-0.stdout") -> str:
        path = self.folder(key) / "logs" / name
        return path.read_text() if path.exists() else ""

    def work(self, key: Key, name: str) -> str:
        path = self.folder(key) / "work" / name
        return path.read_text() if path.exists() else ""

    def until(self, key: Key, true: Callable[[Status], Any], *, seconds: float = WAIT_S) -> Status:
        """Wait until its status is as wanted, and return it."""
        give_up = time.monotonic() + seconds
        while True:
            status = self.the.poll().get(key)
            if status is not None and true(status):
                return status
            if time.monotonic() > give_up:
                queue = self.cluster.queue("-t", "all")
                raise AssertionError(f"{key} is {status} after {seconds:g} s; Slurm: {queue[-5:]}")
            time.sleep(0.02)

    def ended(self, key: Key) -> Status:
        return self.until(key, lambda status: status.phase in ENDED)

    def runs(self, key: Key) -> Status:
        return self.until(key, lambda status: status.phase == Phase.RUNNING)

    def number(self, key: Key) -> str:
        """Return Slurm's number of an attempt, once it has one."""
        name = f"causeway-{self.folder(key).name}"

        def found() -> str:
            rows = [row for row in self.cluster.queue("-t", "all") if row[1] == name]
            return rows[0][0] if rows else ""

        return str(self.cluster.until("it is in the queue", found))

    def clear(self) -> None:
        """End every job of this island."""
        if self.engine is None:
            return
        for job, fence in self.the.poll():
            self.the.forget(job, fence)
        self.close()
