"""Whatever dies while jobs run on a real Ray cluster, nothing is lost or doubled.

One fault at a time: kill -9 of the agent, of the control plane, of the head's dashboard, of every
daemon of Ray on a node, of every one on the head (which comes back without its memory), and a cut
of the cable between agent and control plane for longer than a lease. Four jobs run at once, and
more wait for their places. Half of them wait for the island should it be cut off, half move; half
come to their end while the fault lasts, half after it.

CAUSEWAY_MATRIX_JOBS and CAUSEWAY_MATRIX_CUT_S make it the long form, which `make soak` runs: 40
jobs, and a cable that is out for ten minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from rayfaults import AT_ONCE, CPUS, FAULTS, RayFederation, running

# `rayfaults` shows where this one is.
from trial import survive

from causeway.model.jobs import FailureClass, OnDisconnect

pytestmark = pytest.mark.ray
JOBS = int(os.environ.get("CAUSEWAY_MATRIX_JOBS", "6"))
LEAVE_JOBS_ALONE = frozenset({"agent", "centre", "dashboard", "link"})
"""Faults that a job which waits for its island does not feel: it is never started again."""


@pytest.fixture(scope="module")
def here(both: dict[str, Any]) -> Iterator[RayFederation]:
    """The federation that is broken in one way after another."""
    with running(both["uno"].up()) as made:
        yield made


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_or_doubled(here: RayFederation, name: str) -> None:
    here.renew_agent()
    wanted = [job(number) for number in range(JOBS)]
    told = survive(here, FAULTS[name], wanted, name=name, at_once=AT_ONCE)
    for found in told.jobs.values():
        failures = {attempt.failure for attempt in found.attempts}
        assert FailureClass.USER not in failures, f"{found.id}: {found.attempts}"
    if name in LEAVE_JOBS_ALONE:
        waited = [told.jobs[one] for one in told.struck]
        waited = [one for one in waited if one.spec.on_disconnect is OnDisconnect.WAIT]
        assert waited
        assert all(len(one.attempts) == 1 for one in waited), waited


def job(number: int) -> dict[str, str]:
    """Return what a job is like."""
    return {
        "cpus": CPUS,
        "on_disconnect": "wait" if number // 2 % 2 == 0 else "move",
        "where": "",
        "gate": "during" if number % 2 else "after",
    }
