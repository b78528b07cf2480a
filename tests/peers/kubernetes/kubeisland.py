"""An engine over a real control plane, with short words for what tests do with it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kubecluster import Cluster

from causeway.adapters.kubernetes import open_engine
from causeway.adapters.world import SystemClock
from causeway.model.jobs import JobSpec
from causeway.model.protocol import Phase
from causeway.model.resources import AcceleratorRequest, Resources
from causeway.ports.engine import Engine, Launch, Status

WAIT_S = 240.0
"""Only a hang takes this long; nothing is asserted about time."""
ENDED = {Phase.SUCCEEDED, Phase.FAILED, Phase.STOPPED}
AGES_MS = 3_600_000
MIB = 1024**2
SMALL = Resources(cpu_milli=500, memory_bytes=64 * MIB)
TAG, RANK = "causeway/tag", "causeway/rank"
Key = tuple[str, int]
_numbers = itertools.count(1)


def gpus(count: int, model: str = "H100") -> Resources:
    """Return what asks for that many GPUs."""
    wanted = AcceleratorRequest(count=count, model=model)
    return Resources(cpu_milli=500, memory_bytes=64 * MIB, accelerator=wanted)


class Island:
    """One agent's folder, and its engine."""

    def __init__(
        self, root: Path, cluster: Cluster, settings: Mapping[str, Any], *, lease_ms: int = 0
    ) -> None:
        self.root = root
        self.cluster = cluster
        self.settings = {
            "kubeconfig": str(cluster.kubeconfig("admin")),
            "claim": "shared",
            "mount": str(cluster.share),
            "image": "python:3.11",
            "python": "/usr/bin/python3",
            "poll_s": 0.2,
            "timeout_s": 5,
            **settings,
        }
        self.clock = SystemClock()
        self.lease_ms = lease_ms
        """For how long leases are granted at each look; 0: once, for ages."""
        self.engine: Engine | None = None
        self.open(granted_ms=lease_ms or AGES_MS)

    def open(self, *, granted_ms: int = AGES_MS) -> None:
        """Open the engine, as an agent does at its start."""
        self.engine = open_engine(self.settings, root=self.root, clock=self.clock)
        self.the.probe()
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
                spec=JobSpec(name="t", run=run, **{"resources": SMALL, **spec}),
                folder=folder,
                envs={"PATH": "/usr/bin:/bin", **(envs or {})},
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
            if self.lease_ms:
                self.grant(self.lease_ms)
            status = self.the.poll().get(key)
            if status is not None and true(status):
                return status
            if time.monotonic() > give_up:
                raise AssertionError(f"{key} is {status} after {seconds:g} s{self.told()}")
            time.sleep(0.02)

    def told(self) -> str:
        """Return what there is in Kubernetes, for messages."""
        said = f"; {self.the.condition().problems}"
        for pod in self.cluster.pods():
            said += f"; {pod['metadata']['name']}: {pod['status']}"
        return said

    def ended(self, key: Key) -> Status:
        return self.until(key, lambda status: status.phase in ENDED)

    def runs(self, key: Key) -> Status:
        return self.until(key, lambda status: status.phase == Phase.RUNNING)

    def says(self, key: Key, words: str) -> Status:
        """Wait until it says why it waits."""
        return self.until(key, lambda status: words in status.message)

    def pods(self, key: Key) -> list[dict[str, Any]]:
        """Return the pods of an attempt."""
        return [
            pod
            for pod in self.cluster.pods()
            if pod["metadata"].get("annotations", {}).get("causeway/job") == key[0]
        ]

    def jobs(self, key: Key) -> list[dict[str, Any]]:
        """Return the Jobs of an attempt."""
        return [
            job
            for job in self.cluster.jobs()
            if job["metadata"].get("annotations", {}).get("causeway/job") == key[0]
        ]

    def clear(self) -> None:
        """End every job of this island, and wait until Kubernetes has none of it."""
        if self.engine is None:
            return
        mark = (self.root / "kubernetes-mark").read_text().strip()
        for job, fence in self.the.poll():
            self.the.forget(job, fence)
        params = {"labelSelector": f"causeway/island={mark}"}
        self.cluster.until(
            "nothing of the island is left",
            lambda: (
                not self.cluster.get("/api/v1/pods", **params)["items"]
                and not self.cluster.get("/apis/batch/v1/jobs", **params)["items"]
            ),
        )
        self.close()
