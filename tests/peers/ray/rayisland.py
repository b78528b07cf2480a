"""An engine over a real cluster, with short words for what tests do with it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raycluster import WAIT_S, Cluster

from causeway.adapters.ray import open_engine
from causeway.adapters.world import SystemClock
from causeway.model.jobs import JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Engine, Launch, Status

ENDED = {Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED}
AGES_MS = 3_600_000
Key = tuple[str, int]
_numbers = itertools.count(1)


class Island:
    """One agent's folder, and its engine."""

    def __init__(self, root: Path, cluster: Cluster, settings: Mapping[str, Any]) -> None:
        self.root = root
        self.cluster = cluster
        self.settings = cluster.settings(**settings)
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

    def launch(self, run: str, *, deadline_stop: bool = True, **spec: Any) -> Launch:
        """Stage an attempt."""
        job = f"urn:cpi:test:job:j{next(_numbers)}"
        folder = self.folder((job, 1))
        for part in ("work", "logs", "checkpoints"):
            (folder / part).mkdir(parents=True)
        return Launch(
            job=job,
            fence=1,
            spec=JobSpec(name="t", run=run, **spec),
            folder=folder,
            envs={"PATH": "/usr/bin:/bin", "HIDDEN": "hidden-value"},
            deadline_stop=deadline_stop,
        )

    def start(self, run: str, **more: Any) -> Key:
        """Start an attempt."""
        launch = self.launch(run, **more)
        self.the.start(launch)
        return launch.job, launch.fence

    def folder(self, key: Key) -> Path:
        return self.root / "attempts" / f"{key[0].rpartition(':')[2]}-{key[1]}"

    def out(self, key: Key, name: str = "rank-0.stdout") -> str:
        path = self.folder(key) / "logs" / name
        return path.read_text() if path.exists() else ""

    def work(self, key: Key, name: str) -> str:
        path = self.folder(key) / "work" / name
        return path.read_text() if path.exists() else ""

    def until(self, key: Key, true: Callable[[Status], Any]) -> Status:
        """Wait until its status is as wanted, and return it."""
        give_up = time.monotonic() + WAIT_S
        while True:
            status = self.the.poll().get(key)
            if status is not None and true(status):
                return status
            if time.monotonic() > give_up:
                row = self.row(key)
                raise AssertionError(f"{key} is {status} after {WAIT_S:g} s; Ray says {row}")
            time.sleep(0.02)

    def ended(self, key: Key) -> Status:
        return self.until(key, lambda status: status.phase in ENDED)

    def runs(self, key: Key) -> Status:
        return self.until(key, lambda status: status.phase == Phase.RUNNING)

    def row(self, key: Key) -> dict[str, Any]:
        """Return what Ray says of an attempt; nothing, where it does not know it."""
        rows = self.cluster.jobs()
        mine = [one for one in rows if (one["metadata"] or {}).get("causeway_job") == key[0]]
        assert len(mine) < 2, mine
        return mine[0] if mine else {}

    def clear(self) -> None:
        """End every job of this island, and see that Ray has none of them left."""
        if self.engine is None:
            self.open()
        for job, fence in self.the.poll():
            self.the.forget(job, fence)
        mark = (self.root / "ray-mark").read_text().strip()

        def left() -> list[Any]:
            rows = self.cluster.jobs()
            return [row for row in rows if (row["metadata"] or {}).get("causeway_island") == mark]

        self.cluster.until("Ray has forgotten this island's jobs", lambda: not left())
        self.close()
