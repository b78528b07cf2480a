"""Parsl's provider for Causeway.

    HighThroughputExecutor(provider=CausewayProvider(cores_per_node=4, walltime="01:00:00"), ...)

A block is one job. It is submitted as the Slurm commands submit it; control plane and token are
those of `CAUSEWAY_URL` and `CAUSEWAY_TOKEN`, or of the configuration file. Workers connect to the
submitter over TCP, so an island has to reach it, and a block that moves to another island begins
anew there, as Parsl's own retries expect.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.launchers import SingleNodeLauncher
from parsl.launchers.base import Launcher
from parsl.providers.base import ExecutionProvider
from parsl.providers.errors import SubmitException
from parsl.utils import RepresentationMixin

from causeway.model.errors import CausewayError
from causeway.shim.direct import Direct
from causeway.shim.rows import Row

__all__ = ["CausewayProvider"]
_STATES = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELLED,
    "TIMEOUT": JobState.TIMEOUT,
}
"""All other states are failures."""


class CausewayProvider(ExecutionProvider, RepresentationMixin):
    """Runs blocks on the federation.

    `islands` narrows where (names with commas, as `--partition` takes them); `mem_per_node` is in
    GB as Parsl has it; `worker_init` is run before the workers start.
    """

    def __init__(
        self,
        *,
        islands: str = "",
        nodes_per_block: int = 1,
        cores_per_node: int | None = None,
        mem_per_node: int | None = None,
        gpus_per_node: int | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str = "00:10:00",
        worker_init: str = "",
        launcher: Launcher | None = None,
    ) -> None:
        self.islands = islands
        self.nodes_per_block = nodes_per_block
        self.cores_per_node = cores_per_node
        self.mem_per_node = mem_per_node
        self.gpus_per_node = gpus_per_node
        self.init_blocks = init_blocks
        self.min_blocks = min_blocks
        self.max_blocks = max_blocks
        self.parallelism = parallelism
        self.walltime = walltime
        self.worker_init = worker_init
        self.launcher = launcher or SingleNodeLauncher()
        self.script_dir: str | None = None
        self.resources: dict[object, Any] = {}
        self._door: Direct | None = None

    @property
    def label(self) -> str:
        """Name of the provider in Parsl's records."""
        return "causeway"

    @property
    def status_polling_interval(self) -> int:
        """Seconds between two looks at the blocks."""
        return 5

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.causeway") -> object:
        """Submit a block; return its number as text."""
        assert self.script_dir is not None, "Parsl sets the folder of scripts first"
        name = f"{job_name}.{time.time()}"
        place = os.path.join(os.path.abspath(self.script_dir), name)  # noqa: PTH100, PTH118
        block = self.launcher(command, tasks_per_node, self.nodes_per_block)
        script = f"#!/bin/bash\n{self.worker_init}\nexport JOBNAME={name}\n{block}\n"
        options = {
            "job-name": name,
            "output": f"{place}.stdout",
            "error": f"{place}.stderr",
            "nodes": str(self.nodes_per_block),
            "ntasks-per-node": str(tasks_per_node),
            "time": self.walltime,
        }
        if self.islands:
            options["partition"] = self.islands
        if self.cores_per_node:
            options["cpus-per-task"] = str(max(1, self.cores_per_node // tasks_per_node))
        if self.mem_per_node:
            options["mem"] = f"{self.mem_per_node}G"
        if self.gpus_per_node:
            options["gpus-per-node"] = str(self.gpus_per_node)
        try:
            number = str(self._open().submit(script, options))
        except CausewayError as error:
            raise SubmitException(job_name, str(error)) from error
        self.resources[number] = {
            "job_id": number,
            "status": JobStatus(JobState.PENDING),
            "job_stdout_path": f"{place}.stdout",
            "job_stderr_path": f"{place}.stderr",
        }
        return number

    def status(self, job_ids: Sequence[object]) -> Sequence[JobStatus]:
        """Return the blocks' states in the order asked for; what they were when nobody answers."""
        try:
            found = self._open().rows([int(str(job)) for job in job_ids])
        except CausewayError:
            return [self.resources[job]["status"] for job in job_ids]
        for job in job_ids:
            row = found.get(int(str(job)))
            if row is not None:
                self.resources[job]["status"] = self._status(row, self.resources[job])
        return [self.resources[job]["status"] for job in job_ids]

    def cancel(self, job_ids: Sequence[object]) -> Sequence[bool]:
        """Stop blocks; say of each whether it was there to be stopped."""
        stopped = []
        for job in job_ids:
            try:
                stopped.append(self._open().cancel(int(str(job))))
            except CausewayError:
                stopped.append(False)
        return stopped

    def _status(self, row: Row, block: dict[str, Any]) -> JobStatus:
        return JobStatus(
            _STATES.get(row.state, JobState.FAILED),
            message=row.why or None,
            exit_code=row.exit_code if row.state in ("COMPLETED", "FAILED") else None,
            stdout_path=block["job_stdout_path"],
            stderr_path=block["job_stderr_path"],
        )

    def _open(self) -> Direct:
        if self._door is None:
            self._door = Direct()
        return self._door
