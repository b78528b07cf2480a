"""What the commands print: data on standard output, talk on standard error, as Slurm does."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def show(lines: Iterable[str]) -> None:
    """Print lines of data."""
    for line in lines:
        sys.stdout.write(line + "\n")


def say(text: str) -> None:
    """Print a line of talk."""
    sys.stderr.write(text + "\n")
