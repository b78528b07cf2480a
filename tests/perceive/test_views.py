"""Offers show what is really free, how fresh, and never pass stale figures off as fresh."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.identifiers import Urn
from causeway.model.islands import Device, Health, Inventory, Island, IslandState, Profile
from causeway.model.jobs import Attempt, Job, JobSpec, JobState
from causeway.model.money import Price, Purchase
from causeway.model.resources import AcceleratorRequest, Capacity, Resources
from causeway.perceive import (
    age_ms,
    flaws,
    holdings,
    interruptions_per_day,
    is_fresh,
    pool_id,
    price_of,
    state_of,
    views,
)

DAY_MS = 86_400_000
NOW_MS = 100 * DAY_MS
GIB = 1024**3
LEASE_MS = 4_000


def island(name: str = "alba", *, profile: dict[str, Any] | None = None, **changes: Any) -> Island:
    made = Profile(name=name, provider=f"{name}-owner", jurisdiction="NO", **(profile or {}))
    known: dict[str, Any] = {
        "inventory": Inventory(
            hostname="h",
            os="linux",
            architecture="x86_64",
            cpu_model="c",
            capacity=Capacity(cpu_milli=8_000, memory_bytes=16 * GIB, disk_bytes=100 * GIB),
        ),
        "state": IslandState.LIVE,
        "joined_ms": NOW_MS - DAY_MS,
        "heard_ms": NOW_MS - 1_000,
        "lease_until_ms": NOW_MS + 3_000,
    }
    return Island(
        id=f"urn:cpi:demo:island:{name}-id", profile=made, public_key="k", **{**known, **changes}
    )


def look(*islands: Island, used: dict[str, Capacity] | None = None) -> Any:
    return views(islands, used or {}, now_ms=NOW_MS, lease_ms=LEASE_MS)


def job(pool: str, *, state: JobState = JobState.RUNNING, nodes: int = 1, cpu: int = 1_000) -> Job:
    attempt = Attempt(
        job="urn:cpi:demo:job:1",
        fence=1,
        island="i",
        pool=pool,
        offer="o",
        price=Price(id="p", amount_per_device_h=Decimal(1)),
        purchase=Purchase.SPOT,
        pue_milli=1_000,
        carbon_mg_per_kwh=0,
    )
    spec = JobSpec(name="j", run="true", num_nodes=nodes, resources=Resources(cpu_milli=cpu))
    return Job(id="urn:cpi:demo:job:1", tenant="t", spec=spec, state=state, attempts=(attempt,))


def test_a_view_carries_names_price_and_what_is_free() -> None:
    alba = island(profile={"purchase": Purchase.SPOT, "operator_country": "US"})
    used = {pool_id(alba.id, "alba"): Capacity(cpu_milli=3_000, memory_bytes=GIB)}
    (seen,) = look(alba, used=used)
    assert seen.pool == "urn:cpi:demo:pool:alba.main"
    assert seen.offer == "urn:cpi:demo:offer:alba.main.spot"
    assert seen.free == Capacity(cpu_milli=5_000, memory_bytes=15 * GIB, disk_bytes=100 * GIB)
    assert seen.capacity.cpu_milli == 8_000
    assert (seen.age_ms, seen.fresh, seen.healthy) == (1_000, True, True)
    assert seen.operator_country == "US"
    assert seen.power_w_per_device == 8.0
    for name in (seen.pool, seen.offer, seen.price.id):
        assert str(Urn.parse(name)) == name


def test_the_sites_country_stands_in_for_an_unstated_operator() -> None:
    assert look(island())[0].operator_country == "NO"


def test_free_is_never_negative_and_disk_is_what_was_last_seen() -> None:
    alba = island(health=Health(disk_free_bytes=7 * GIB))
    used = {pool_id(alba.id, "alba"): Capacity(cpu_milli=9_999_000, disk_bytes=GIB)}
    (seen,) = look(alba, used=used)
    assert seen.free.cpu_milli == 0
    assert seen.free.disk_bytes == 7 * GIB


def test_what_other_peoples_work_holds_is_not_free() -> None:
    whole = look(island())[0]
    (seen,) = look(island(health=Health(occupied=Capacity(cpu_milli=1_500))))
    assert seen.capacity == whole.capacity
    assert seen.free.cpu_milli == whole.free.cpu_milli - 1_500


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({}, True),
        ({"heard_ms": NOW_MS - LEASE_MS}, True),
        ({"heard_ms": NOW_MS - LEASE_MS - 1}, False),
        ({"state": IslandState.SUSPECT}, False),
        ({"state": IslandState.LOST}, False),
        ({"heard_ms": 0}, False),
    ],
)
def test_stale_is_shown_and_marked(changes: dict[str, Any], fresh: bool) -> None:
    one = island(**changes)
    (seen,) = look(one)
    assert seen.fresh is fresh
    assert is_fresh(one, NOW_MS, lease_ms=LEASE_MS) is fresh


def test_what_left_or_never_showed_its_inventory_is_no_offer() -> None:
    assert look(island(state=IslandState.LEFT), island("b", inventory=None)) == ()


@pytest.mark.parametrize("change", [{"cordoned": True}, {"draining": True}])
def test_cordon_and_drain_keep_work_away(change: dict[str, bool]) -> None:
    assert look(island(**change))[0].cordoned


def test_problems_make_a_pool_unhealthy_and_broken_devices_do_not_count() -> None:
    def device(index: int, **changes: Any) -> Device:
        return Device(index=index, vendor="nvidia", model="H100", memory_bytes=80 * GIB, **changes)

    base = island()
    assert base.inventory
    inventory = replace(
        base.inventory,
        devices=(device(0, tdp_w=700.0), device(1, healthy=False)),
        capacity=Capacity(cpu_milli=8_000, accelerators=2),
    )
    (seen,) = look(replace(base, inventory=inventory, health=Health(problems=("disk",))))
    assert not seen.healthy
    assert (seen.capacity.accelerators, seen.free.accelerators) == (1, 1)
    assert seen.power_w_per_device == (700.0 + 300.0) / 2
    assert seen.power_w_per_core == 8.0


def test_a_price_id_follows_the_amount_and_nothing_else() -> None:
    def price(amount: str, **changes: Any) -> Price:
        known = {"name": "alba", "purchase": Purchase.SPOT, "currency": "USD", **changes}
        return price_of("urn:cpi:demo:island:x", amount=Decimal(amount), **known)

    assert price("0.5").id == price("0.50").id
    ids = {
        price("0.5").id,
        price("0.51").id,
        price("0.5", currency="EUR").id,
        price("0.5", purchase=Purchase.ON_DEMAND).id,
        price("0.5", name="brava").id,
    }
    assert len(ids) == 5


def test_speed_is_relative_to_the_median_of_its_class() -> None:
    def with_ncu(name: str, ncu: float) -> Island:
        base = island(name)
        assert base.inventory
        return replace(base, inventory=replace(base.inventory, measured_cpu_ncu=ncu))

    seen = look(with_ncu("a", 0.8), with_ncu("b", 1.6), with_ncu("c", 0.4), with_ncu("d", 0.0))
    assert [pool.speed for pool in seen] == pytest.approx([1.0, 2.0, 0.5, 1.0])


def test_holdings_count_every_node_of_every_lease_and_nothing_else() -> None:
    jobs = [
        job("p", nodes=2, cpu=1_500),
        job("p", state=JobState.STOPPING),
        job("q", state=JobState.DISCONNECTED),
        job("p", state=JobState.QUEUED),
        job("p", state=JobState.FAILED),
    ]
    used = holdings(jobs)
    assert {pool: c.cpu_milli for pool, c in used.items()} == {"p": 4_000, "q": 1_000}


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 8_000), st.integers(0, 4)), max_size=20)
)
def test_keeping_holdings_job_by_job_gives_the_same_sum(raw: list[tuple[int, int, int]]) -> None:
    jobs = []
    for nodes, cpu, devices in raw:
        one = job("p", nodes=nodes, cpu=cpu)
        accelerator = AcceleratorRequest(count=devices) if devices else None
        need = Resources(cpu_milli=cpu, accelerator=accelerator)
        jobs.append(replace(one, spec=replace(one.spec, resources=need)))
    kept = Capacity()
    for one in jobs:
        kept = kept.plus(one.spec.resources, one.spec.num_nodes)
    assert holdings(jobs).get("p", Capacity()) == kept
    for one in jobs[1:]:
        kept = kept.less(one.spec.resources, one.spec.num_nodes)
    assert holdings(jobs[:1]).get("p", Capacity()) == kept


@pytest.mark.parametrize(
    ("changes", "now_ms", "state"),
    [
        ({}, NOW_MS + 2_999, IslandState.LIVE),
        ({}, NOW_MS + 3_000, IslandState.SUSPECT),
        ({}, NOW_MS + 3_499, IslandState.SUSPECT),
        ({}, NOW_MS + 3_500, IslandState.LOST),
        ({"state": IslandState.LEFT}, NOW_MS, IslandState.LEFT),
        ({"state": IslandState.LOST}, NOW_MS, IslandState.LOST),
        ({"heard_ms": 0, "lease_until_ms": 0}, NOW_MS, IslandState.SUSPECT),
    ],
)
def test_time_alone_moves_an_island(
    changes: dict[str, Any], now_ms: int, state: IslandState
) -> None:
    assert state_of(island(**changes), now_ms, skew_ms=500) is state


def test_age_counts_from_joining_when_nothing_was_heard() -> None:
    assert age_ms(island(heard_ms=0), NOW_MS) == DAY_MS
    assert age_ms(island(heard_ms=NOW_MS + 50), NOW_MS) == 0


def test_reliability_is_the_declaration_first_and_the_record_later() -> None:
    def rate(*, losses: int, days: float) -> float:
        one = island(
            profile={"interruptions_per_day": 0.1},
            losses=losses,
            joined_ms=NOW_MS - round(days * DAY_MS),
            heard_ms=NOW_MS,
        )
        return interruptions_per_day(one)

    assert rate(losses=0, days=0) == pytest.approx(0.1)
    assert rate(losses=0, days=63) == pytest.approx(0.01)
    assert rate(losses=63, days=63) == pytest.approx(0.91)
    assert rate(losses=1, days=0) > rate(losses=0, days=0)


@pytest.mark.parametrize(
    ("claim", "word"),
    [
        ({"pue": 0.9}, "pue"),
        ({"pue": float("nan")}, "pue"),
        ({"pue": float("inf")}, "pue"),
        ({"carbon_g_per_kwh": -1.0}, "carbon"),
        ({"price_per_device_h": Decimal("-0.01")}, "price"),
        ({"price_per_device_h": Decimal("NaN")}, "price"),
        ({"price_per_device_h": Decimal("sNaN")}, "price"),
        ({"price_per_device_h": Decimal("1e999999")}, "price"),
        ({"currency": "usd"}, "currency"),
        ({"jurisdiction": "Norway"}, "jurisdiction"),
        ({"operator_country": "no"}, "operator_country"),
        ({"provider": ""}, "provider"),
        ({"interruptions_per_day": -1.0}, "interruptions"),
        ({"latitude_deg": 91.0}, "latitude"),
        ({"longitude_deg": float("nan")}, "longitude"),
    ],
)
def test_impossible_claims_are_named_and_never_offered(claim: dict[str, Any], word: str) -> None:
    known = {"name": "alba", "provider": "alba-owner", "jurisdiction": "NO", **claim}
    profile = Profile(**known)
    (sentence,) = flaws(profile)
    assert word in sentence
    assert look(replace(island(), profile=profile), island("brava"))[0].name == "brava"


def test_a_name_leaves_room_for_identifiers() -> None:
    assert flaws(island("a" * 61).profile)
    longest = island("a" * 60)
    assert not flaws(longest.profile)
    (seen,) = look(longest)
    for name in (seen.pool, seen.offer, seen.price.id):
        assert str(Urn.parse(name)) == name
