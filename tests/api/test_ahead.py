"""Inputs that travel while their job queues: who is told, who may fetch, and until when."""

from __future__ import annotations

from typing import Any

import pytest
from house import Agent, House

from causeway.api import ahead

KEEPS: dict[str, Any] = {"content_cache_bytes": 10**9}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "EVERY_MS", 0)


def told(house: House, agent: Agent, *held: str) -> list[str]:
    reply = house.ask("POST", "/v1/agent/content", who=agent.token, json={"artifacts": held})
    assert reply.status_code == 200, reply.text
    return list(reply.json()["ahead"])


def queued(house: House, name: str, artifact: str, more: str = "", *, cpus: int = 8) -> str:
    """Submit a job that only the island of that name can run."""
    text = (
        f"name: {name}\nrun: 'true'\nresources: {{cpus: {cpus}}}\n"
        f"where: site.region == '{name}'\ninputs: {{data: '{artifact}'}}\n{more}"
    )
    reply = house.ask("POST", "/v1/jobs", content=text)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def busy(house: House, name: str, **profile: Any) -> Agent:
    """Return an island that is full."""
    agent = house.island(name, region=name, **profile)
    queued(house, name, house.upload("acme/member", b"first " + name.encode()))
    agent.taken()
    return agent


def may_read(house: House, agent: Agent, artifact: str) -> bool:
    status = house.ask("GET", f"/v1/artifacts/{artifact}", who=agent.token).status_code
    assert status in (200, 403)
    return bool(status == 200)


def test_an_island_with_a_cache_is_told_what_waits_for_it(house: House) -> None:
    agent = busy(house, "keeper", **KEEPS)
    artifact = house.upload("acme/member", b"second")
    assert told(house, agent) == []
    assert not may_read(house, agent, artifact)
    job = queued(house, "keeper", artifact)
    assert told(house, agent) == [artifact]
    assert told(house, agent, artifact) == [], "it is there already"
    assert may_read(house, agent, artifact)
    assert house.get(f"/v1/artifacts/{artifact}/sources", who=agent.token)["sources"]
    house.ask("POST", f"/v1/jobs/{job}/cancel")
    assert told(house, agent) == []
    assert not may_read(house, agent, artifact)


def test_another_island_is_neither_told_nor_let_in(house: House) -> None:
    agent = busy(house, "full", **KEEPS)
    other = house.island("idle", region="idle", **KEEPS)
    artifact = house.upload("acme/member", b"third")
    queued(house, "full", artifact)
    assert told(house, agent) == [artifact]
    assert told(house, other) == []
    assert not may_read(house, other, artifact)


def test_an_island_without_a_cache_is_told_nothing(house: House) -> None:
    agent = busy(house, "bare")
    artifact = house.upload("acme/member", b"fourth")
    queued(house, "bare", artifact)
    assert told(house, agent) == []


def test_what_the_law_forbids_there_never_travels(house: House) -> None:
    agent = busy(house, "abroad", jurisdiction="CN", **KEEPS)
    artifact = house.upload("acme/member", b"fifth")
    queued(house, "abroad", artifact, "data: [{class: personal, subject_region: EEA}]\n")
    assert told(house, agent) == []
    assert not may_read(house, agent, artifact)
