"""What a running job may read: what its own file names, while its attempt is the current one."""

from __future__ import annotations

from typing import Any

import pytest
from house import Agent, House

from causeway.api import reading


def running(house: House, name: str, run: str) -> tuple[Agent, dict[str, Any]]:
    """Return an island and the start of a job there."""
    agent = house.island(name, region=name)
    text = f"name: {name}\nrun: {run}\nresources: {{cpus: 1}}\nwhere: site.region == '{name}'\n"
    reply = house.ask("POST", "/v1/jobs", content=text)
    assert reply.status_code == 201, reply.text
    return agent, agent.taken()


def read(house: House, artifact: str, secret: str) -> int:
    status: int = house.ask("GET", f"/v1/artifacts/{artifact}", who=secret).status_code
    return status


def test_a_job_reads_what_its_file_names_and_nothing_else(house: House) -> None:
    named = house.upload("acme/member", b"named", kind="dataset")
    other = house.upload("acme/member", b"other", kind="dataset")
    foreign = house.upload("rival/member", b"foreign", kind="dataset")
    text = f"python read.py causeway://{named}/a.txt causeway://{foreign}/a.txt"
    agent, start = running(house, "reads", text)
    secret = start["secrets"][reading.TOKEN]
    assert read(house, named, secret) == 200
    assert read(house, other, secret) == 403
    assert read(house, named[:-1], secret) == 403
    assert read(house, foreign, secret) == 404, "named, and another project's"
    for method, path in (
        ("POST", "/v1/artifacts/missing"),
        ("PUT", "/v1/artifacts/chunks/" + "0" * 64),
    ):
        assert house.ask(method, path, who=secret, json={}).status_code == 403
    assert house.ask("GET", "/v1/jobs", who=secret).status_code == 401
    agent.say(start, "failed", exit_code=1, final=True, failure="user")
    assert read(house, named, secret) == 409, "the attempt is over"


def test_a_job_that_reads_nothing_is_given_nothing(house: House) -> None:
    _, start = running(house, "plain", "'true'")
    assert start["secrets"] == {}


@pytest.mark.parametrize("secret", ["read_", "read_x", "read_gAAAAA"])
def test_what_is_no_token_is_refused(house: House, secret: str) -> None:
    assert read(house, "sha256:" + "0" * 64, secret) == 401


def test_a_token_for_another_purpose_is_refused(house: House) -> None:
    sealed = house.parts.seal(b'{"for": "exchange", "job": "x", "fence": 1}').decode()
    assert read(house, "sha256:" + "0" * 64, reading.PREFIX + sealed) == 401
