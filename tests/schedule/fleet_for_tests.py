"""Small pictures of a fleet for the tests of this room."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from causeway.model.fleet import PoolView, RunningJob, Snapshot, WaitingJob
from causeway.model.islands import Device
from causeway.model.jobs import JobSpec
from causeway.model.money import Price
from causeway.model.resources import AcceleratorRequest, Capacity, Resources

NOW_MS = 1_800_000_000_000
GIB = 2**30


def always(text: str, pool: PoolView) -> bool:
    return True


def capacity(cores: int, accelerators: int = 0) -> Capacity:
    return Capacity(
        cpu_milli=cores * 1000,
        memory_bytes=cores * 4 * GIB,
        disk_bytes=100 * GIB,
        accelerators=accelerators,
    )


def pool(name: str, cores: int = 8, **changes: Any) -> PoolView:
    usd = changes.pop("usd", "0.05")
    currency = changes.pop("currency", "USD")
    accelerators = changes.pop("accelerators", 0)
    view = PoolView(
        offer=f"urn:cpi:test:offer:{name}",
        pool=f"urn:cpi:test:pool:{name}",
        island=f"urn:cpi:test:island:{name}",
        provider="urn:cpi:test:party:p",
        name=name,
        jurisdiction="DE",
        operator_country="DE",
        capacity=capacity(cores, accelerators),
        free=capacity(cores, accelerators),
        price=Price(id="urn:cpi:test:price:p", amount_per_device_h=Decimal(usd), currency=currency),
    )
    return replace(view, **changes)


def gpus(
    model: str, count: int, *, memory_gib: int = 80, healthy: bool = True
) -> tuple[Device, ...]:
    return tuple(
        Device(
            index=i, vendor="nvidia", model=model, memory_bytes=memory_gib * GIB, healthy=healthy
        )
        for i in range(count)
    )


def spec(cores: int = 1, *, gpu: AcceleratorRequest | None = None, **changes: Any) -> JobSpec:
    need = Resources(cpu_milli=cores * 1000, memory_bytes=cores * GIB, accelerator=gpu)
    return JobSpec(**{"name": "job", "run": "true", "resources": need, **changes})


def waiting(name: str, cores: int = 1, **changes: Any) -> WaitingJob:
    fields = {
        key: changes.pop(key)
        for key in (
            "tenant",
            "submitted_ms",
            "not_before_ms",
            "failed_islands",
            "staging",
            "checkpoint_bytes",
            "tenant_budget_left_micros",
            "group",
            "at_once",
        )
        if key in changes
    }
    return WaitingJob(
        **{
            "id": name,
            "tenant": "acme",
            "spec": spec(cores, **changes),
            "queued_ms": NOW_MS,
            "submitted_ms": NOW_MS,
            **fields,
        }
    )


def running(name: str, on: str, cores: int = 1, **changes: Any) -> RunningJob:
    fields = {
        key: changes.pop(key)
        for key in (
            "tenant",
            "started_ms",
            "expected_end_ms",
            "checkpoint_ms",
            "stopping",
            "group",
            "at_once",
        )
        if key in changes
    }
    return RunningJob(
        **{
            "id": name,
            "tenant": "acme",
            "spec": spec(cores, **changes),
            "fence": 1,
            "pool": f"urn:cpi:test:pool:{on}",
            "started_ms": NOW_MS - 1000,
            **fields,
        }
    )


def snapshot(*pools: PoolView, jobs: tuple[WaitingJob, ...] = (), **changes: Any) -> Snapshot:
    """Return a picture in which running work has been taken from what the pools have free."""
    attempts: tuple[RunningJob, ...] = changes.get("running", ())
    views = []
    for view in pools:
        free = view.free
        for attempt in attempts:
            if attempt.pool == view.pool:
                assert free.fits(attempt.spec.resources, attempt.spec.num_nodes)
                free = free.less(attempt.spec.resources, attempt.spec.num_nodes)
        views.append(replace(view, free=free))
    return Snapshot(now_ms=NOW_MS, pools=tuple(views), waiting=jobs, **changes)
