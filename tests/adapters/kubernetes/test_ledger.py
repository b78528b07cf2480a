"""All attempts of an island, with a clock that stands still; the test plays Kubernetes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from causeway.adapters.kubernetes.attempts import Attempt, Submission
from causeway.adapters.kubernetes.ledger import Ledger
from causeway.adapters.kubernetes.speaker import Seen
from causeway.adapters.kubernetes.values import JOBS, JobSeen, Mark, PodSeen, Told
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.ledger import RUNNER_MS
from causeway.adapters.runner import Desk, Plan
from causeway.adapters.runner.ends import failed
from causeway.model.jobs import FailureClass, JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch

KEY = ("urn:j", 3)
TOLD = Submission(
    tag="tag",
    job=KEY[0],
    fence=KEY[1],
    ranks=2,
    guard=True,
    cpu_milli=1000,
    memory_bytes=1,
    accelerators=0,
)
IMAGE_MS_MAX = 1_000
NOTHING = Seen(jobs=(), pods=())


class StillClock:
    """Both clocks, moved by the test."""

    def __init__(self) -> None:
        self.ms = 100_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> int:
        return self.ms


def job(rank: int, *, tag: str = "tag", island: str = "isl") -> JobSeen:
    mark = Mark(island=island, tag=tag, job=KEY[0], fence=KEY[1])
    return JobSeen(kind=JOBS, name=f"causeway-{tag}-{rank}", mark=mark)


class House:
    """A ledger over a real folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = StillClock()
        self.kept = Kept(root, Submission, engine="kubernetes")
        self.ledger = Ledger(
            kept=self.kept, mark="isl", clock=self.clock, image_ms_max=IMAGE_MS_MAX
        )
        self.launch = Launch(
            job=KEY[0],
            fence=KEY[1],
            spec=JobSpec(name="t", run="true", num_nodes=2),
            folder=root / "attempts" / "j-3",
            envs={},
        )
        self.launch.folder.mkdir(parents=True, exist_ok=True)

    def add(self) -> Attempt:
        """Take an attempt up whose folder is ready, and which is being handed over."""
        at = self.ledger.add(self.launch, TOLD)
        Desk(self.launch.folder, 2).prepare(self.launch, Plan.of(self.launch, keep=()))
        self.kept.write(self.launch.folder, TOLD)
        return at

    def taken(self) -> Attempt:
        at = self.add()
        self.ledger.submitted(at, replace(TOLD, taken=True), None)
        return at

    def hear(
        self, *jobs: JobSeen, pods: tuple[PodSeen, ...] = (), told: tuple[Told, ...] = ()
    ) -> None:
        seen = Seen(jobs=jobs, pods=pods, told=told)
        self.ledger.hear(seen, asked_ms=self.clock.ms)

    def begin(self, rank: int) -> None:
        """A runner takes its rank, and says so."""
        folder = self.launch.folder / "runner"
        (folder / f"rank-{rank}.env").unlink()
        (folder / f"rank-{rank}.record").write_text('{"event": "waiting", "at_ms": 1}\n')

    def deletes(self) -> tuple[str, ...]:
        """Return whose objects are to be deleted now."""
        ends, kills = self.ledger.doomed.due(self.clock.ms)
        return ends + kills


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_an_answer_that_was_lost_is_an_end_if_nothing_has_begun(house: House) -> None:
    at = house.add()
    house.ledger.doubtful(at, failed(FailureClass.ENGINE, "silence"))
    assert house.ledger.shown[KEY].failure is FailureClass.ENGINE
    assert house.deletes() == ("tag",)


def test_part_of_a_gang_is_ended_before_that_is_told(house: House) -> None:
    at = house.add()
    house.begin(0)
    house.ledger.doubtful(at, failed(FailureClass.REFUSED, "quota"))
    assert house.ledger.shown[KEY].phase == Phase.STARTING
    house.clock.ms += RUNNER_MS
    assert house.deletes() == ("tag",)
    house.clock.ms += Ledger.orphan_ms
    house.hear()
    house.hear()
    house.ledger.watch(0)
    assert house.ledger.shown[KEY].failure is FailureClass.REFUSED


def test_a_new_agent_is_sure_of_what_is_all_there(house: House) -> None:
    house.add()
    after = Ledger(kept=house.kept, mark="isl", clock=house.clock)
    after.adopt()
    assert after.attempts[KEY].unsure
    after.hear(Seen(jobs=(job(0), job(1)), pods=()), asked_ms=house.clock.ms)
    assert after.attempts[KEY].told.taken
    assert [told.taken for _, told in house.kept.all()] == [True]


def test_a_new_agent_ends_what_is_there_in_part(house: House) -> None:
    house.add()
    house.begin(0)
    after = Ledger(kept=house.kept, mark="isl", clock=house.clock)
    after.adopt()
    seen = Seen(jobs=(job(0),), pods=())
    after.hear(seen, asked_ms=house.clock.ms)
    assert after.attempts[KEY].broken is None
    house.clock.ms += Ledger.orphan_ms
    after.hear(seen, asked_ms=house.clock.ms)
    assert after.attempts[KEY].broken is not None


@pytest.mark.parametrize("again", [False, True])
def test_what_was_never_handed_over_is_told_or_done_again(house: House, again: bool) -> None:
    house.add()
    after = Ledger(kept=house.kept, mark="isl", clock=house.clock)
    after.adopt()
    if again:
        after.asked_again(house.launch)
    house.clock.ms += Ledger.orphan_ms
    after.hear(NOTHING, asked_ms=house.clock.ms)
    if again:
        assert after.lost == [house.launch]
    else:
        assert after.shown[KEY].failure is FailureClass.ENGINE


def test_a_full_quota_takes_it_back(house: House) -> None:
    house.taken()
    message = "Error creating: pods x is forbidden: exceeded quota: q"
    told = (Told(about="causeway-tag-0", reason="FailedCreate", message=message),)
    house.hear(job(0), job(1), told=told)
    assert house.ledger.shown[KEY].failure is FailureClass.REFUSED
    assert house.deletes() == ("tag",)


def test_an_image_that_is_not_there_is_waited_for_a_while(house: House) -> None:
    house.taken()
    pod = PodSeen(name="p", tag="tag", waiting="ImagePullBackOff")
    house.hear(job(0), job(1), pods=(pod,))
    house.ledger.watch(0)
    assert house.ledger.shown[KEY].phase == Phase.STARTING
    house.clock.ms += 1_000
    house.ledger.watch(0)
    assert house.ledger.shown[KEY].failure is FailureClass.REFUSED


def test_a_stop_of_what_waits_is_an_end_at_once(house: House) -> None:
    house.taken()
    house.ledger.stop(KEY, 5_000)
    assert house.ledger.shown[KEY].phase == Phase.STOPPED
    assert house.deletes() == ("tag",)


def test_what_nobody_knows_is_shown_and_forgotten(house: House) -> None:
    house.hear(job(0, tag="other"), job(0, tag="far", island="theirs"))
    assert set(house.ledger.shown) == {KEY}
    house.ledger.forget(KEY)
    assert house.deletes() == ("other",)
    assert not house.ledger.shown


def test_deleting_is_asked_for_until_it_is_done(house: House) -> None:
    house.taken()
    house.ledger.forget(KEY)
    assert house.deletes() == ("tag",)
    house.hear(job(0))
    assert not house.deletes()
    house.clock.ms += 5_000
    assert house.ledger.doomed.due(house.clock.ms) == ((), ("tag",))
    house.hear()
    house.clock.ms += 5_000
    assert not house.deletes()
    assert not house.ledger.shown
