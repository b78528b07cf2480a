"""A stand-in for the wire under a run: artefacts and jobs in memory, portions run by the real
runner in this process, and faults on request."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from causeway.model.errors import Conflict, NotFound
from causeway.sdk.remote import plain, runner
from causeway.sdk.remote.options import CALL, RESULTS, TASKS


@dataclass(slots=True)
class Job:
    id: str
    name: str
    inputs: dict[str, str]
    run: str
    state: str = "queued"
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def span(self) -> tuple[int, int]:
        first, last = re.findall(r"runner\.py (\d+) (\d+)", self.run)[0]
        return int(first), int(last)


@dataclass(slots=True)
class MemoryDesk:
    """What `Desk` is to a run. `before` is called before each request, and may raise."""

    root: Path
    names: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    groups: dict[str, list[Job]] = field(default_factory=dict)
    keys: dict[str, tuple[str, object]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    ran: Counter[int] = field(default_factory=Counter)
    requests: int = 0
    fails_at: int = -1
    failure: BaseException = field(default_factory=RuntimeError)
    budget_tasks: int = 10**9
    """Tasks that a portion gets to before its budget is spent."""
    island_brings: str = ""
    """The job for which an island has brought what the library holds; empty: people brought it."""
    lively: bool = False
    """Whether the islands work whenever somebody looks."""

    def _request(self) -> None:
        self.requests += 1
        if self.requests == self.fails_at:
            raise self.failure

    # As Desk

    def keep(
        self,
        folder: Path,
        *,
        kind: str = "dataset",
        name: str = "",
        meta: Mapping[str, str | int] | None = None,
    ) -> str:
        self._request()
        made = f"sha256:{len(list(self.root.iterdir()))}"
        folder.rename(self.root / made)
        if name:
            self.names[name] = made, dict(meta or {})
        return made

    def known(self, name: str) -> dict[str, Any] | None:
        self._request()
        if name not in self.names:
            return None
        made, meta = self.names[name]
        return {"artifact": {"id": made, "job": self.island_brings}, "manifest": {"meta": meta}}

    @contextmanager
    def fetched(self, artifact: str) -> Iterator[Path]:
        self._request()
        if not (self.root / artifact).is_dir():
            raise NotFound(f"there is no artefact {artifact}")
        yield self.root / artifact

    def submit(self, body: Any, *, key: str) -> str:
        self._request()
        if key in self.keys:
            made, before = self.keys[key]
            if before != body:
                raise Conflict("the key was used with another body")
            return made
        stages = body.get("stages", [body])
        made = f"g{len(self.keys)}"
        self.groups[made] = [
            Job(f"{made}.{i}", one["name"], one["inputs"], one["run"])
            for i, one in enumerate(stages)
        ]
        self.keys[key] = made, body
        # The answer may be lost when the work is done.
        self._request()
        return made

    def jobs(self, submitted: str, *, alone: bool) -> list[dict[str, Any]]:
        self._request()
        if self.lively:
            self.work()
        found = self.groups[submitted]
        assert alone == (len(found) == 1)
        return [
            {
                "id": job.id,
                "name": job.name,
                "state": job.state,
                "island": "urn:cpi:x:island:alba",
                "outputs": job.outputs,
                "cost_micros": 5,
                "currency": "USD",
                "headline": "Failed: a test says so",
            }
            for job in found
        ]

    def stop(self, job: str) -> None:
        self._request()
        self.stopped.append(job)
        for one in self.groups.get(
            job, [j for g in self.groups.values() for j in g if j.id == job]
        ):
            if one.state in ("queued", "running"):
                one.state = "cancelled"

    def close(self) -> None:
        """Nothing is open."""

    def last_words(self, job: str) -> str:
        return "Segmentation fault"

    # As the islands

    @property
    def open(self) -> list[Job]:
        """Jobs that have not ended."""
        jobs = (job for group in self.groups.values() for job in group)
        return [job for job in jobs if job.state in ("queued", "running")]

    def work(self) -> None:
        """Run every job that is there."""
        for job in self.open:
            self.run(job)

    def run(self, job: Job) -> None:
        """Run one portion as its island would, in this process."""
        start, stop = job.span
        top = self.root.parent / f"job-{job.id}"
        top.mkdir()
        (top / "call").symlink_to(self.root / job.inputs[CALL])
        (top / "tasks").symlink_to(self.root / job.inputs[TASKS])
        out = os.open(top / "results", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        portion = runner.Work(
            here=top / "call",
            tasks=top / "tasks" / f"{start}-{stop}",
            first=start,
            stop=min(stop, start + self.budget_tasks),
            until_s=1e18,
            out=out,
            pickled='"pickle"' in (top / "call" / "call.json").read_text(),
            timeout_s=0.0,
        )
        # Its own modules are here already; compiling them for each job would take the longest.
        with (
            redirect_stderr(io.StringIO()),
            patch.object(runner, "beside", lambda _here, _name: plain),
        ):
            runner.run_tasks(portion, start)
        os.close(out)
        self.ran.update(range(portion.first, portion.stop))
        self.hand_in(job, (top / "results").read_bytes())

    def hand_in(self, job: Job, data: bytes) -> None:
        """End a job well, with these results."""
        made = f"sha256:out-{job.id}"
        place = self.root / made / RESULTS
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
        job.state, job.outputs = "succeeded", {RESULTS: made}
