"""Identifiers lead to descriptors, and a descriptor's digest can be cited."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from house import House

from causeway.model.identifiers import canonical_json

BASE = "urn:cpi:causeway.local"


@pytest.mark.parametrize(
    ("urn", "name", "value"),
    [
        ("island:alba", "provider", f"{BASE}:provider:alba"),
        ("site:alba", "jurisdiction", "NO"),
        ("pool:alba.main", "nodes", [f"{BASE}:node:alba.main.0"]),
        ("node:alba.main.0", "pool", f"{BASE}:pool:alba.main"),
        ("offer:alba.main.on_demand", "purchase", "on_demand"),
        ("party:acme", "name", "acme"),
    ],
)
def test_every_part_of_an_island_has_a_descriptor(
    house: House, urn: str, name: str, value: object
) -> None:
    house.island()
    found = house.get(f"/v1/descriptors/{BASE}:{urn}")
    assert found["descriptor"][name] == value
    recomputed = hashlib.sha256(canonical_json(found["descriptor"])).hexdigest()
    assert found["digest"] == f"sha256:{recomputed}"


def test_an_offer_leads_to_its_price_and_its_pool(house: House) -> None:
    house.island()
    offer = house.get(f"/v1/descriptors/{BASE}:offer:alba.main.on_demand")["descriptor"]
    price = house.get(f"/v1/descriptors/{offer['price']}")["descriptor"]
    assert price == {"amount_per_device_h": "0.1", "currency": "USD"}
    assert house.get(f"/v1/descriptors/{offer['pool']}")["descriptor"]["island"].endswith(":alba")


def test_a_cited_digest_is_refused_once_the_thing_has_changed(house: House) -> None:
    island = house.island()
    path = f"/v1/descriptors/{BASE}:node:alba.main.0"
    cited = house.get(path)["digest"]
    island.sync()
    assert house.get(f"{path}?digest={cited}")["digest"] == cited
    built = house.get(path)["descriptor"]
    more = {"cpu_milli": 1_000, "memory_bytes": 1, "disk_bytes": 1, "accelerators": 0}
    island.sync(inventory={**_told(built), "os": "plan9", "capacity": more})
    answer = house.ask("GET", f"{path}?digest={cited}")
    assert answer.status_code == 409
    assert "has changed since it was cited" in answer.json()["error"]["message"]


def test_a_job_is_described_to_its_own_project_only(house: House) -> None:
    job = house.submit("mine")
    assert house.get(f"/v1/descriptors/{job}")["descriptor"]["spec"]["name"] == "mine"
    assert house.ask("GET", f"/v1/descriptors/{job}", who="rival/admin").status_code == 404


def _told(built: dict[str, Any]) -> dict[str, Any]:
    return {name: built[name] for name in ("hostname", "architecture", "cpu_model")}


@pytest.mark.parametrize("urn", ["site:nowhere", "slice:alba", "model:none", "party:rival"])
def test_what_is_not_known_is_not_found(house: House, urn: str) -> None:
    answer = house.ask("GET", f"/v1/descriptors/{BASE}:{urn}")
    assert answer.status_code == 404
    assert "causeway islands" in answer.json()["error"]["hint"]
