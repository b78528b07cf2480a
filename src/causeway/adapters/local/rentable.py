"""Which products this host can hand over to whoever rents its room.

All need the sandbox, since only what happened inside of it can be wiped. A Slurm needs Debian's
`slurmctld`, `slurmd`, `slurm-client` and `munge`. A Ray needs the command `ray`: among the system's
programs, or in the `bin` of a folder that the owner shows to jobs, which an environment is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from causeway.model.jobs import Product

SLURM = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "sinfo", "squeue", "scontrol")
RAY = ("ray",)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where jobs find the system's programs."""


def folders(visible: Sequence[Path]) -> tuple[str, ...]:
    """Return the folders of programs that the owner shows to jobs."""
    found = (path.resolve() / "bin" for path in visible)
    return tuple(str(path) for path in found if path.is_dir())


def products(*, path: str = PATH, more: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what can be handed over where the sandbox works; `more` are folders of programs
    besides those of `path`."""
    found = [Product.SHELL]
    for product, programs, where in (
        (Product.SLURM, SLURM, path),
        (Product.RAY, RAY, os.pathsep.join((path, *more))),
    ):
        if all(shutil.which(program, path=where) for program in programs):
            found.append(product)
    return tuple(product.value for product in found)
