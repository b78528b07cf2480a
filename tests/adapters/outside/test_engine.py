"""The thread behind the port, over a Slurm that the test plays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.outside.speaking import Silent
from causeway.adapters.slurm.engine import SlurmEngine
from causeway.adapters.slurm.settings import Settings
from causeway.adapters.slurm.values import (
    Accounted,
    Cluster,
    JobRow,
    JobState,
    Node,
    Order,
    Partition,
)
from causeway.adapters.world import SystemClock
from causeway.model.jobs import FailureClass, JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch, Status

GIVE_UP_S = 60.0
"""Only a hang takes this long; nothing is asserted about time."""


class PlayedSlurm:
    """Takes jobs and never starts them."""

    def __init__(self) -> None:
        self.rows: dict[int, JobRow] = {}
        self.cancelled: list[int] = []
        self.on_submit: Callable[[], None] = lambda: None
        self.after_submit: Callable[[], None] = lambda: None

    def cluster(self) -> Cluster:
        return Cluster(name="played", version="22.05", accounting=False, confined=False)

    def nodes(self) -> tuple[Node, ...]:
        return ()

    def partitions(self) -> tuple[Partition, ...]:
        return ()

    def jobs(self) -> tuple[JobRow, ...]:
        return tuple(self.rows.values())

    def submit(self, order: Order) -> int:
        self.on_submit()
        number = len(self.rows) + 1
        self.rows[number] = JobRow(
            id=number, state=JobState.PENDING, comment=order.comment, nodes=""
        )
        self.after_submit()
        return number

    def cancel(self, jobs: Sequence[int], *, kill: bool) -> None:
        self.cancelled += jobs
        for job in jobs:
            self.rows.pop(job, None)

    def accounted(self, jobs: Sequence[int]) -> tuple[Accounted, ...]:
        return ()


class House:
    """An engine over a played Slurm."""

    def __init__(self, root: Path) -> None:
        self.slurm = PlayedSlurm()
        self.root = root
        settings = Settings(poll_s=0.01)
        self.engine = SlurmEngine(root, clock=SystemClock(), speaker=self.slurm, settings=settings)

    def start(self, name: str) -> tuple[str, int]:
        folder = self.root / "attempts" / f"{name}-1"
        folder.mkdir(parents=True)
        spec = JobSpec(name=name, run="true")
        self.engine.start(Launch(job=name, fence=1, spec=spec, folder=folder, envs={}))
        return name, 1

    def until(self, check: Callable[[], Any]) -> Any:
        give_up = time.monotonic() + GIVE_UP_S
        while not (found := check()):
            assert time.monotonic() < give_up, self.engine.poll()
            time.sleep(0.005)
        return found

    def ended(self, key: tuple[str, int]) -> Status:
        found = self.until(lambda: (one := self.engine.poll()[key]).phase == Phase.FAILED and one)
        assert isinstance(found, Status)
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.engine.close()


def test_what_nobody_foresaw_ends_one_attempt_and_no_other(house: House) -> None:
    def fail() -> None:
        raise ZeroDivisionError("nobody foresaw it")

    house.slurm.on_submit = fail
    broken = house.ended(house.start("broken"))
    assert broken.failure is FailureClass.ENGINE
    assert broken.message == "ZeroDivisionError: nobody foresaw it"
    house.slurm.on_submit = lambda: None
    whole = house.start("whole")
    house.until(lambda: house.slurm.rows)
    house.until(lambda: "waits in Slurm" in house.engine.poll()[whole].message)


def test_a_lost_answer_is_an_end_and_the_job_that_got_there_is_cancelled(house: House) -> None:
    def lose() -> None:
        raise Silent("slurmctld does not answer")

    house.slurm.after_submit = lose
    lost = house.ended(house.start("lost"))
    assert lost.message == "it was not submitted: slurmctld does not answer"
    house.until(lambda: 1 in house.slurm.cancelled)
    assert not house.slurm.rows


def test_what_is_forgotten_while_it_is_submitted_is_cancelled(house: House) -> None:
    asked, go = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        assert go.wait(GIVE_UP_S)

    house.slurm.on_submit = hold
    key = house.start("gone")
    assert asked.wait(GIVE_UP_S)
    house.engine.forget(*key)
    assert key not in house.engine.poll()
    go.set()
    house.until(lambda: 1 in house.slurm.cancelled)
    house.until(lambda: key not in house.engine.poll())


def test_the_next_agent_finds_it_under_its_key(house: House) -> None:
    key = house.start("kept")
    house.until(lambda: house.slurm.rows and "waits in Slurm" in house.engine.poll()[key].message)
    house.engine.close()
    settings = Settings(poll_s=0.01)
    house.engine = SlurmEngine(
        house.root, clock=SystemClock(), speaker=house.slurm, settings=settings
    )
    assert house.engine.poll()[key].phase == Phase.STARTING
    assert house.engine.outlives
    house.engine.forget(*key)
    house.until(lambda: not house.slurm.rows)
