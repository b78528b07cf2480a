"""Slurm by its commands, as they were since 20.11; tested with 22.05.

Every command has a time limit and starts from a bare environment: what a login shell has in
`SBATCH_*` or `SQUEUE_*` must not change what they do. The environment of sbatch becomes the job's,
so it holds nothing of the agent's either.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from causeway.adapters.outside.speaking import Declined, Silent
from causeway.adapters.slurm import reasons, texts
from causeway.adapters.slurm.values import Accounted, Cluster, JobRow, Node, Order, Partition
from causeway.model.errors import InvalidInput

TIMEOUT_S = 30.0
JOBS_PER_CALL = 200
PATH = "/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin"


class Commands:
    """One cluster, by the commands that its administrators installed here."""

    def __init__(self, *, folder: str = "", conf: str = "", timeout_s: float = TIMEOUT_S) -> None:
        """`folder` holds the commands (empty: they are in PATH); `conf` is its slurm.conf (empty:
        where Slurm looks by itself)."""
        self._folder = folder
        self._timeout_s = timeout_s
        self._user = pwd.getpwuid(os.getuid()).pw_name
        self._env = bare_environment(os.environ, conf=conf, folder=folder)
        if shutil.which("sbatch", path=self._env["PATH"]) is None:
            raise InvalidInput(
                "sbatch was not found",
                where="$.engine.commands",
                hint="give the folder of Slurm's commands, or install them (Debian: slurm-client)",
            )

    def cluster(self) -> Cluster:
        return texts.cluster(self._ask("scontrol", "show", "config"))

    def nodes(self) -> tuple[Node, ...]:
        return texts.nodes(self._ask("scontrol", "-d", "-o", "show", "node"))

    def partitions(self) -> tuple[Partition, ...]:
        return texts.partitions(self._ask("scontrol", "-o", "-a", "show", "partition"))

    def jobs(self) -> tuple[JobRow, ...]:
        asked = ("squeue", "-h", "-a", "-t", "all", f"--user={self._user}")
        return texts.jobs(self._ask(*asked, "-O", texts.QUEUE_FORMAT))

    def submit(self, order: Order) -> int:
        said = self._run(["sbatch", *options(order)], stdin=order.script)
        if said.returncode != 0:
            trouble = said.stderr or said.stdout
            if reasons.is_silent(trouble):
                raise Silent(_sentence(trouble))
            raise Declined(reasons.refusal(trouble))
        return int(said.stdout.strip().split(";")[0])

    def cancel(self, jobs: Sequence[int], *, kill: bool) -> None:
        for start in range(0, len(jobs), JOBS_PER_CALL):
            numbers = [str(job) for job in jobs[start : start + JOBS_PER_CALL]]
            if kill:
                self._scancel("--signal=KILL", "--full", "--quiet", *numbers)
            self._scancel("--quiet", *numbers)

    def _scancel(self, *words: str) -> None:
        said = self._run(["scancel", *words])
        if said.returncode != 0 and reasons.is_silent(said.stderr):
            raise Silent(_sentence(said.stderr))

    def accounted(self, jobs: Sequence[int]) -> tuple[Accounted, ...]:
        found: list[Accounted] = []
        for start in range(0, len(jobs), JOBS_PER_CALL):
            numbers = ",".join(str(job) for job in jobs[start : start + JOBS_PER_CALL])
            asked = ("sacct", "-n", "-P", "-a", "-j", numbers, "-o", "JobIDRaw,State,TotalCPU,End")
            found += texts.accounted(self._ask(*asked))
        return tuple(found)

    def _ask(self, *words: str) -> str:
        said = self._run(words)
        if said.returncode != 0:
            raise Silent(_sentence(said.stderr or said.stdout))
        return said.stdout

    def _run(
        self, words: Sequence[str], *, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                words,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                env=self._env,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            said = late.stderr.decode(errors="replace").strip() if late.stderr else ""
            why = f": {said.splitlines()[-1]}" if said else ""
            raise Silent(f"{words[0]} did not answer within {self._timeout_s:g} s{why}") from None
        except OSError as error:
            raise Silent(f"{words[0]} cannot be run: {error}") from error


def bare_environment(env: Mapping[str, str], *, conf: str, folder: str) -> dict[str, str]:
    """Return the environment of commands: what finds Slurm and its user, and nothing else.

    >>> sorted(bare_environment({"USER": "ann", "SBATCH_ACCOUNT": "x"}, conf="/a", folder=""))
    ['LC_ALL', 'PATH', 'SLURM_CONF', 'USER']
    """
    names = ("HOME", "USER", "LOGNAME", "SLURM_CONF", "SLURM_CLUSTERS", "LD_LIBRARY_PATH")
    bare = {name: env[name] for name in names if name in env}
    path = ":".join(part for part in (folder, env.get("PATH", ""), PATH) if part)
    bare |= {"PATH": path, "LC_ALL": "C.UTF-8"}
    return bare | ({"SLURM_CONF": conf} if conf else {})


def options(order: Order) -> list[str]:
    """Return the options of sbatch for an order."""
    found = [
        "--parsable",
        "--no-requeue",
        f"--job-name={order.name}",
        f"--comment={order.comment}",
        f"--chdir={order.folder}",
        f"--output={order.output}",
        "--open-mode=append",
        f"--nodes={order.nodes}",
        f"--ntasks={order.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={order.cpus}",
        f"--mem={order.memory_mib}M",
    ]
    wishes = {
        "gres": order.gres,
        "time": str(order.time_min) if order.time_min else "",
        "partition": order.partition,
        "account": order.account,
        "qos": order.qos,
        "reservation": order.reservation,
        "constraint": order.constraint,
    }
    return [*found, *(f"--{name}={wish}" for name, wish in wishes.items() if wish), *order.extra]


def _sentence(said: str) -> str:
    lines = [line for line in said.strip().splitlines() if line]
    return f"Slurm does not answer: {lines[-1] if lines else 'no reason given'}"
