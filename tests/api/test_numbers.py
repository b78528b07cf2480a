"""Jobs by their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import House


@pytest.fixture
def house(tmp_path: Path) -> object:
    with House.open(tmp_path) as opened:
        yield opened


def test_jobs_are_found_by_their_numbers_in_their_own_project(house: House) -> None:
    one, two = house.submit("a"), house.submit("b")
    numbers = {job["id"]: job["number"] for job in house.get("/v1/jobs")["jobs"]}
    wish = f"/v1/jobs?numbers={numbers[two]},{numbers[one]},999999,0"
    assert [job["id"] for job in house.get(wish)["jobs"]] == [two, one]
    assert house.get(wish, who="rival/viewer")["jobs"] == []
    assert len(house.get(wish, who="operator")["jobs"]) == 2


def test_a_number_of_another_event_is_no_jobs(house: House) -> None:
    house.submit("a")
    job = house.get("/v1/jobs")["jobs"][0]
    house.ask("POST", f"/v1/jobs/{job['id']}/cancel")
    assert house.get(f"/v1/jobs?numbers={job['number'] + 1}")["jobs"] == []


@pytest.mark.parametrize(
    "text", ["x", "1,,2", "-1", "9" * 30, ",".join("1" * 1 for _ in "ab") + ",²"]
)
def test_what_is_no_number_is_refused(house: House, text: str) -> None:
    assert house.ask("GET", f"/v1/jobs?numbers={text}").status_code == 422


def test_a_list_shows_what_was_asked_for(house: House) -> None:
    reply = house.ask(
        "POST",
        "/v1/jobs",
        content="name: a\nrun: 'true'\nresources: {cpus: 2, memory: 64MiB}\narray: 3-4%1\n"
        "time_limit: 90s\n",
    )
    jobs = {job["id"]: job for job in house.get("/v1/jobs")["jobs"]}
    group = jobs[reply.json()["id"]]
    member = jobs[reply.json()["members"][1]]
    assert member["group_number"] == group["number"] > 0
    asked = member["asked"]
    assert (asked["cpu_milli"], asked["memory_bytes"], asked["time_limit_s"]) == (
        2000,
        64 << 20,
        90,
    )
    assert (asked["array_index"], asked["at_once"]) == (4, 1)
