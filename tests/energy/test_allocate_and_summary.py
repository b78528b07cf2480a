"""Jobs + island = meter, to the millijoule."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.energy import Claim, allocate, convert, residual, summary
from causeway.energy import allocate as _allocate_function
from causeway.model.errors import InvalidInput
from causeway.model.usage import EnergyQuality, Usage

CLAIMS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 10**6)), max_size=6)


def test_the_examples_in_the_docs_are_true() -> None:
    import sys

    for module in (convert, sys.modules[_allocate_function.__module__]):
        result = doctest.testmod(module)
        assert result.attempted
        assert not result.failed


@given(st.integers(0, 10**12), st.integers(0, 10**12), CLAIMS, st.integers(0, 8))
def test_energy_is_conserved(
    meter_mj: int, idle_mj: int, raw: list[tuple[int, int]], spare: int
) -> None:
    claims = [Claim(job=f"j{i}", leased=r, active=a) for i, (r, a) in enumerate(raw)]
    capacity = sum(c.leased for c in claims) + spare
    made = allocate(meter_mj, idle_mj=idle_mj, claims=claims, capacity=capacity)
    assert sum(made.jobs_mj.values()) + made.island_mj == meter_mj
    assert min([made.island_mj, *made.jobs_mj.values()]) >= 0
    assert set(made.jobs_mj) == {c.job for c in claims}


def test_idle_follows_the_lease_and_activity_follows_work() -> None:
    made = allocate(
        1_000,
        idle_mj=400,
        claims=[Claim(job="a", leased=1, active=3), Claim(job="b", leased=1, active=1)],
        capacity=4,
    )
    assert made.jobs_mj == {"a": 100 + 450, "b": 100 + 150}
    assert made.island_mj == 200


def test_without_activity_the_lease_decides() -> None:
    made = allocate(
        90,
        idle_mj=0,
        claims=[Claim(job="a", leased=2, active=0), Claim(job="b", leased=1, active=0)],
    )
    assert made.jobs_mj == {"a": 60, "b": 30}


def test_an_idle_figure_above_the_meter_is_cut_and_shown() -> None:
    made = allocate(50, idle_mj=80, claims=[Claim(job="a", leased=1, active=1)])
    assert made.jobs_mj == {"a": 50}
    assert made.idle_cut_mj == 30


def test_an_unleased_device_is_the_islands() -> None:
    assert allocate(50, idle_mj=50, claims=[]).island_mj == 50


def test_impossible_claims_are_refused() -> None:
    claim = Claim(job="a", leased=2, active=0)
    with pytest.raises(InvalidInput, match="has 1"):
        allocate(50, idle_mj=0, claims=[claim], capacity=1)
    with pytest.raises(InvalidInput, match="twice"):
        allocate(50, idle_mj=0, claims=[claim, claim])
    with pytest.raises(InvalidInput, match="negative"):
        allocate(-1, idle_mj=0, claims=[claim])


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**9), max_size=5))
def test_residual_and_excess_explain_the_difference(node: int, parts: list[int]) -> None:
    rest, excess = residual(node, parts)
    assert node + excess == sum(parts) + rest
    assert not (rest and excess)


def test_a_summary_has_units_and_its_worst_quality() -> None:
    made = summary(
        [
            Usage(
                ticks=1,
                device_ms=3_600_000,
                energy_it_mj=3_600_000_000,
                energy_facility_mj=4_500_000_000,
                carbon_mg=125_000,
                energy_quality=EnergyQuality.COUNTER,
            ),
            Usage(),  # placed, never ran: must not spoil the quality
        ]
    )
    assert (made.device_h, made.energy_it_kwh, made.energy_facility_kwh) == (1.0, 1.0, 1.25)
    assert (made.carbon_g, made.power_w_per_device) == (125.0, 1000.0)
    assert made.quality is EnergyQuality.COUNTER
    assert not made.estimated
    assert summary([Usage()]).quality is None
    assert summary([Usage(ticks=1, energy_quality=EnergyQuality.MODEL)]).estimated
