"""Whatever dies while many jobs run on local, SSH and Slurm islands, nothing is lost or doubled.

One fault at a time: kill -9 of every agent, of the control plane, of slurmctld, slurmd and sshd,
and a cut of every cable for longer than a lease. A third of the jobs is bound to each island, the
rest may go anywhere; each third waits for its island should it be cut off, the others move. Half of
them come to their end while the fault lasts, half after it.

Held against each other: what the API says, what the ledger holds (events, ticks, journal), and what
the jobs themselves wrote into a file.

CAUSEWAY_MATRIX_JOBS and CAUSEWAY_MATRIX_CUT_S make it the long form, which `make soak` runs: 200
jobs, and cables that are out for ten minutes.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "crash"))
import witness
from federation import FAULTS, ISLANDS, Federation, running
from verdict import judge_facts

from causeway.adapters.store import open_store
from causeway.model.errors import CausewayError
from causeway.model.jobs import Job
from causeway.sdk.client import Client

pytestmark = pytest.mark.peers
JOBS = int(os.environ.get("CAUSEWAY_MATRIX_JOBS", "24"))
CUT_S = float(os.environ.get("CAUSEWAY_MATRIX_CUT_S", "12"))
AWAY_S = 3.0
"""How long what was killed stays away: not as long as a lease."""
HANG_S = 300.0
"""Only a hang takes this long; nothing is asserted about time."""
SLACK_MS = 1_000


@pytest.fixture(scope="module")
def here() -> Iterator[Federation]:
    """The federation that is broken in one way after another."""
    with running() as made:
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_or_doubled(here: Federation, fault: str) -> None:
    until(here, here.live, "three islands that take work")
    with here.hosts.client() as client:
        jobs = [submit(client, here, fault, number) for number in range(JOBS)]
        until(here, lambda: all_begun(here, jobs), "every job runs")
    FAULTS[fault].strike(here)
    (here.folder / f"{fault}-during").touch()
    # The fault lasts; this is no wait for anything.
    time.sleep(CUT_S if fault == "links" else AWAY_S)
    FAULTS[fault].heal(here)
    (here.folder / f"{fault}-after").touch()
    until(here, lambda: all_over(here, jobs), "every job is over")
    until(here, here.live, "three islands that take work again")
    told = judge(here)
    assert set(jobs) <= set(told), "a job that was acknowledged is not there"
    tries = [len(told[job].attempts) for job in jobs]
    print(f"{fault}: {len(jobs)} jobs, {sum(tries)} attempts, at most {max(tries)} of one job")


def submit(client: Client, here: Federation, fault: str, number: int) -> str:
    """Submit a job and return what it was acknowledged as."""
    bound = (*ISLANDS, "")[number % 4]
    text = witness.JOB.format(
        name=f"{fault}-{number}",
        on_disconnect="wait" if number % 3 == 0 else "move",
        where=f"where: island == '{bound}'" if bound else "",
        folder=here.folder,
        gate=f"{fault}-{'during' if number // 4 % 2 else 'after'}",
        most_s=round(3 * HANG_S + CUT_S),
    )
    return str(client.submit(text, key=f"{fault}-{number}")["id"])


def all_begun(here: Federation, jobs: list[str]) -> bool:
    """Say whether every job runs, by its own word."""
    return set(jobs) <= {word.job for word in witness.words(here.folder)}


def all_over(here: Federation, jobs: list[str]) -> bool:
    """Say whether every job has ended, by the control plane's word."""
    try:
        with here.hosts.client() as client:
            unfinished = [job for job in jobs if client.job(job)["state"] != "succeeded"]
    except CausewayError:
        # It is on its way back.
        return False
    return not unfinished


def until(here: Federation, check: object, what: str) -> None:
    """Wait until something is so; say what the federation looks like when it never becomes so."""
    give_up = time.monotonic() + HANG_S + CUT_S
    while not check():  # type: ignore[operator]
        assert time.monotonic() < give_up, f"this never became so: {what}\n{here.story()}"
        here.keep_agents()
        time.sleep(0.2)


def judge(here: Federation) -> dict[str, Job]:
    """Hold ledger and witness against each other; return all jobs."""
    copy = here.hosts.folder / "judged.sqlite3"
    with closing(sqlite3.connect(here.database)) as source, closing(sqlite3.connect(copy)) as to:
        source.backup(to)
    said = witness.words(here.folder)
    with closing(open_store(f"sqlite:///{copy}")) as store:
        jobs = {job.id: job for job in store.jobs(tenant=None, limit=1_000)}
        judge_facts(store, jobs, witness.begun(said))
    witness.really_ended(jobs, said)
    witness.never_two_at_once(said)
    witness.used_at_most_its_life(jobs, slack_ms=SLACK_MS)
    copy.unlink()
    return jobs
