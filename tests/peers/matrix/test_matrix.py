"""Whatever dies while many jobs run on local, SSH and Slurm islands, nothing is lost or doubled.

One fault at a time: kill -9 of every agent, of the control plane, of slurmctld, slurmd and sshd,
and a cut of every cable for longer than a lease. A quarter of the jobs is bound to each island, the
rest may go anywhere; each third waits for its island should it be cut off, the others move. Half of
them come to their end while the fault lasts, half after it.

CAUSEWAY_MATRIX_JOBS and CAUSEWAY_MATRIX_CUT_S make it the long form, which `make soak` runs: 200
jobs, and cables that are out for ten minutes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from federation import FAULTS, ISLANDS, Federation, running
from trial import survive

pytestmark = pytest.mark.peers
JOBS = int(os.environ.get("CAUSEWAY_MATRIX_JOBS", "24"))


@pytest.fixture(scope="module")
def here() -> Iterator[Federation]:
    """The federation that is broken in one way after another."""
    with running() as made:
        yield made


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_or_doubled(here: Federation, name: str) -> None:
    wanted = [job(number) for number in range(JOBS)]
    survive(here, FAULTS[name], wanted, name=name, at_once=JOBS)


def job(number: int) -> dict[str, str]:
    """Return what a job is like."""
    bound = (*ISLANDS, "")[number % 4]
    return {
        "cpus": "10m",
        "on_disconnect": "wait" if number % 3 == 0 else "move",
        "where": f"where: island == '{bound}'" if bound else "",
        "gate": "during" if number // 4 % 2 else "after",
    }
