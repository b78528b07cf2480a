"""Arrays and DAGs seen through the API: their members, what they cost, where their logs are."""

from __future__ import annotations

from house import House

ARRAY = "name: sweep\narray: {count: 2}\nrun: 'true'\nresources: {cpus: 1}\n"


def test_members_are_listed(house: House) -> None:
    house.submit("alone")
    made = house.ask("POST", "/v1/jobs", content=ARRAY).json()
    for named in (made["id"], "sweep"):
        jobs = house.get(f"/v1/jobs?group={named}")["jobs"]
        assert {job["id"] for job in jobs} == set(made["members"])
    assert house.ask("GET", "/v1/jobs?group=sweep", who="rival/member").status_code == 404


def test_an_array_costs_what_its_members_cost(house: House) -> None:
    island = house.island()
    made = house.ask("POST", "/v1/jobs", content=ARRAY).json()
    starts = {}
    while len(starts) < 2:
        starts |= {start["job"]: start for start in island.sync()["start"]}
    for start in starts.values():
        of = {"job": start["job"], "fence": start["fence"], "seq": 0}
        tick = {**of, "start_ms": 0, "end_ms": 400, "devices": 1}
        island.say(start, "succeeded", final=True, ticks=[tick])
    cost = house.get(f"/v1/jobs/{made['id']}/cost")
    assert {line["job"] for line in cost["lines"]} == set(made["members"])
    assert cost["device_ms"] == 800
    assert cost["balanced"]


def test_an_arrays_log_is_with_its_members(house: House) -> None:
    house.ask("POST", "/v1/jobs", content=ARRAY)
    error = house.ask("GET", "/v1/jobs/sweep/logs").json()["error"]
    assert "members have the logs" in error["message"]
    assert error["hint"] == "see them with: causeway status sweep"
