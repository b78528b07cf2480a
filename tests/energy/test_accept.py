"""Usage counts once, in order, inside physical bounds, whatever is delivered how often."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.energy import accept, carbon_mg, facility_mj, step_over
from causeway.model.errors import InvalidInput
from causeway.model.usage import EnergyQuality, Usage, UsageTick

JOB = "urn:cpi:demo:job:1"
GOOD = UsageTick(
    job=JOB,
    fence=1,
    seq=0,
    start_ms=0,
    end_ms=1_000,
    devices=2,
    cpu_ms=1_500,
    energy_mj=16_000,
    energy_quality=EnergyQuality.COUNTER,
)


def fold(usage: Usage, tick: UsageTick, *, pue_milli: int = 1_333) -> Usage:
    return accept(usage, tick, devices_leased=2, pue_milli=pue_milli, carbon_mg_per_kwh=123_457)


@st.composite
def streams(draw: st.DrawFn) -> list[UsageTick]:
    ticks, at_ms = [], 0
    for seq in range(draw(st.integers(1, 12))):
        end_ms = at_ms + draw(st.integers(0, 60_000))
        ticks.append(
            UsageTick(
                job=JOB,
                fence=1,
                seq=seq,
                start_ms=at_ms,
                end_ms=end_ms,
                devices=2,
                cpu_ms=draw(st.integers(0, 1_000)),
                energy_mj=draw(st.integers(0, 2_000 * 2 * 1_000)),
                energy_quality=draw(st.sampled_from(EnergyQuality)),
            )
        )
        at_ms = end_ms
    return ticks


@given(streams(), st.integers(1_000, 10_000))
def test_converting_totals_never_drifts(ticks: list[UsageTick], pue_milli: int) -> None:
    usage = Usage()
    for tick in ticks:
        usage = fold(usage, tick, pue_milli=pue_milli)
    it_mj = sum(tick.energy_mj for tick in ticks)
    assert usage.energy_it_mj == it_mj
    assert usage.energy_facility_mj == facility_mj(it_mj, pue_milli)
    assert usage.carbon_mg == carbon_mg(usage.energy_facility_mj, 123_457)
    assert usage.device_ms == 2 * ticks[-1].end_ms
    assert usage.energy_billable_mj <= usage.energy_facility_mj
    assert usage.energy_quality == max((t.energy_quality for t in ticks), key=str)


@given(streams(), st.randoms(use_true_random=False))
def test_doubled_and_reordered_delivery_changes_nothing(
    ticks: list[UsageTick], chance: random.Random
) -> None:
    in_order = Usage()
    for tick in ticks:
        in_order = fold(in_order, tick)
    usage, refused = Usage(), 0
    for _ in ticks:  # each wave is a shuffled, doubled redelivery of everything
        wave = [*ticks, *ticks]
        chance.shuffle(wave)
        for tick in wave:
            try:
                usage = fold(usage, tick)
            except InvalidInput:
                refused += 1
    assert usage == in_order
    assert refused == 2 * len(ticks) * len(ticks) - len(ticks)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"seq": 1}, "tick.seq"),
        ({"seq": -1}, "tick.seq"),
        ({"start_ms": 5}, "tick.start_ms"),
        ({"start_ms": -5}, "tick.start_ms"),
        ({"end_ms": -1}, "tick.end_ms"),
        ({"devices": 3}, "tick.devices"),
        ({"devices": 0}, "tick.devices"),
        ({"energy_mj": -1}, "tick"),
        ({"cpu_ms": -1}, "tick"),
        ({"energy_mj": 2_000 * 2 * 2_000 + 1}, "tick.energy_mj"),
        ({"cpu_ms": 10**9}, "tick.cpu_ms"),
    ],
)
def test_what_cannot_be_true_is_refused_by_name(change: dict[str, int], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        fold(Usage(), replace(GOOD, **change))  # type: ignore[arg-type]
    assert caught.value.where == where


def test_only_meters_and_counters_are_billable() -> None:
    first = fold(Usage(), GOOD, pue_milli=1_000)
    modelled = replace(
        GOOD, seq=1, start_ms=1_000, end_ms=2_000, energy_quality=EnergyQuality.MODEL
    )
    both = fold(first, modelled, pue_milli=1_000)
    assert (first.energy_billable_mj, both.energy_billable_mj) == (16_000, 16_000)
    assert both.energy_facility_mj == 32_000
    assert both.energy_quality is EnergyQuality.MODEL


def test_the_first_tick_sets_the_quality() -> None:
    assert Usage().energy_quality is EnergyQuality.MODEL
    assert fold(Usage(), GOOD).energy_quality is EnergyQuality.COUNTER


@pytest.mark.parametrize("pue_milli", [999, 0, -1, 10_001])
def test_a_pue_that_cannot_be_is_refused(pue_milli: int) -> None:
    with pytest.raises(InvalidInput):
        fold(Usage(), GOOD, pue_milli=pue_milli)


def test_one_bad_reading_costs_its_own_interval_and_no_more() -> None:
    ticks = [replace(GOOD, seq=n, start_ms=n * 1_000, end_ms=n * 1_000 + 1_000) for n in range(4)]
    ticks[1] = replace(ticks[1], energy_mj=10**12)
    usage = Usage()
    for tick in ticks:
        try:
            usage = fold(usage, tick)
        except InvalidInput:
            usage = step_over(usage, tick)
    assert (usage.ticks, usage.until_ms) == (4, 4_000)
    assert usage.device_ms == 3 * 2 * 1_000
    assert usage.energy_it_mj == 3 * GOOD.energy_mj


def test_stepping_over_never_goes_back_and_never_skips() -> None:
    usage = fold(Usage(), GOOD)
    assert step_over(usage, replace(GOOD, seq=1, start_ms=0, end_ms=500)).until_ms == 1_000
    for seq in (0, 2):
        with pytest.raises(InvalidInput):
            step_over(usage, replace(GOOD, seq=seq))
