"""What a person is told before a job starts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from causeway.model.fleet import PoolView
from causeway.model.jobs import CheckpointPolicy, JobSpec
from causeway.model.money import Price
from causeway.model.resources import Capacity, Resources
from causeway.price import quote


def pool(**changes: float) -> PoolView:
    return PoolView(
        offer="urn:cpi:demo:offer:alba.main.spot",
        pool="urn:cpi:demo:pool:alba.main",
        island="urn:cpi:demo:island:alba",
        provider="alba",
        name="alba",
        jurisdiction="NO",
        operator_country="NO",
        capacity=Capacity(cpu_milli=4000),
        free=Capacity(cpu_milli=4000),
        price=Price(id="p", amount_per_device_h=Decimal("0.10")),
        pue=1.25,
        carbon_g_per_kwh=100.0,
        power_w_per_device=8.0,
        **{"interruptions_per_day": 0.0, **changes},
    )


def spec(**changes: float) -> JobSpec:
    return JobSpec(
        name="train",
        run="true",
        num_nodes=2,
        resources=Resources(cpu_milli=1500),
        **changes,  # type: ignore[arg-type]
    )


def test_an_estimate_becomes_a_range_around_it() -> None:
    made = quote(spec(expected_run_s=3600), pool())
    assert made.devices == 4
    assert made.low
    assert made.likely
    assert made.high
    assert [s.cost_micros for s in (made.low, made.likely, made.high)] == [
        200_000,
        400_000,
        800_000,
    ]
    assert made.likely.energy_kwh == pytest.approx(4 * 8 / 1000 * 1.25)
    assert made.likely.carbon_g == pytest.approx(4.0)
    assert made.per_h.cost_micros == 400_000


def test_the_time_limit_bounds_the_dear_end() -> None:
    made = quote(spec(expected_run_s=3600, time_limit_s=4000), pool())
    assert made.high
    assert made.high.run_s == 4000
    only_limit = quote(spec(time_limit_s=1800), pool())
    assert only_limit.likely is None
    assert only_limit.high
    assert only_limit.high.cost_micros == 200_000


def test_without_estimate_or_limit_only_the_rate_is_said() -> None:
    made = quote(spec(), pool())
    assert (made.low, made.likely, made.high) == (None, None, None)
    assert made.per_h.cost_micros == 400_000
    assert "neither" in made.basis


def test_interruptions_make_the_dear_end_dearer_and_checkpoints_help() -> None:
    calm = quote(spec(expected_run_s=36_000), pool()).high
    plain = quote(spec(expected_run_s=36_000), pool(interruptions_per_day=2.0)).high
    saving = JobSpec(
        name="train",
        run="true",
        num_nodes=2,
        resources=Resources(cpu_milli=1500),
        expected_run_s=36_000,
        checkpoint=CheckpointPolicy(interval_s=60),
    )
    saved = quote(saving, pool(interruptions_per_day=2.0)).high
    assert calm
    assert plain
    assert saved
    assert calm.cost_micros < saved.cost_micros < plain.cost_micros


def test_a_faster_offer_runs_shorter() -> None:
    slow = quote(spec(expected_run_s=3600), pool(speed=1.0)).likely
    fast = quote(spec(expected_run_s=3600), pool(speed=2.0)).likely
    assert slow
    assert fast
    assert fast.run_s * 2 == slow.run_s
