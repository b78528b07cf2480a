"""What needs no engine: the registry, histories, settings, reports and the page of the docs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.conformance import Outcome, Report, Result, page
from causeway.conformance.case import Claim, registered
from causeway.conformance.history import contradiction
from causeway.conformance.report import from_json, to_json
from causeway.conformance.subject import Settings, read, resolve
from causeway.conformance.suite import lacking, run_suite
from causeway.model.errors import InvalidInput
from causeway.model.islands import Inventory
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity
from causeway.ports.engine import Status

STARTING = Status(phase=Phase.STARTING)
RUNNING = Status(phase=Phase.RUNNING, started_monotonic_ms=1_000, cpu_ms=5, energy_mj=7)
DONE = replace(RUNNING, phase=Phase.SUCCEEDED, exit_code=0, ended_monotonic_ms=2_000)
FAILED = replace(
    DONE, phase=Phase.FAILED, exit_code=3, failure=FailureClass.USER, message="exit code 3"
)
REPORT = Report(
    engine="slate",
    engine_version="7.1",
    causeway_version="0.1.0",
    outlives=True,
    date="2026-11-21",
    many=12,
    seconds=34.5,
    results=(
        Result(name="start", shows="It starts.", outcome=Outcome.PASSED),
        Result(name="stop-grace", shows="", outcome=Outcome.FAILED, message="it heard | nothing."),
        Result(name="gang-places", shows="", outcome=Outcome.NOT_CLAIMED, message="no gangs"),
    ),
)


def test_there_are_cases_enough_and_each_says_what_it_shows() -> None:
    cases = registered().values()
    assert len(cases) >= 60
    assert all(case.shows.endswith(".") and len(case.shows) <= 100 for case in cases)
    assert len({case.shows for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        (None, STARTING, ""),
        (STARTING, RUNNING, ""),
        (STARTING, FAILED, ""),
        (RUNNING, DONE, ""),
        (DONE, DONE, ""),
        (None, replace(RUNNING, started_monotonic_ms=0), "no instant at which it started"),
        (None, replace(STARTING, ended_monotonic_ms=5), "has not begun"),
        (None, replace(RUNNING, ended_monotonic_ms=5), "ended before it started"),
        (RUNNING, replace(RUNNING, ended_monotonic_ms=2_000), ""),
        (replace(RUNNING, ended_monotonic_ms=2_000), DONE, ""),
        (replace(RUNNING, ended_monotonic_ms=1_999), DONE, "of its end moved"),
        (replace(RUNNING, ended_monotonic_ms=2_000), RUNNING, "of its end moved"),
        (None, replace(DONE, ended_monotonic_ms=0), "ended before it started"),
        (None, replace(DONE, exit_code=1), "succeeded with exit code 1"),
        (None, replace(FAILED, failure=None), "no class"),
        (None, replace(FAILED, message=" "), "does not say why"),
        (RUNNING, STARTING, "went back"),
        (DONE, RUNNING, "went back"),
        (DONE, FAILED, "its end changed"),
        (RUNNING, replace(RUNNING, started_monotonic_ms=999), "of its start moved"),
        (DONE, replace(DONE, ended_monotonic_ms=2_001), "of its end moved"),
        (RUNNING, replace(RUNNING, cpu_ms=4), "cpu_ms went down"),
        (RUNNING, replace(RUNNING, energy_mj=6), "energy_mj went down"),
    ],
)
def test_what_may_follow_what(before: Status | None, now: Status, says: str) -> None:
    found = contradiction(before, now)
    assert says in found
    assert bool(says) == bool(found)


@given(st.lists(st.sampled_from([STARTING, RUNNING, DONE, FAILED]), min_size=2, max_size=6))
def test_only_stories_that_go_forward_pass(story: list[Status]) -> None:
    order = [{STARTING: 0, RUNNING: 1, DONE: 2, FAILED: 3}[one] for one in story]
    told = [contradiction(before, now) for before, now in itertools.pairwise(story)]
    forward = order == sorted(order) and not {2, 3} <= set(order)
    assert forward == (not any(told))


def test_a_profile_says_how_patient_to_be(tmp_path: Path) -> None:
    profile = tmp_path / "island.toml"
    profile.write_text('[engine.conformance]\npatience_s = 9\nlacks = { restarts = "no" }\n')
    settings = read(profile).settings
    assert (settings.patience_s, settings.lacks) == (9.0, {Claim.RESTARTS: "no"})


@pytest.mark.parametrize("line", ["patience = 9", 'lacks = { wings = "none" }', "many = 'some'"])
def test_a_setting_that_is_not_known_is_refused(tmp_path: Path, line: str) -> None:
    profile = tmp_path / "island.toml"
    profile.write_text(f"[engine.conformance]\n{line}\n")
    with pytest.raises(InvalidInput) as refused:
        read(profile)
    assert refused.value.where == "$.engine.conformance"


def test_an_engine_that_is_not_there_is_refused() -> None:
    for name in ("no.such.module:open", "causeway.wiring:no_such", "causeway.wiring", ""):
        with pytest.raises(InvalidInput):
            resolve(name)


def test_an_unknown_case_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    profile = tmp_path / "island.toml"
    profile.write_text("[engine]\nkind = 'no such engine'\n")
    with pytest.raises(InvalidInput, match="no case is called"):
        run_suite(profile, only=["levitation"], root=tmp_path)


def test_gangs_are_not_claimed_where_two_ranks_do_not_fit() -> None:
    room = Capacity(cpu_milli=1_000, memory_bytes=2**33)
    one = Inventory(hostname="h", os="o", architecture="a", cpu_model="c", capacity=room)
    two = replace(one, capacity=replace(room, cpu_milli=2_000))
    assert Claim.GANGS in lacking(Settings(), one)
    assert lacking(Settings(lacks={Claim.USAGE: "none"}), two) == {Claim.USAGE: "none"}


def test_a_report_is_kept_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "slate.json"
    path.write_bytes(to_json(REPORT))
    assert from_json(path) == REPORT
    assert not REPORT.ok
    path.write_text("{}")
    with pytest.raises(InvalidInput):
        from_json(path)


def test_the_page_has_a_cell_for_each_case_and_engine() -> None:
    other = msgspec.structs.replace(REPORT, engine="chalk", engine_version="", results=())
    text = "\n".join(page.parts({"slate": REPORT, "chalk": other}))
    assert "| case | what it shows | slate | chalk |" in text
    cells = {line.split(" | ")[0]: line.split(" | ")[2:] for line in text.splitlines()}
    assert cells["| `start`"] == ["passed", "not run |"]
    assert cells["| `stop-grace`"] == ["**failed**", "not run |"]
    assert cells["| `gang-places`"] == ["not claimed", "not run |"]
    assert "slate 7.1 | 2026-11-21 | 12 | 1 | 1 | 1 | 0 |" in text
    assert r"`stop-grace`: it heard \| nothing." in text
