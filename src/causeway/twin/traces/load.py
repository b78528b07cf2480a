"""The formats by name, and the one way to read any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from causeway.model.errors import InvalidInput
from causeway.twin.traces import slurm, tables
from causeway.twin.traces.trace import Trace

FORMATS: Mapping[str, Callable[[Path], Trace]] = {
    "csv": tables.plain,
    "gaia": tables.gaia,
    "helios": tables.helios,
    "itp": tables.itp,
    "openb": tables.openb,
    "philly": tables.philly,
    "sacct": slurm.accounting,
    "tiresias": tables.tiresias,
}


def load(path: Path, form: str) -> Trace:
    """Return the trace of a file.

    Raises:
        InvalidInput: there is no such format or file, or a line of it cannot be read.
    """
    reader = FORMATS.get(form)
    if reader is None:
        raise InvalidInput(f"there is no format `{form}`; there are {', '.join(sorted(FORMATS))}")
    if not path.exists():
        raise InvalidInput(
            f"the trace {path} is not there",
            hint="CAUSEWAY_DATA or --data names the folder that it is looked for in",
        )
    return reader(path)
