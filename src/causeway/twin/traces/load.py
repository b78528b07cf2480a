"""The formats by name, and the one way to read any of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from causeway.model.errors import InvalidInput
from causeway.twin.traces import kubernetes, ledger, slurm, tables
from causeway.twin.traces.trace import Row, Trace, collect

FORMATS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "causeway": ledger.jobs,
    "csv": tables.plain,
    "gaia": tables.gaia,
    "helios": tables.helios,
    "itp": tables.itp,
    "kubernetes": kubernetes.pods,
    "openb": tables.openb,
    "philly": tables.philly,
    "sacct": slurm.accounting,
    "tiresias": tables.tiresias,
}


def load(path: Path, form: str, *, cpus: bool = False) -> Trace:
    """Return the trace of a file; with `cpus`, a job's devices are the cores it asked for.

    Raises:
        InvalidInput: there is no such format or file, or a line of it cannot be read.
    """
    reader = FORMATS.get(form)
    if reader is None:
        raise InvalidInput(f"there is no format `{form}`; there are {', '.join(sorted(FORMATS))}")
    if not path.is_file() and not path.is_fifo():
        raise InvalidInput(
            f"the trace {path} is not there",
            hint="CAUSEWAY_DATA or --data names the folder that it is looked for in",
        )
    rows = reader(path)
    if cpus:
        rows = (replace(row, devices=math.ceil(row.cpus)) for row in rows)
    return collect(rows, source=path.name)
