"""All attempts of an island, with a clock that stands still and runners that the test plays."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.outside.attempts import ANSWERS
from causeway.adapters.outside.doomed import AGAIN_MS, KEPT
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.ledger import RUNNER_MS
from causeway.adapters.ray.attempts import Attempt, Submission
from causeway.adapters.ray.doomed import AGAIN_MS_MAX, Doomed
from causeway.adapters.ray.ledger import Ledger
from causeway.adapters.ray.values import JobRow, JobState, Mark
from causeway.adapters.runner import Desk, Plan, program
from causeway.adapters.runner.ends import failed
from causeway.model.jobs import FailureClass, JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch

KEY = ("urn:j", 3)
NO_ANSWER = failed(FailureClass.ENGINE, "it was not submitted: no answer")
ID = "causeway-isl-tag"
TOLD = Submission(
    tag="tag",
    job=KEY[0],
    fence=KEY[1],
    ranks=1,
    guard=True,
    cpu_milli=1000,
    memory_bytes=1,
    accelerators=0,
    asked={"CPU": 1.0},
    id=ID,
)


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
        self.kept = Kept(root, Submission, engine="ray")
        self.ledger = Ledger(kept=self.kept, mark="isl", clock=self.clock)
        self.launch = Launch(
            job=KEY[0],
            fence=KEY[1],
            spec=JobSpec(name="t", run="true"),
            folder=root / "attempts" / "j-3",
            envs={},
        )
        self.launch.folder.mkdir(parents=True, exist_ok=True)

    def prepared(self) -> Desk:
        desk = Desk(self.launch.folder, 1)
        desk.prepare(self.launch, Plan.of(self.launch, keep=()))
        self.kept.write(self.launch.folder, TOLD)
        return desk

    def submitted(self) -> Attempt:
        """An attempt that Ray has."""
        at = self.ledger.add(self.launch, TOLD)
        self.prepared()
        told = replace(TOLD, taken=True)
        self.kept.write(self.launch.folder, told)
        self.ledger.submitted(at, told, None)
        return at

    def hear(self, *rows: JobRow) -> None:
        self.clock.ms += 10
        self.ledger.hear(rows, asked_ms=self.clock.ms)
        self.ledger.watch(self.clock.ms + 4_000)

    def runner(self) -> program.Rank:
        """Play a runner: it has claimed its rank, and waits."""
        rank = program.Rank(str(self.launch.folder / "runner"), 0)
        assert rank.claim() is not None
        rank.note("waiting", host="n1")
        return rank

    def again(self) -> Ledger:
        """Another agent takes over."""
        self.ledger = Ledger(kept=self.kept, mark="isl", clock=self.clock)
        self.ledger.adopt()
        return self.ledger


def row(state: JobState = JobState.PENDING, **more: Any) -> JobRow:
    mark = Mark(island="isl", tag="tag", job=KEY[0], fence=KEY[1])
    return JobRow(**{"id": ID, "state": state, "mark": mark, **more})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_rays_words_are_shown_while_it_waits(house: House) -> None:
    house.submitted()
    house.hear(row(message="Job has not started yet. It may be waiting for resources (CPUs)."))
    status = house.ledger.shown[KEY]
    assert status.phase == Phase.STARTING
    assert status.message == "it waits in Ray: it may be waiting for resources (CPUs) (PENDING)"


def test_an_agent_that_comes_back_finds_it_again(house: House) -> None:
    house.submitted()
    ledger = house.again()
    assert ledger.attempts[KEY].told == replace(TOLD, taken=True)
    house.hear(row(JobState.RUNNING))
    assert ledger.shown[KEY].phase == Phase.STARTING
    assert not ledger.doomed


def test_a_submission_whose_answer_was_lost_is_found_by_its_name(house: House) -> None:
    house.prepared()
    house.again()
    assert house.ledger.attempts[KEY].unsure
    house.hear(row(JobState.RUNNING))
    assert not house.ledger.attempts[KEY].unsure
    assert house.kept.all()[0][1].taken


def test_one_that_never_reached_ray_is_void_and_can_be_asked_for_again(house: House) -> None:
    house.prepared()
    house.again()
    house.ledger.asked_again(house.launch)
    house.hear()
    assert not house.ledger.lost
    house.clock.ms += Ledger.orphan_ms
    house.hear()
    assert house.ledger.lost == [house.launch]
    assert KEY not in house.ledger.attempts


def test_one_that_never_reached_ray_and_nobody_asks_for_has_failed(house: House) -> None:
    house.prepared()
    house.again()
    house.clock.ms += Ledger.orphan_ms
    house.hear()
    assert house.ledger.shown[KEY].failure is FailureClass.ENGINE
    house.hear(row(JobState.PENDING))
    assert house.ledger.doomed.due(house.clock.ms)[0] == (ID,)


def test_a_lost_answer_ends_it_unless_a_runner_has_begun(house: House) -> None:
    at = house.ledger.add(house.launch, TOLD)
    house.prepared()
    house.runner()
    house.ledger.doubtful(at, NO_ANSWER)
    house.ledger.watch(house.clock.ms + 4_000)
    assert house.ledger.shown[KEY].phase == Phase.STARTING
    other = House(house.root / "other")
    at = other.ledger.add(other.launch, TOLD)
    other.prepared()
    other.ledger.doubtful(at, NO_ANSWER)
    assert other.ledger.shown[KEY].failure is FailureClass.ENGINE


def test_what_has_not_begun_is_stopped_at_once_and_ended_in_ray(house: House) -> None:
    house.submitted()
    house.hear(row())
    house.ledger.stop(KEY, 60_000)
    assert house.ledger.shown[KEY].phase == Phase.STOPPED
    assert house.ledger.doomed.due(house.clock.ms)[0] == (ID,)
    assert not (house.launch.folder / "runner" / "rank-0.env").exists()


def test_what_runs_is_ended_by_its_runner_before_ray_is_asked(house: House) -> None:
    at = house.submitted()
    house.hear(row(JobState.RUNNING))
    house.runner()
    house.ledger.stop(KEY, 0)
    house.ledger.watch(house.clock.ms)
    assert at.desk.asked_to_stop() == 0
    assert not house.ledger.doomed.due(house.clock.ms)[0]
    assert house.ledger.doomed.due(house.clock.ms + RUNNER_MS)[0] == (ID,)


def test_what_is_forgotten_is_removed_from_ray_too(house: House) -> None:
    at = house.submitted()
    rank = house.runner()
    rank.note("started")
    rank.note("ended", end="exit", part="run", code=0, ran_ms=5, cpu_ms=1)
    house.hear(row(JobState.RUNNING))
    assert house.ledger.shown[KEY].phase == Phase.SUCCEEDED
    house.ledger.forget(KEY)
    assert not house.kept.all()
    house.hear(row(JobState.SUCCEEDED, exit_code=0))
    assert house.ledger.doomed.due(house.clock.ms) == ((), (at.told.id,))
    house.hear()
    assert not house.ledger.doomed
    assert KEY not in house.ledger.shown


def test_a_key_is_free_again_once_what_was_forgotten_is_over_in_ray(house: House) -> None:
    house.submitted()
    house.hear(row(JobState.PENDING))
    assert not house.ledger.is_leaving(KEY)
    house.ledger.forget(KEY)
    assert house.ledger.is_leaving(KEY)
    house.hear(row(JobState.RUNNING))
    assert house.ledger.is_leaving(KEY)
    house.hear(row(JobState.FAILED))
    assert not house.ledger.is_leaving(KEY)


def test_a_key_is_free_again_when_ray_never_had_what_was_forgotten(house: House) -> None:
    at = house.ledger.add(house.launch, TOLD)
    house.ledger.forget(KEY)
    house.hear()
    assert house.ledger.is_leaving(KEY)
    house.ledger.doubtful(at, NO_ANSWER)
    house.hear()
    assert not house.ledger.is_leaving(KEY)


def test_a_job_that_nobody_knows_is_shown_until_it_is_forgotten(house: House) -> None:
    house.hear(row(JobState.RUNNING))
    assert house.ledger.shown[KEY].phase == Phase.RUNNING
    house.ledger.forget(KEY)
    assert house.ledger.doomed.due(house.clock.ms)[0] == (ID,)
    house.hear(row(JobState.RUNNING))
    assert KEY not in house.ledger.shown


def test_jobs_of_others_are_left_alone(house: House) -> None:
    foreign = Mark(island="other", tag="tag", job=KEY[0], fence=KEY[1])
    house.hear(row(JobState.RUNNING, mark=foreign))
    assert not house.ledger.shown
    assert not house.ledger.doomed


def test_a_finished_job_that_nobody_knows_is_removed(house: House) -> None:
    house.hear(row(JobState.SUCCEEDED))
    assert house.ledger.doomed.due(house.clock.ms) == ((), (ID,))
    assert not house.ledger.shown


def test_what_was_over_is_no_stray_to_the_next_agent(house: House) -> None:
    house.submitted()
    house.hear(row(JobState.RUNNING))
    house.ledger.forget(KEY)
    house.ledger.let_go()
    house.again()
    house.hear(row(JobState.RUNNING))
    assert KEY not in house.ledger.shown
    assert house.ledger.doomed.due(house.clock.ms)[0] == (ID,)


def test_ray_forgets_what_has_not_begun(house: House) -> None:
    house.submitted()
    house.hear(row())
    for _ in range(ANSWERS):
        house.hear()
    status = house.ledger.shown[KEY]
    assert (status.failure, "had not begun" in status.message) == (FailureClass.ENGINE, True)


def test_what_the_cluster_can_no_longer_hold_is_withdrawn(house: House) -> None:
    house.submitted()
    house.hear(row())
    house.ledger.weigh(lambda told: "")
    assert house.ledger.shown[KEY].phase == Phase.STARTING
    house.ledger.weigh(lambda told: f"no node has {told.asked['CPU']:g} CPU")
    status = house.ledger.shown[KEY]
    assert (status.failure, status.message) == (FailureClass.REFUSED, "no node has 1 CPU")


def test_what_waits_too_long_is_withdrawn(house: House) -> None:
    house.submitted()
    house.hear(row(message="Job has not started yet."))
    house.clock.ms += 5_000
    house.ledger.watch(house.clock.ms, wait_ms_max=4_000)
    status = house.ledger.shown[KEY]
    assert status.failure is FailureClass.REFUSED
    assert "4 s" in status.message


def test_a_folder_that_its_node_does_not_see_is_the_islands_trouble(house: House) -> None:
    house.submitted()
    house.hear(row(JobState.FAILED, exit_code=78, node="n7"))
    assert "n7 does not see" in house.ledger.unseen
    assert house.ledger.shown[KEY].failure is FailureClass.ENGINE


def test_requests_are_made_again_ever_more_rarely() -> None:
    doomed, now_ms, times = Doomed(), 0, []
    doomed.condemn(ID, at_ms=0, delete=True)
    while len(times) < 8:
        if doomed.due(now_ms)[0]:
            times.append(now_ms)
        (now_ms,) = doomed.next_ms()
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps[0] == AGAIN_MS
    assert max(gaps) == gaps[-1] == AGAIN_MS_MAX
    doomed.bury(*(str(number) for number in range(2 * KEPT)))
    assert len(doomed.over) == KEPT
