"""Writes the commands into a folder: small executables that call this Python and no other."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from causeway.model.errors import Conflict
from causeway.shim import COMMANDS

_SIGN = "# One of Causeway's commands for programs that know Slurm."


def install(folder: Path) -> tuple[Path, ...]:
    """Write the commands; return their paths. `Conflict` where another program has such a name."""
    folder.mkdir(parents=True, exist_ok=True)
    places = tuple(folder / name for name in COMMANDS)
    for place in places:
        if place.exists() and _SIGN not in place.read_text(errors="replace"):
            raise Conflict(
                f"{place} is another program", hint="name a folder of its own, first on the PATH"
            )
    for place in places:
        # -E: the Python settings of whoever calls it are for another Python.
        call = f"exec {shlex.quote(sys.executable)} -E -m causeway.shim {place.name}"
        fresh = place.with_name(f".{place.name}.new")
        fresh.write_text(f'#!/bin/sh\n{_SIGN}\n{call} "$@"\n')
        fresh.chmod(0o755)
        fresh.replace(place)
    return places
