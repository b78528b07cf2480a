"""Which products this host can hand over to whoever rents its room.

All need the sandbox, since only what happened inside of it can be wiped. A Slurm needs Debian's
`slurmctld`, `slurmd`, `slurm-client` and `munge`.
"""

from __future__ import annotations

import shutil

from causeway.model.jobs import Product

SLURM = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "sinfo", "squeue", "scontrol")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where jobs find the system's programs."""


def products(*, path: str = PATH) -> tuple[str, ...]:
    """Return what can be handed over where the sandbox works."""
    found = [Product.SHELL]
    if all(shutil.which(program, path=path) for program in SLURM):
        found.append(Product.SLURM)
    return tuple(product.value for product in found)
