"""`deliver SPOOL`: the process that brings log files and results; sbatch and its kin start it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from causeway.shim import spool
from causeway.shim.centre import Centre
from causeway.shim.deliver import Deliverer


def run(words: Sequence[str]) -> int:
    """Deliver until nothing is owed."""
    place = Path(words[0])
    while spool.records(place):
        with spool.lock(place) as free:
            if not free:
                return 0
            before = spool.records(place)
            Deliverer(place, Centre()).run()
        # What came after the last look, and before the lock was let go, would wait for good.
        if spool.records(place) == before:
            return 1
    return 0
