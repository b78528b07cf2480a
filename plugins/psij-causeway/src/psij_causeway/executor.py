"""PSI/J's executor for Causeway.

    executor = psij.JobExecutor.get_instance("causeway")

Jobs are submitted as the Slurm commands submit them, so what is written of those holds here too:
the working folder goes along or is shared, log files are written where `stdout_path` and
`stderr_path` say, and a job is completed once its files are back. Control plane and token are those
of `CAUSEWAY_URL` and `CAUSEWAY_TOKEN`, or of the configuration file.

PSI/J's own launchers are scripts on the submitter's disk, which an island does not have: `single`
and none start one process, `multiple` and `srun` start `process_count` of them.
"""

from __future__ import annotations

import shlex
import threading
import time
from pathlib import Path

from psij import (
    InvalidJobException,
    Job,
    JobExecutor,
    JobExecutorConfig,
    JobSpec,
    JobState,
    JobStatus,
    SubmitException,
)

from causeway.model.errors import CausewayError
from causeway.shim.direct import Direct
from causeway.shim.rows import Row

__all__ = ["CausewayJobExecutor"]
POLL_S = 1.0
_STATES = {
    "PENDING": JobState.QUEUED,
    "CONFIGURING": JobState.QUEUED,
    "RUNNING": JobState.ACTIVE,
    "COMPLETING": JobState.ACTIVE,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELED,
}
"""All other states are failures."""
_ONE = (None, "", "single")
_MANY = ("multiple", "srun")


class CausewayJobExecutor(JobExecutor):
    """Runs jobs on the federation."""

    _NAME_ = "causeway"

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        """The control plane is that of the settings; a URL is refused."""
        if url:
            raise ValueError("set CAUSEWAY_URL instead of giving the executor a URL")
        super().__init__(url, config or JobExecutorConfig())
        self._door = Direct()
        self._lock = threading.Lock()
        """Guards the door, and the jobs that are watched."""
        self._watched: dict[int, Job] = {}
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Submit a job; its native identifier is its number."""
        spec = self._check_job(job)
        try:
            script, options = _script(spec), _options(spec)
            with self._lock:
                number = self._door.submit(script, options)
        except CausewayError as error:
            raise SubmitException(str(error), exception=error) from error
        job._native_id = str(number)
        self._set_job_status(job, JobStatus(JobState.QUEUED, metadata={"native_id": str(number)}))
        self._watch(number, job)

    def cancel(self, job: Job) -> None:
        """Stop a job. One that was not submitted yet, or has ended, is left as it is."""
        if job.native_id is None or job.status.final:
            return
        try:
            with self._lock:
                self._door.cancel(int(job.native_id))
        except CausewayError as error:
            raise SubmitException(str(error), exception=error) from error

    def list(self) -> list[str]:
        """Return the numbers of the project's jobs that have not ended."""
        with self._lock:
            return [str(job["number"]) for job in self._door.centre.unfinished()]

    def attach(self, job: Job, native_id: str) -> None:
        """Follow a job that was submitted before."""
        if job.status.state != JobState.NEW:
            raise InvalidJobException("Job must be in the NEW state")
        job.executor = self
        job._native_id = native_id
        self._watch(int(native_id), job)

    def _watch(self, number: int, job: Job) -> None:
        with self._lock:
            self._watched[number] = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._poll, name="causeway", daemon=True)
                self._thread.start()

    def _poll(self) -> None:
        while True:
            time.sleep(POLL_S)
            with self._lock:
                numbers = list(self._watched)
                if not numbers:
                    self._thread = None
                    return
                try:
                    found = self._door.rows(numbers)
                except CausewayError:
                    # Out of reach for now: what becomes of the jobs is asked again.
                    continue
                jobs = {n: self._watched[n] for n in numbers}
            for number, row in found.items():
                status = _status(row)
                job = jobs[number]
                if status.state != job.status.state:
                    self._set_job_status(job, status)
                if status.final:
                    with self._lock:
                        self._watched.pop(number, None)


def _status(row: Row) -> JobStatus:
    state = _STATES.get(row.state, JobState.FAILED)
    message = row.why or row.reason
    code = row.exit_code if state in (JobState.COMPLETED, JobState.FAILED) else None
    return JobStatus(state, message=message, exit_code=code)


def _script(spec: JobSpec) -> str:
    if not spec.executable:
        raise InvalidJobException("the job names no executable")
    if spec.launcher not in (*_ONE, *_MANY):
        raise InvalidJobException(f"launcher {spec.launcher!r} is not supported: single, multiple")
    lines = ["#!/bin/bash"]
    for name, value in (spec.environment or {}).items():
        lines.append(f"export {name}={shlex.quote(str(value))}")
    for path in (spec.pre_launch, spec.post_launch):
        if path is not None and not Path(path).is_file():
            raise InvalidJobException(f"{path} is not a file")
    if spec.pre_launch is not None:
        lines.append(Path(spec.pre_launch).read_text())
    command = shlex.join([spec.executable, *(spec.arguments or [])])
    if spec.launcher in _MANY:
        command = f"srun {command}"
    if spec.stdin_path is not None:
        command += f" < {shlex.quote(str(spec.stdin_path))}"
    lines += [command, "psij_code=$?"]
    if spec.post_launch is not None:
        lines.append(Path(spec.post_launch).read_text())
    return "\n".join([*lines, "exit $psij_code"]) + "\n"


def _options(spec: JobSpec) -> dict[str, str]:
    resources, attributes = spec.resources, spec.attributes
    options = {
        "job-name": spec.name or Path(str(spec.executable)).name,
        "output": str(spec.stdout_path or "/dev/null"),
        "error": str(spec.stderr_path or "/dev/null"),
        "export": "" if spec.inherit_environment else "NONE",
        "nodes": str(resources.computed_node_count),
        "ntasks": str(resources.computed_process_count),
        "cpus-per-task": str(resources.cpu_cores_per_process or 1),
    }
    if spec.directory is not None:
        options["chdir"] = str(spec.directory)
    if resources.gpu_cores_per_process:
        options["gpus-per-task"] = str(resources.gpu_cores_per_process)
    if resources.memory_kb:
        options["mem"] = f"{-(-resources.memory_kb // resources.computed_node_count)}K"
    if attributes is not None:
        if attributes.duration:
            options["time"] = str(max(1, -(-int(attributes.duration.total_seconds()) // 60)))
        if attributes.queue_name:
            options["partition"] = attributes.queue_name
    return {name: value for name, value in options.items() if value}
