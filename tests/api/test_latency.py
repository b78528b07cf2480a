"""How far islands are from one another, on the whole application."""

from __future__ import annotations

from house import House

from causeway.cli import sheets


def test_links_of_all_and_of_one(house: House) -> None:
    rtts = {"alba": 4.0, "boreal": 6.0, "cima": 1.0}
    islands = {name: house.island(name) for name in rtts}
    for name, island in islands.items():
        island.sync(health={"rtt_ms": rtts[name], "bandwidth_mbit_s": rtts[name] * 10})
    assert len(house.get("/v1/latency")["links"]) == 3
    links = house.get("/v1/latency?island=boreal")["links"]
    assert [(one["rtt_ms"], one["bandwidth_mbit_s"]) for one in links] == [
        (10.0, 40.0),
        (7.0, 10.0),
    ]
    assert {one["path"] for one in links} == {"via centre"}
    printed = "\n".join(sheets.latency(links))
    assert "10.0 ms" in printed
    assert "via centre" in printed
    refused = house.ask("GET", "/v1/latency?island=nobody")
    assert refused.status_code == 404
