"""A launch as a job of Slurm. Pure.

The mark in a job's comment says whose it is, so that a restarted agent finds it again, and that a
submission whose answer was lost is never repeated:

    causeway/1 <island's own mark> <tag of the submission> <fence> <job>
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from causeway.adapters.slurm.settings import Settings
from causeway.adapters.slurm.values import Order
from causeway.ports.engine import Launch

MARK = "causeway/1"
MIB = 1024**2
TIME_MARGIN_S = 90
"""Slurm's limit is the runner's plus this: the runner ends a job in time, and says why."""
KEEP = (
    *("SLURM_", "SLURMD_", "SRUN_", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    *("HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "ASCEND_", "GPU_DEVICE_ORDINAL", "TMPDIR"),
)
"""What Slurm sets on a node and the program sees: its job steps and devices are Slurm's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Whose a job of Slurm is."""

    island: str
    tag: str
    job: str
    fence: int

    def text(self) -> str:
        return f"{MARK} {self.island} {self.tag} {self.fence} {self.job}"


def parse_mark(comment: str) -> Mark | None:
    """Return the mark in a comment; None when the job is not ours.

    >>> parse_mark("causeway/1 isl7 tag9 3 urn:job:x").fence, parse_mark("nightly run")
    (3, None)
    """
    words = comment.split(" ")
    if len(words) != 5 or words[0] != MARK or not words[3].isdecimal():
        return None
    return Mark(island=words[1], tag=words[2], fence=int(words[3]), job=words[4])


def order(
    launch: Launch,
    settings: Settings,
    *,
    mark: Mark,
    command: Sequence[str],
    gres_type: str = "",
    partitions: Sequence[str] = (),
) -> Order:
    """Return the job that Slurm gets; `command` runs one rank of it."""
    spec, need = launch.spec, launch.spec.resources
    limit_s = spec.time_limit_s
    return Order(
        name=f"causeway-{launch.folder.name}",
        comment=mark.text(),
        script=script(command, ranks=spec.num_nodes, cpus=cpus(need.cpu_milli), job=launch.job),
        folder=str(launch.folder / "work"),
        output=str(launch.folder / "runner" / "slurm.out"),
        nodes=spec.num_nodes,
        cpus=cpus(need.cpu_milli),
        memory_mib=-(-need.memory_bytes // MIB),
        gres=_gres(need.accelerator.count, gres_type) if need.accelerator else "",
        time_min=-(-int(limit_s + TIME_MARGIN_S) // 60) if limit_s else 0,
        partition=",".join(partitions),
        account=settings.account,
        qos=settings.qos,
        reservation=settings.reservation,
        constraint=settings.constraint,
        extra=settings.options,
    )


def script(command: Sequence[str], *, ranks: int, cpus: int, job: str) -> str:
    """Return the batch script. It holds no secret: Slurm shows scripts to administrators."""
    runner = shlex.join(command)
    if ranks > 1:
        step = (
            f"srun --nodes={ranks} --ntasks={ranks} --ntasks-per-node=1 --cpus-per-task={cpus} "
            "--kill-on-bad-exit=1 --export=ALL --quiet "
        )
        runner = f"{step}{runner}"
    return f"#!/bin/sh\n# Causeway: {job}\nexec {runner}\n"


def cpus(cpu_milli: int) -> int:
    """Return whole processors, at least one: Slurm gives out no parts of them.

    >>> cpus(1500), cpus(0)
    (2, 1)
    """
    return max(1, -(-cpu_milli // 1000))


def _gres(count: int, kind: str) -> str:
    return f"gpu:{kind}:{count}" if kind else f"gpu:{count}"
