"""When a job would start: the same scheduler, run forward."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from causeway.model.errors import NotFound
from causeway.model.fleet import PoolView, RunningJob, Snapshot, WaitingJob
from causeway.model.jobs import JobSpec
from causeway.model.money import Price
from causeway.model.resources import Capacity, Resources
from causeway.twin.forecast import forecast
from causeway.twin.forecasting import Forecaster

NOW_MS = 1_700_000_000_000
GIB = 1024**3
ONE_CORE = Resources(cpu_milli=1000, memory_bytes=GIB)


def spec(name: str, run_s: float = 600.0) -> JobSpec:
    return JobSpec(name=name, run="true", resources=ONE_CORE, expected_run_s=run_s)


def picture(*, free_milli: int, running_end_ms: int = 0) -> Snapshot:
    pool = PoolView(
        offer="urn:cpi:t:offer:a",
        pool="urn:cpi:t:pool:a",
        island="urn:cpi:t:island:a",
        provider="p",
        name="a",
        jurisdiction="IT",
        operator_country="IT",
        capacity=Capacity(cpu_milli=1000, memory_bytes=8 * GIB),
        free=Capacity(cpu_milli=free_milli, memory_bytes=8 * GIB),
        price=Price(id="urn:cpi:t:price:a", amount_per_device_h=Decimal("0.05")),
    )
    running = RunningJob(
        id="urn:cpi:t:job:run",
        tenant="t",
        spec=spec("run"),
        fence=1,
        pool=pool.pool,
        started_ms=NOW_MS - 60_000,
        expected_end_ms=running_end_ms,
    )
    waiting = WaitingJob(
        id="urn:cpi:t:job:next",
        tenant="t",
        spec=spec("next"),
        queued_ms=NOW_MS,
        submitted_ms=NOW_MS,
    )
    return Snapshot(
        now_ms=NOW_MS,
        pools=(pool,),
        waiting=(waiting,),
        running=(running,) if running_end_ms else (),
    )


def test_a_free_pool_starts_it_now() -> None:
    found = forecast(picture(free_milli=1000), "urn:cpi:t:job:next", seed=1)
    assert found.start_ms_p50 == found.start_ms_p90 == NOW_MS
    assert found.end_ms_p90 >= found.end_ms_p50 > NOW_MS
    assert found.started_share == 1.0


def test_a_full_pool_starts_it_when_the_running_job_ends() -> None:
    full = picture(free_milli=0, running_end_ms=NOW_MS + 600_000)
    found = forecast(full, "urn:cpi:t:job:next", seed=1)
    assert NOW_MS + 300_000 < found.start_ms_p50 <= found.start_ms_p90 < NOW_MS + 2_000_000
    assert "estimate" in found.headline


def test_a_job_of_higher_priority_starts_now_and_what_gave_way_after_it() -> None:
    full = picture(free_milli=0, running_end_ms=NOW_MS + 600_000)
    urgent = replace(full.waiting[0], spec=replace(spec("next"), priority=5))
    asked = replace(full.waiting[0], id="urn:cpi:t:job:later", submitted_ms=NOW_MS + 1)
    both = replace(full, waiting=(urgent, asked))
    assert forecast(both, urgent.id, seed=1).start_ms_p50 == NOW_MS
    # Behind the urgent job, and behind the one that gave way, which is older.
    assert forecast(both, asked.id, seed=1).start_ms_p50 > NOW_MS + 900_000


def test_the_same_seed_gives_the_same_forecast() -> None:
    full = picture(free_milli=0, running_end_ms=NOW_MS + 600_000)
    job = "urn:cpi:t:job:next"
    assert forecast(full, job, seed=7) == forecast(full, job, seed=7)


def test_what_can_never_start_is_said_so() -> None:
    base = picture(free_milli=1000)
    huge = replace(base.waiting[0], spec=replace(spec("next"), num_nodes=50))
    found = forecast(replace(base, waiting=(huge,)), huge.id, seed=1)
    assert found.started_share == 0.0
    assert found.start_ms_p50 == 0


def test_a_job_that_does_not_wait_has_no_forecast() -> None:
    with pytest.raises(NotFound):
        forecast(picture(free_milli=1000), "urn:cpi:t:job:other", seed=1)


@pytest.mark.engines
def test_a_process_of_its_own_gives_the_same_answer() -> None:
    full = picture(free_milli=0, running_end_ms=NOW_MS + 600_000)
    job = "urn:cpi:t:job:next"
    asked = asyncio.run(Forecaster()(full, job))
    assert asked == forecast(full, job, seed=full.now_ms)
    with pytest.raises(NotFound):
        asyncio.run(Forecaster()(full, "urn:cpi:t:job:other"))
