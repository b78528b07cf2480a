"""All attempts of an island, with a clock that stands still and runners that the test plays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.outside.attempts import SETTLE_MS
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.ledger import RUNNER_MS
from causeway.adapters.runner import Desk, Plan, program
from causeway.adapters.runner.ends import Outcome, failed
from causeway.adapters.slurm.attempts import Attempt, Submission
from causeway.adapters.slurm.ledger import Ledger, Seen
from causeway.adapters.slurm.orders import Mark
from causeway.adapters.slurm.values import JobRow, JobState
from causeway.conformance.history import contradiction
from causeway.model.jobs import FailureClass, JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch

KEY = ("urn:j", 3)
NO_ANSWER = failed(FailureClass.ENGINE, "it was not submitted: no answer")


class StillClock:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.ms = 100_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> int:
        return self.ms


class House:
    """A ledger over a real folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = StillClock()
        self.kept = Kept(root, Submission, engine="slurm")
        self.ledger = Ledger(kept=self.kept, mark="isl", clock=self.clock)
        self.launch = Launch(
            job=KEY[0],
            fence=KEY[1],
            spec=JobSpec(name="t", run="true"),
            folder=root / "attempts" / "j-3",
            envs={},
        )
        self.launch.folder.mkdir(parents=True, exist_ok=True)

    def told(self, number: int = 7) -> Submission:
        return Submission(
            tag="tag",
            job=KEY[0],
            fence=KEY[1],
            ranks=1,
            guard=True,
            cpu_milli=1000,
            memory_bytes=1,
            accelerators=0,
            number=number,
            taken=number > 0,
        )

    def add(self) -> Attempt:
        """Take an attempt up whose folder is ready, and which is being submitted."""
        at = self.ledger.add(self.launch, self.told(0))
        Desk(self.launch.folder, 1).prepare(self.launch, Plan.of(self.launch, keep=()))
        self.kept.write(self.launch.folder, self.told(0))
        return at

    def begin(self) -> program.Rank:
        """Play a runner that takes its rank and waits for a grant."""
        rank = program.Rank(str(self.launch.folder / "runner"), 0)
        assert rank.claim() is not None
        rank.note("waiting", host="n1")
        program.os.pwrite(rank.beat, program.seal(1, 0, 0, 0), 0)
        return rank

    def hear(self, *rows: JobRow) -> None:
        self.ledger.hear(Seen(rows=rows), asked_ms=self.clock.ms)

    def row(self, state: JobState, *, tag: str = "tag", number: int = 7, **more: Any) -> JobRow:
        mark = Mark(island="isl", tag=tag, job=KEY[0], fence=KEY[1])
        return JobRow(id=number, state=state, comment=mark.text(), nodes="n1", **more)

    def watch(self, until_ms: int = 0) -> Any:
        for at in self.ledger.attempts.values():
            at.look_ms = 0
        self.ledger.watch(until_ms)
        return self.ledger.shown.get(KEY)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_beat_is_answered_and_an_end_is_shown(house: House) -> None:
    at = house.add()
    house.ledger.submitted(at, house.told(), None)
    rank = house.begin()
    assert house.watch(house.clock.ms + 2_000).phase == Phase.STARTING
    assert rank.grant() == [1, 2_000, -1]
    rank.note("started")
    assert house.watch().phase == Phase.RUNNING
    rank.note("ended", end="exit", code=0, ran_ms=5, cpu_ms=40)
    done = house.watch()
    assert (done.phase, done.exit_code, done.cpu_ms) == (Phase.SUCCEEDED, 0, 40)


def test_the_instant_of_an_end_stays_while_slurms_word_is_awaited(house: House) -> None:
    at = house.add()
    house.ledger.submitted(at, house.told(), None)
    rank = house.begin()
    rank.note("started")
    before = house.watch(house.clock.ms + 2_000)
    rank.note("ended", end="signal", code=143, ran_ms=500)
    seen = []
    for wait_ms in (1, 1_000, SETTLE_MS):
        house.clock.ms += wait_ms
        now = house.watch()
        assert contradiction(before, now) == ""
        before = now
        seen.append((now.phase, now.ended_monotonic_ms))
    ended_ms = seen[0][1]
    running = (Phase.RUNNING, ended_ms)
    assert ended_ms
    assert seen == [running, running, (Phase.FAILED, ended_ms)]


def test_an_answer_that_was_lost_ends_what_has_not_begun(house: House) -> None:
    at = house.add()
    house.ledger.doubtful(at, NO_ANSWER)
    assert house.watch().failure is FailureClass.ENGINE
    assert not list(house.launch.folder.glob("runner/*.env"))
    house.hear(house.row(JobState.PENDING))
    assert house.ledger.doomed.due(house.clock.ms) == ((7,), ()), "should it have arrived after all"


def test_an_answer_that_was_lost_changes_nothing_for_what_has_begun(house: House) -> None:
    at = house.add()
    house.begin()
    house.ledger.doubtful(at, NO_ANSWER)
    assert house.watch().phase == Phase.STARTING
    house.hear(house.row(JobState.RUNNING))
    assert at.told.number == 7
    assert house.kept.all()[0][1].number == 7


