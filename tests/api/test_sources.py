"""From where an island may fetch an artefact: who is named, who is granted, and who never is."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from house import Agent, House

from causeway.model import grants
from causeway.model.grants import Grant

SHARES: dict[str, Any] = {"content_address": "alba.example:7790", "content_cache_bytes": 10**9}
PIN = "ab" * 32


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with House.open(tmp_path_factory.mktemp("centre")) as opened:
        yield opened


def tell(house: House, agent: Agent, *artifacts: str, status: int = 200, **more: Any) -> Any:
    body = {"artifacts": artifacts, "pin": PIN, **more}
    reply = house.ask("POST", "/v1/agent/content", who=agent.token, json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


def needing(house: House, name: str, data: str = "", **profile: Any) -> tuple[Agent, str, str]:
    """Return an island that holds a job, the artefact that it needs, and the job's id."""
    artifact = house.upload("acme/member", name.encode() * 3, kind="dataset")
    agent = house.island(name, region=name, **profile)
    more = f'inputs: {{data: "{artifact}"}}\nwhere: site.region == "{name}"\n{data}'
    job = house.submit(name, more=more)
    assert agent.taken()["job"] == job
    return agent, artifact, job


def sources(house: House, agent: Agent, artifact: str) -> dict[str, dict[str, Any]]:
    found = house.get(f"/v1/artifacts/{artifact}/sources", who=agent.token)
    assert found["lasts_s"] == 600
    return {one["island"]: one for one in found["sources"]}


def opened(text: str, key: str) -> Grant:
    def holds(said: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(signature, said)
        except InvalidSignature:
            return False
        return True

    return grants.opened(text, holds)


def test_an_island_that_holds_it_is_granted_and_the_centre_stands_by(house: House) -> None:
    alba = house.island("alba", **SHARES)
    taker, artifact, _ = needing(house, "taker")
    key = tell(house, alba, artifact)["key"]
    tell(house, taker, links={alba.id: {"bandwidth_mbit_s": 80.0, "age_ms": 5}})
    found = sources(house, taker, artifact)
    assert list(found) == [alba.id, ""]
    one = found[alba.id]
    assert (one["address"], one["pin"], one["used"]) == ("alba.example:7790", PIN, True)
    assert "measured: 80.0 Mbit/s" in one["reason"]["message"]
    grant = opened(one["grant"], key)
    assert (grant.artifact, grant.asker, grant.server) == (artifact, taker.id, alba.id)
    assert found[""]["used"] is False
    assert found[""]["grant"] == ""


def test_the_grant_key_outlives_the_process(house: House, tmp_path: Path) -> None:
    alba = house.island("keeper", **SHARES)
    kept = (house.state / "grants.key").read_text()
    with House.open(tmp_path) as other:
        (tmp_path / "grants.key").write_text(kept)
        assert other.parts.grants is not None
    with House.open(tmp_path) as again:
        assert again.parts.grants is not None
        assert again.parts.grants.public_key == tell(house, alba)["key"]
    assert (house.state / "grants.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "profile", "pin"),
    [("deaf", {}, PIN), ("bare", SHARES, ""), ("other", SHARES, PIN)],
)
def test_who_does_not_listen_or_does_not_hold_it_is_not_named(
    house: House, name: str, profile: dict[str, Any], pin: str
) -> None:
    island = house.island(name, **profile)
    taker, artifact, _ = needing(house, f"wants-{name}")
    held = "sha256:" + "0" * 64 if name == "other" else artifact
    tell(house, island, held, pin=pin)
    found = sources(house, taker, artifact)
    assert list(found) == [""]
    assert found[""]["used"] is True


def test_a_new_session_must_say_again_what_it_holds(house: House) -> None:
    island = house.island("forgetful", **SHARES)
    taker, artifact, _ = needing(house, "wants-forgetful")
    tell(house, island, artifact)
    assert island.id in sources(house, taker, artifact)
    island.open()
    assert island.id not in sources(house, taker, artifact)
    island.sync()
    tell(house, island, artifact)
    assert island.id in sources(house, taker, artifact)


def test_an_expelled_island_is_neither_named_nor_heard(house: House) -> None:
    island = house.island("villain", **SHARES)
    taker, artifact, _ = needing(house, "wants-villain")
    tell(house, island, artifact)
    reply = house.ask("POST", "/v1/islands/villain/expel", who="operator")
    assert reply.status_code == 200, reply.text
    assert island.id not in sources(house, taker, artifact)
    tell(house, island, artifact, status=401)


def test_labels_keep_the_content_from_where_it_may_not_be(house: House) -> None:
    label = "data: [{class: personal, subject_region: EEA}]\n"
    abroad = house.island("abroad", jurisdiction="CN", **SHARES)
    near = house.island("near", jurisdiction="DE", **SHARES)
    taker, artifact, _ = needing(house, "wants-lawful", data=label)
    tell(house, abroad, artifact)
    tell(house, near, artifact)
    found = sources(house, taker, artifact)
    assert near.id in found
    assert abroad.id not in found


def test_only_an_island_with_a_job_that_needs_it_may_ask(house: House) -> None:
    _, artifact, job = needing(house, "owner", **SHARES)
    stranger = house.island("stranger")
    ask = f"/v1/artifacts/{artifact}/sources"
    assert house.ask("GET", ask, who=stranger.token).status_code == 403
    reply = house.ask("GET", ask, who="acme/member")
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "refused")
    assert house.ask("GET", ask, who="").status_code == 401
    assert job


BAD: dict[str, tuple[dict[str, Any], int]] = {
    "too many": ({"artifacts": ["sha256:0"] * 257}, 413),
    "too many links": (
        {"links": {f"i{n}": {"bandwidth_mbit_s": 1, "age_ms": 0} for n in range(65)}},
        413,
    ),
    "long": ({"artifacts": ["x" * 301]}, 422),
    "negative": ({"links": {"i": {"bandwidth_mbit_s": -1, "age_ms": 0}}}, 422),
    "not a list": ({"artifacts": "x"}, 422),
}


@pytest.mark.parametrize("name", BAD)
def test_reports_are_held_to_bounds(house: House, name: str) -> None:
    islands = house.get("/v1/islands", who="operator")["islands"]
    known = any(one["id"].endswith(":bounded") for one in islands)
    agent = house.island(f"bounded-{len(islands)}" if known else "bounded")
    body, status = BAD[name]
    reply = house.ask("POST", "/v1/agent/content", who=agent.token, json=body)
    assert reply.status_code == status, reply.text
