"""The commands without their command lines, for plug-ins of other people's workflow programs.

    door = Direct()
    number = door.submit(script, {"job-name": "fit", "chdir": "/home/me/fit", "time": "30"})
    door.rows([number])[number].state        # PENDING, RUNNING, COMPLETED, ...
    door.cancel(number)

Options have sbatch's long names and mean the same; so do log files and folders.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from causeway.shim import spool
from causeway.shim.batch import Batch
from causeway.shim.centre import Centre
from causeway.shim.commands.sbatch import submitted
from causeway.shim.commands.squeue import rows_of
from causeway.shim.rows import Row
from causeway.spec.slurm_options import Script


class Direct:
    """One control plane, as the settings name it. Use it from one thread at a time."""

    def __init__(self) -> None:
        self.centre = Centre()
        self._spool = spool.spool_of(self.centre.settings.url, os.environ)

    def submit(self, script: str, options: Mapping[str, str]) -> int:
        """Submit a batch script; return its number. What cannot be honoured is refused or, where it
        only makes a job cheaper to place, passed over."""
        asked = Script(options=dict(options), places={name: name for name in options})
        job, _ = submitted(Batch(script=asked, text=script, arguments=[]), self.centre)
        return int(job["number"])

    def rows(self, numbers: Sequence[int]) -> dict[int, Row]:
        """Return what is known of jobs now, by number. A job has ended once its files are back."""
        spool.see_to_delivery(self._spool)
        found = rows_of(self.centre.numbered(numbers), self.centre, self._spool)
        return {row.number: row for row in found}

    def cancel(self, number: int) -> bool:
        """Stop a job; say whether there is one. Stopping one that has ended changes nothing."""
        found = self.centre.numbered([number])
        for job in found:
            self.centre.post(f"/v1/jobs/{job['id']}/cancel")
        return bool(found)