def test_a_submission_of_a_dead_agent_is_given_its_time(house: House) -> None:
    house.add()
    after = House(house.root)
    after.ledger.adopt()
    after.hear()
    after.hear()
    assert after.watch().phase == Phase.STARTING
    after.clock.ms += Ledger.orphan_ms
    after.hear()
    assert after.watch().failure is FailureClass.ENGINE


def test_a_start_that_comes_again_takes_the_place_of_one_that_never_arrived(house: House) -> None:
    house.add()
    after = House(house.root)
    after.ledger.adopt()
    after.ledger.asked_again(after.launch)
    after.clock.ms += Ledger.orphan_ms
    after.hear()
    assert after.ledger.lost == [after.launch]


def test_a_stop_before_it_began_needs_no_slurm(house: House) -> None:
    at = house.add()
    house.ledger.submitted(at, house.told(), None)
    house.ledger.stop(KEY, 60_000)
    assert house.watch().phase == Phase.STOPPED
    assert house.ledger.doomed.due(house.clock.ms) == ((7,), ())


def test_a_stop_while_it_is_submitted_waits_for_the_folder(house: House) -> None:
    at = house.add()
    house.ledger.stop(KEY, 0)
    assert house.watch().phase == Phase.STARTING
    house.ledger.submitted(at, house.told(), None)
    assert house.watch().phase == Phase.STOPPED


def test_a_kill_is_the_runners_first_and_slurms_after_it(house: House) -> None:
    at = house.add()
    house.ledger.submitted(at, house.told(), None)
    rank = house.begin()
    house.watch(house.clock.ms + 2_000)
    house.ledger.stop(KEY, 0)
    house.watch()
    assert rank.grant() == [0, 0, 0]
    assert house.ledger.doomed.due(house.clock.ms) == ((), ())
    assert house.ledger.doomed.due(house.clock.ms + RUNNER_MS) == ((7,), ())


def test_jobs_that_nobody_knows_are_shown_until_they_are_forgotten(house: House) -> None:
    house.hear(house.row(JobState.RUNNING, tag="other"))
    assert house.ledger.shown[KEY].phase == Phase.RUNNING
    house.ledger.forget(KEY)
    assert KEY not in house.ledger.shown
    house.hear(house.row(JobState.RUNNING, tag="other"))
    assert KEY not in house.ledger.shown
    assert house.ledger.doomed.due(house.clock.ms) == ((7,), ())


def test_jobs_of_other_islands_are_none_of_ours(house: House) -> None:
    mark = Mark(island="else", tag="x", job=KEY[0], fence=KEY[1])
    house.hear(JobRow(id=9, state=JobState.RUNNING, comment=mark.text()))
    assert house.ledger.shown == {}


def test_what_waits_for_ever_is_withdrawn(house: House) -> None:
    at = house.add()
    house.ledger.submitted(at, house.told(), None)
    house.hear(house.row(JobState.PENDING, reason="PartitionTimeLimit"))
    status = house.watch()
    assert (status.failure, "never start it" in status.message) == (FailureClass.REFUSED, True)


def test_a_refusal_is_shown_and_needs_no_folder(house: House) -> None:
    at = house.ledger.add(house.launch, house.told(0))
    refused = Outcome(phase=Phase.FAILED, failure=FailureClass.REFUSED, message="no")
    house.ledger.submitted(at, house.told(0), refused)
    assert house.watch().failure is FailureClass.REFUSED


def test_an_end_waits_for_the_accounts_where_they_are_kept(house: House) -> None:
    house.ledger.accounting = True
    at = house.add()
    house.ledger.submitted(at, house.told(), None)
    rank = house.begin()
    rank.note("started")
    rank.note("ended", end="exit", code=0, ran_ms=5, cpu_ms=40)
    house.watch()
    assert house.watch().phase == Phase.RUNNING
    assert house.ledger.accounts() == (7,)
    house.clock.ms += 10_000
    assert house.watch().phase == Phase.SUCCEEDED


@pytest.mark.parametrize(
    ("others", "age_ms", "pause_ms"),
    [
        (0, 100, 10),
        (0, 1_000, 20),
        (0, 59_000, 20),
        (0, 61_000, 500),
        (4, 1_000, 50),
        (4, 5_000, 100),
        (99, 59_000, 500),
    ],
)
def test_what_waits_is_looked_at_as_often_as_there_are_few(
    house: House, others: int, age_ms: int, pause_ms: int
) -> None:
    at = house.add()
    house.ledger.submitted(at, house.told(), None)
    for number in range(others):
        house.ledger.attempts[(f"urn:other{number}", 1)] = replace(
            at, told=replace(house.told(), job=f"urn:other{number}", tag=f"tag{number}")
        )
    house.clock.ms += age_ms
    house.ledger.watch(until_ms=0)
    assert at.look_ms - house.clock.ms == pause_ms
