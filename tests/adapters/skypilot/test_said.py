"""What a real SkyPilot 0.14.1 said, as recorded, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.adapters.skypilot.played import RECORDED, cluster_row

from causeway.adapters.skypilot import said
from causeway.adapters.skypilot.profile import parse
from causeway.burst import Launch, Machine
from causeway.model.errors import Unavailable
from causeway.model.money import Purchase

PROFILE = """
budget = "100"
[[place]]
infra = "fluidstack/norway_4_eu"
jurisdiction = "NO"
"""


def value(name: str) -> Any:
    return json.loads(RECORDED[name]["body"]["return_value"])


def test_recorded_offers_are_read_for_the_places_of_the_profile_alone() -> None:
    (offer,) = said.offers(value("offers"), parse(PROFILE))
    assert offer.id == "fluidstack/norway_4_eu/H100_PCIE_80GB::1/on_demand"
    assert (offer.price_micros_per_h, offer.purchase) == (2_490_000, Purchase.ON_DEMAND)
    assert (offer.capacity.cpu_milli, offer.capacity.accelerators) == (26_000, 1)
    assert offer.device_memory_bytes == 80 * 1024**3


def test_both_places_are_cheapest_first_and_models_can_be_chosen() -> None:
    both = PROFILE + '[[place]]\ninfra = "fluidstack/canada_1_ca"\njurisdiction = "CA"\n'
    found = said.offers(value("offers"), parse(both))
    assert [one.price_micros_per_h for one in found] == [2_490_000, 2_890_000]
    assert said.offers(value("offers"), parse('accelerators = ["A100"]\n' + both)) == ()


def test_spot_is_an_offer_of_its_own_where_it_is_wanted_and_sold() -> None:
    row = value("offers")["H100"][0]
    row[8] = 0.8
    spot = said.offers({"H100": [row]}, parse("spot = true\non_demand = false\n" + PROFILE))
    assert [(one.purchase, one.price_micros_per_h) for one in spot] == [(Purchase.SPOT, 800_000)]


def test_parts_of_accelerators_and_machines_of_unknown_size_are_no_offers() -> None:
    row = value("offers")["H100"][0]
    for index, odd in ((3, 0.5), (4, None), (6, None), (7, None)):
        changed = [*row]
        changed[index] = odd
        assert said.offers({"H100": [changed]}, parse(PROFILE)) == ()


def test_recorded_check_says_where_machines_can_be_rented() -> None:
    assert said.enabled(value("check")) == {"fluidstack"}
    assert said.enabled(value("check_none")) == frozenset()


def test_recorded_failures_become_one_sentence() -> None:
    launch = RECORDED["launch_failed"]["body"]["detail"]
    assert said.failure(launch) == (
        "the cloud cannot be reached from SkyPilot's API server (platform.fluidstack.io)"
    )
    region = said.failure(RECORDED["optimize_failed"]["body"]["detail"])
    assert region.startswith("ValueError: Invalid region 'mars' List of supported")
    assert "there is no such machine" in said.failure(RECORDED["down_unknown"]["body"]["detail"])
    assert said.failure(RECORDED["check"]["body"]) == ""
    assert said.failure({"status": "CANCELLED", "error": "null"}) == "it is CANCELLED"


def test_recorded_requests_tell_how_the_launch_stands() -> None:
    (one,) = said.asked(RECORDED["requests"])
    assert (one.name, one.state) == ("sky.launch", Launch.FAILED)
    rows = [{**RECORDED["requests"][0], "created_at": 9e9, "status": "CANCELLED"}]
    rows.append({**rows[0], "request_id": "r2", "created_at": 1.0, "status": "RUNNING"})
    newest = said.launch_of(said.asked(rows))
    assert newest is not None
    assert (newest.id, newest.state) == ("r2", Launch.UNDER_WAY)
    assert said.launch_of(()) is None


@pytest.mark.parametrize(
    ("row", "machine"),
    [
        (cluster_row("a", "UP"), Machine.STANDS),
        (cluster_row("a", "ClusterStatus.INIT", init_kind="launching"), Machine.COMING),
        (cluster_row("a", "INIT", init_kind="unhealthy"), Machine.BROKEN),
        (cluster_row("a", "STOPPED"), Machine.BROKEN),
    ],
)
def test_machines_after_the_published_schema(row: dict[str, Any], machine: Machine) -> None:
    assert said.clusters([row])["a"].machine is machine


def test_answers_of_another_form_are_said_to_be_so() -> None:
    for read in (said.clusters, said.asked, said.enabled):
        with pytest.raises(Unavailable, match="not understood"):
            read("odd")  # type: ignore[operator]
    with pytest.raises(Unavailable, match="not understood"):
        said.offers({"H100": [["short"]]}, parse(PROFILE))
