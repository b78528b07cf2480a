"""One trial: a fault strikes while jobs run, lasts, and is undone; then everything is judged.

Held against each other: what the API says, what the ledger holds (events, ticks, journal), and what
the jobs themselves wrote into a file.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "crash"))
import witness
from ground import Ground
from verdict import judge_facts

from causeway.adapters.store import open_store
from causeway.model.errors import CausewayError
from causeway.model.jobs import Job

CUT_S = float(os.environ.get("CAUSEWAY_MATRIX_CUT_S", "12"))
"""How long cables are out: longer than a lease."""
AWAY_S = 3.0
"""How long what was killed stays away: not as long as a lease."""
HANG_S = 300.0
HANG_S_PER_JOB = 30.0
"""Only a hang takes this long; nothing is asserted about time."""
SLACK_MS = 1_000


class Here(Protocol):
    """What faults strike."""

    @property
    def ground(self) -> Ground: ...

    def keep(self) -> None:
        """Start again what has ended by itself, as a service manager does."""


Struck = TypeVar("Struck", bound=Here)


@dataclass(frozen=True, slots=True)
class Fault(Generic[Struck]):
    """What is done, what undoes it, and how long it lasts in between."""

    strike: Callable[[Struck], None]
    heal: Callable[[Struck], None]
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Told:
    """What there was in the end."""

    jobs: dict[str, Job]
    """Every job of this trial, in the order of their submission."""
    struck: frozenset[str]
    """Those that ran when the fault struck, by their own word."""


def survive(
    here: Struck,
    fault: Fault[Struck],
    wanted: Sequence[Mapping[str, str]],
    *,
    name: str,
    at_once: int,
) -> Told:
    """Submit what is wanted, strike once `at_once` of it run, heal, wait for all ends, judge.

    `wanted` fills the fields of `witness.JOB`; `gate` is `during` or `after`.
    """
    ground = here.ground
    most_s = HANG_S + fault.lasts_s + HANG_S_PER_JOB * len(wanted)
    until(here, ground.live, "all islands take work", most_s)
    with ground.client() as client:
        texts = [_text(ground, one, f"{name}-{n}", most_s) for n, one in enumerate(wanted)]
        jobs = [str(client.submit(t, key=f"{name}-{n}")["id"]) for n, t in enumerate(texts)]
    until(here, lambda: len(_running(ground, jobs)) >= at_once, f"{at_once} jobs run", most_s)
    struck = _running(ground, jobs)
    fault.strike(here)
    (ground.folder / f"{name}-during").touch()
    # The fault lasts; this is no wait for anything.
    time.sleep(fault.lasts_s)
    fault.heal(here)
    (ground.folder / f"{name}-after").touch()
    until(here, lambda: _all_over(ground, jobs), "every job is over", most_s)
    until(here, ground.live, "all islands take work again", most_s)
    told = judge(ground)
    assert set(jobs) <= set(told), "a job that was acknowledged is not there"
    tries = [len(told[job].attempts) for job in jobs]
    print(f"{name}: {len(jobs)} jobs, {sum(tries)} attempts, at most {max(tries)} of one job")
    return Told({job: told[job] for job in jobs}, struck)


def until(here: Here, check: Callable[[], bool], what: str, most_s: float = HANG_S) -> None:
    """Wait until something is so; say what the federation looks like when it never becomes so."""
    give_up = time.monotonic() + most_s
    while not check():
        assert time.monotonic() < give_up, f"this never became so: {what}\n{here.ground.story()}"
        here.keep()
        time.sleep(0.2)


def judge(ground: Ground) -> dict[str, Job]:
    """Hold ledger and witness against each other; return all jobs that there ever were."""
    copy = ground.hosts.folder / "judged.sqlite3"
    with closing(sqlite3.connect(ground.database)) as source, closing(sqlite3.connect(copy)) as to:
        source.backup(to)
    said = witness.words(ground.folder)
    with closing(open_store(f"sqlite:///{copy}")) as store:
        jobs = {job.id: job for job in store.jobs(tenant=None, limit=1_000)}
        judge_facts(store, jobs, witness.begun(said))
    witness.really_ended(jobs, said)
    witness.never_two_at_once(said)
    witness.used_at_most_its_life(jobs, slack_ms=SLACK_MS)
    copy.unlink()
    return jobs


def _text(ground: Ground, wanted: Mapping[str, str], name: str, most_s: float) -> str:
    """Return a job's text. Jobs outlive every wait of a trial, and that is their bound."""
    return witness.JOB.format(
        **{**wanted, "gate": f"{name.rpartition('-')[0]}-{wanted['gate']}"},
        name=name,
        folder=ground.folder,
        most_s=round(3 * most_s),
    )


def _running(ground: Ground, jobs: Sequence[str]) -> frozenset[str]:
    """Return those that run or have run, by their own word."""
    return frozenset(jobs) & {word.job for word in witness.words(ground.folder)}


def _all_over(ground: Ground, jobs: Sequence[str]) -> bool:
    """Say whether every job has ended well, by the control plane's word."""
    try:
        with ground.client() as client:
            return all(client.job(job)["state"] == "succeeded" for job in jobs)
    except CausewayError:
        # It is on its way back.
        return False
