"""Which products this host can hand over to whoever rents its room.

All need the sandbox, since only what happened inside of it can be wiped. A Slurm needs Debian's
`slurmctld`, `slurmd`, `slurm-client` and `munge`; a Ray the `ray` of an environment that the owner
shows to jobs, or of the system.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from causeway.model.jobs import Product

SLURM = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "sinfo", "squeue", "scontrol")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where jobs find the system's programs."""


def products(*, ray: str, path: str = PATH) -> tuple[str, ...]:
    """Return what can be handed over where the sandbox works."""
    found = [Product.SHELL]
    if all(shutil.which(program, path=path) for program in SLURM):
        found.append(Product.SLURM)
    if ray:
        found.append(Product.RAY)
    return tuple(product.value for product in found)


def ray_program(visible: Sequence[Path], *, path: str = PATH) -> str:
    """Return the `ray` that jobs can start: of a folder that the owner shows, else the system's."""
    shown = os.pathsep.join([*(str(folder / "bin") for folder in visible), path])
    return shutil.which("ray", path=shown) or ""
