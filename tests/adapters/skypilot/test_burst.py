"""The life of rented machines, against a recorded conversation with SkyPilot's API server.

What SkyPilot says was recorded from a real one where it answers without a cloud, and written after
its published schema where it needs one (`played.py` says which is which). The control plane is a
list of jobs and islands here; a real one is in `test_life.py`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.skypilot.played import RECORDED, Launched, Played

from causeway.adapters.skypilot.book import Book
from causeway.adapters.skypilot.burst import Burst, Judges
from causeway.adapters.skypilot.centre import Seen
from causeway.adapters.skypilot.profile import parse
from causeway.adapters.skypilot.wire import Sky
from causeway.burst import OPEN, Decision, Rental, Stage, Wish
from causeway.model.errors import CausewayError, Conflict, Refused, Unavailable
from causeway.model.fleet import WaitingJob
from causeway.model.jobs import DataLabel, JobSpec
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.resources import AcceleratorRequest, Resources
from causeway.wiring import matches, verdicts

MINUTE_MS = 60_000
START_MS = 1_800_000_000_000
PROFILE = """
budget = "20"
machines = 2
lease = "4h"
[[place]]
infra = "fluidstack/norway_4_eu"
jurisdiction = "NO"
"""
NONE_FITS = Reason(
    token=Token.NO_ISLANDS,
    severity=Severity.BLOCK,
    message="No island has joined.",
    waiting_helps=False,
)


@dataclass
class PlainCentre:
    """A control plane that is told what it has."""

    jobs: list[tuple[WaitingJob, tuple[Reason, ...]]] = field(default_factory=list)
    there: dict[str, Seen] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    expelled: list[str] = field(default_factory=list)
    away: bool = False
    address: tuple[str, str] = ("http://centre.test", "")

    def waiting(self) -> tuple[tuple[WaitingJob, tuple[Reason, ...]], ...]:
        return tuple(self.jobs)

    def islands(self) -> Mapping[str, Seen]:
        if self.away:
            raise Unavailable("the centre cannot be reached")
        return dict(self.there)

    def join_token(self, name: str) -> str:
        self.tokens.append(name)
        return f"cw_token_of_{name}"

    def drain(self, island: str) -> None:
        self.drained.append(island)

    def expel(self, island: str) -> None:
        self.expelled.append(island)


class House:
    """One burst over a book, a played SkyPilot and a plain centre, with a clock of its own."""

    def __init__(self, folder: Path, text: str = PROFILE) -> None:
        self.folder = folder
        self.text = text
        self.played = Played()
        self.centre = PlainCentre()
        self.now_ms = START_MS
        self.said: list[str] = []
        self.open()

    def open(self) -> None:
        """Start a controller, as after a kill: all it has is the book."""
        self.book = Book(self.folder, fresh_id="abcd")
        sky = Sky("http://sky.test", user="test", transport=self.played.transport())
        self.burst = Burst(
            parse(self.text),
            book=self.book,
            sky=sky,
            centre=self.centre,  # type: ignore[arg-type]
            judges=Judges(matches=matches, verdicts=verdicts),
        )

    def killed(self) -> None:
        self.book.close()
        self.open()

    def round(self, minutes: float = 1, *, closing: bool = False) -> tuple[Decision, ...]:
        self.now_ms += round(minutes * MINUTE_MS)
        decisions = self.burst.look(self.now_ms, closing=closing)
        self.burst.act(decisions, self.now_ms, self.said.append)
        return decisions

    def wait(self, name: str = "train", **changes: Any) -> None:
        """Let a job wait for one H100."""
        wanted = AcceleratorRequest(count=1, model="H100")
        given = {"resources": Resources(cpu_milli=4000, accelerator=wanted), **changes}
        job = WaitingJob(
            id=f"urn:cpi:test:job:{name}",
            tenant="acme",
            spec=JobSpec(name=name, run="true", **given),
            queued_ms=self.now_ms,
            submitted_ms=self.now_ms,
        )
        self.centre.jobs.append((job, (NONE_FITS,)))

    def joined(self, rental: Rental, *, jobs: int = 0, live: bool = True) -> None:
        island = f"urn:cpi:test:island:{rental.name}"
        self.centre.there[rental.name] = Seen(id=island, live=live, cordoned=False, jobs=jobs)

    @property
    def rentals(self) -> tuple[Rental, ...]:
        return self.book.page.rentals

    @property
    def only(self) -> Rental:
        (one,) = self.rentals
        return one

    def stands(self) -> Launched:
        """Let the launch of the only rental succeed."""
        made = self.played.launch(self.only.name)
        made.status, made.machine = "SUCCEEDED", "UP"
        return made


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "book")


def test_the_whole_life_of_a_machine_in_a_recorded_conversation(house: House) -> None:
    house.wait()
    house.round()
    assert house.only.stage is Stage.LAUNCHING
    assert house.only.name == "burst-abcd-1"
    made = house.played.launch(house.only.name)
    made.machine = "INIT"
    assert house.round()[0].wish is Wish.KEEP
    assert house.only.stage is Stage.LAUNCHING
    house.stands()
    house.round()
    assert house.only.stage is Stage.UP
    # Its island joins and takes the job.
    house.centre.jobs.clear()
    house.joined(house.only, jobs=1)
    house.round(minutes=60)
    assert (house.only.joined_ms, house.only.idle_since_ms) == (house.now_ms, 0)
    house.joined(house.only)
    house.round()
    house.round(minutes=9)
    assert house.only.stage is Stage.UP
    house.round()
    assert house.only.stage is Stage.RETURNING
    assert (house.centre.drained, house.played.downs) == (
        ["urn:cpi:test:island:burst-abcd-1"],
        ["burst-abcd-1"],
    )
    house.played.gone(house.only.name)
    house.round()
    assert house.only.stage is Stage.GONE
    assert house.centre.expelled == ["urn:cpi:test:island:burst-abcd-1"]
    # 74 minutes from the intention to the sight of its end, at 2.49 and a tenth.
    assert house.book.page.spent_micros == 3_378_100
    assert len(house.played.launches) == 1


def test_what_is_launched_is_pinned_armed_and_carries_its_own_end(house: House) -> None:
    house.wait()
    house.round()
    made, rental = house.played.launches[0], house.only
    assert made.task["resources"] == {
        "infra": "fluidstack/norway_4_eu",
        "instance_type": "H100_PCIE_80GB::1",
        "use_spot": False,
        "disk_size": 256,
        "autostop": {"idle_minutes": 5, "down": True, "wait_for": "jobs"},
    }
    assert made.task["secrets"] == {"CAUSEWAY_JOIN_TOKEN": "cw_token_of_burst-abcd-1"}
    setup = made.task["setup"].splitlines()
    # The machine's own end is armed before anything is fetched.
    armed = next(i for i, line in enumerate(setup) if 'sudo -n shutdown -h +"$left"' in line)
    fetched = next(i for i, line in enumerate(setup) if "curl" in line)
    assert armed < fetched
    assert str(rental.until_ms // 1000 + 15 * 60) in made.task["setup"]
    with zipfile.ZipFile(io.BytesIO(house.played.blobs[made.blob])) as parcel:
        names = parcel.namelist()
        lease = json.loads(parcel.read("causeway-lease/lease.json"))
        island = parcel.read("causeway-lease/island.toml").decode()
    assert [n for n in names if n.endswith(".whl")]
    assert lease["limits"]["until_ms"] == rental.until_ms
    assert lease["url"] == "http://centre.test"
    assert 'name = "burst-abcd-1"' in island
    assert 'jurisdiction = "NO"' in island
    assert 'price_per_device_h = "2.49"' in island
    assert "cw_token" not in str(names) + json.dumps(lease) + island


def test_a_recorded_launch_that_fails_is_one_sentence_and_leaves_nothing_committed(
    house: House,
) -> None:
    house.wait()
    house.round()
    house.played.launch(house.only.name).status = "FAILED"
    house.round()
    assert (house.only.stage, house.only.failed) == (Stage.GONE, True)
    assert house.only.message == (
        "burst-abcd-1 at fluidstack/norway_4_eu: the cloud cannot be reached from SkyPilot's API "
        "server (platform.fluidstack.io)"
    )
    assert house.book.page.spent_micros == 0
    # Not again at once, and again after a while, under a name of its own.
    assert [one.wish for one in house.round()] == [Wish.LEAVE]
    house.round(minutes=20)
    assert [one.name for one in house.rentals] == ["burst-abcd-1", "burst-abcd-2"]


def test_what_the_recorded_optimiser_refuses_is_not_launched(house: House) -> None:
    house.played.fail["/optimize"] = "optimize_failed"
    house.wait()
    house.round()
    assert house.played.launches == []
    assert (house.only.stage, house.only.failed) == (Stage.RETURNING, True)
    assert "Invalid region" in house.only.message
    house.round(minutes=3)
    assert (house.only.stage, house.book.page.spent_micros) == (Stage.GONE, 0)


class Killed(BaseException):
    """The process is gone."""


def test_killed_between_the_book_and_the_launch_it_rents_once(house: House) -> None:
    def kill(_: Launched) -> None:
        house.played.launches.pop()
        raise Killed

    house.played.on_launch = kill
    house.wait()
    with pytest.raises(Killed):
        house.round()
    assert house.only.stage is Stage.INTENDED
    house.played.on_launch = lambda _: None
    house.killed()
    # What it may cost is committed already: no second machine is decided on.
    decisions = house.round()
    assert [one.wish for one in decisions] == [Wish.KEEP]
    assert [one.name for one in house.played.launches] == ["burst-abcd-1"]
    assert house.only.stage is Stage.LAUNCHING


def test_killed_between_the_launch_and_the_book_it_adopts_what_it_launched(house: House) -> None:
    def kill(_: Launched) -> None:
        raise Killed

    house.played.on_launch = kill
    house.wait()
    with pytest.raises(Killed):
        house.round()
    assert house.only.stage is Stage.INTENDED
    house.played.on_launch = lambda _: None
    house.killed()
    house.round()
    assert len(house.played.launches) == 1
    assert (house.only.stage, house.only.request) == (
        Stage.LAUNCHING,
        house.played.launches[0].request,
    )


def test_a_launch_whose_answer_was_lost_is_adopted_also_when_it_stands_already(
    house: House,
) -> None:
    def lose(made: Launched) -> None:
        made.status, made.machine = "SUCCEEDED", "UP"
        raise Killed

    house.played.on_launch = lose
    house.wait()
    with pytest.raises(Killed):
        house.round()
    house.killed()
    house.round()
    assert (house.only.stage, len(house.played.launches)) == (Stage.UP, 1)


def test_a_machine_that_turned_itself_in_is_struck_off(house: House) -> None:
    house.wait()
    house.round()
    house.stands()
    house.joined(house.only)
    house.round()
    house.centre.jobs.clear()
    house.played.gone(house.only.name)
    house.round()
    assert house.only.stage is Stage.GONE
    assert "turned itself in" in house.only.message
    assert house.played.downs == []


def test_work_is_moved_away_before_a_machine_goes(house: House) -> None:
    house.wait()
    house.round()
    house.stands()
    house.round()
    house.centre.jobs.clear()
    house.joined(house.only, jobs=1)
    house.round(minutes=236)
    assert house.only.stage is Stage.RETURNING
    assert "its lease ends" in house.only.message
    assert (house.centre.drained, house.played.downs) == (
        ["urn:cpi:test:island:burst-abcd-1"],
        [],
    )
    house.joined(house.only, jobs=0)
    house.round()
    assert house.played.downs == ["burst-abcd-1"]


def test_closing_cancels_a_launch_that_is_under_way(house: House) -> None:
    house.wait()
    house.round()
    house.played.launch(house.only.name).machine = "INIT"
    house.round(closing=True)
    assert house.played.launches[0].status == "CANCELLED"
    house.round(closing=True)
    assert house.only.stage is Stage.GONE
    assert not [one for one in house.rentals if one.stage in OPEN]


def test_the_budget_holds_one_machine_and_the_second_job_is_told_so(house: House) -> None:
    house.wait("first")
    house.wait("second")
    decisions = house.round()
    assert [one.wish for one in decisions] == [Wish.RENT, Wish.LEAVE]
    assert decisions[1].reasons[0].token is Token.BUDGET
    assert len(house.played.launches) == 1


def test_jobs_that_may_not_or_cannot_run_there_rent_nothing(house: House) -> None:
    house.wait("elsewhere", where="site.jurisdiction == 'DE'")
    house.wait("cpu", resources=Resources(cpu_milli=4000))
    house.wait("big", resources=Resources(accelerator=AcceleratorRequest(count=8, model="H100")))
    decisions = house.round()
    assert [one.wish for one in decisions] == [Wish.LEAVE] * 3
    told = {one.reasons[0].token for one in decisions}
    assert told == {Token.CONSTRAINT, Token.ACCELERATOR}
    assert house.played.launches == []


def test_data_that_the_law_keeps_away_rents_nothing_there(tmp_path: Path) -> None:
    house = House(tmp_path / "book", PROFILE.replace('"NO"', '"US"'))
    house.wait(data=(DataLabel(data_class="personal", subject_region="EEA"),))
    (leave,) = house.round()
    assert (leave.wish, leave.reasons[0].token) == (Wish.LEAVE, Token.LAW)


def test_when_the_centre_is_away_a_round_changes_nothing(house: House) -> None:
    house.wait()
    house.round()
    house.stands()
    house.round()
    before = house.book.page
    house.centre.away = True
    with pytest.raises(Unavailable):
        house.round(minutes=600)
    assert (house.book.page, house.played.downs) == (before, [])


def test_clouds_without_credentials_are_left_out_as_the_recorded_check_says(house: House) -> None:
    assert house.burst.check() == frozenset()
    assert len(house.burst.offers()) == 1
    house.played.fail["/check"] = "check_none"
    assert house.burst.check() == {"fluidstack"}
    assert house.burst.offers() == ()


def test_a_machine_of_this_name_that_the_book_does_not_have_is_named(house: House) -> None:
    house.wait()
    house.round()
    house.stands()
    stranger = Launched(request="r", name="burst-abcd-9", task={}, blob="", machine="UP")
    other = Launched(request="r", name="burst-ffff-1", task={}, blob="", machine="UP")
    house.played.launches += [stranger, other]
    assert house.burst.strangers() == ("burst-abcd-9",)


def test_one_book_has_one_burst_at_a_time(house: House) -> None:
    with pytest.raises(Conflict, match="another burst"):
        Book(house.folder, fresh_id="0000")


def test_an_api_of_another_version_and_a_closed_door_are_said(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    sky = Sky("http://sky.test", user="test", transport=house.played.transport())
    assert sky.version() == "0.14.1"
    monkeypatch.setitem(RECORDED, "health", {"api_version": "7"})  # type: ignore[arg-type]
    with pytest.raises(Refused, match="version 7"):
        sky.version()
    away = Sky("http://127.0.0.1:1", user="test")
    with pytest.raises(CausewayError, match="cannot be reached"):
        away.version()
