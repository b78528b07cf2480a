"""The picture holds every queued and running job once, with what the scheduler needs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from causeway.model.fleet import PoolView
from causeway.model.jobs import (
    Attempt,
    AttemptState,
    Checkpoint,
    Job,
    JobKind,
    JobSpec,
    JobState,
)
from causeway.model.money import Price, Purchase
from causeway.model.parties import Tenant
from causeway.model.resources import Capacity
from causeway.perceive import snapshot
from causeway.perceive.picture import UNKNOWN_WAIT_S

NOW_MS = 1_000_000
PRICE = Price(id="p", amount_per_device_h=Decimal(1))


def attempt(fence: int = 1, **changes: Any) -> Attempt:
    known: dict[str, Any] = {"island": "a", "pool": "pool-a", **changes}
    return Attempt(
        job="j",
        fence=fence,
        offer="o",
        price=PRICE,
        purchase=Purchase.SPOT,
        pue_milli=1_000,
        carbon_mg_per_kwh=0,
        **known,
    )


def job(name: str, *, spec: dict[str, Any] | None = None, **changes: Any) -> Job:
    return Job(
        id=name, tenant="acme", spec=JobSpec(name=name, run="true", **(spec or {})), **changes
    )


def pool(name: str, *, free: int) -> PoolView:
    return PoolView(
        offer=f"offer-{name}",
        pool=f"pool-{name}",
        island=name,
        provider="x",
        name=name,
        jurisdiction="NO",
        operator_country="NO",
        capacity=Capacity(cpu_milli=4_000),
        free=Capacity(cpu_milli=free),
        price=PRICE,
    )


def take(*, queued: list[Job] | None = None, held: list[Job] | None = None, **changes: Any) -> Any:
    known: dict[str, Any] = {"pools": (), "tenants": {}, "now_ms": NOW_MS, **changes}
    return snapshot(queued=queued or [], held=held or [], **known)


def test_the_queue_is_in_order_and_holds_only_what_can_be_placed() -> None:
    seen = take(
        queued=[
            job("b", submitted_ms=5),
            job("a", submitted_ms=5),
            job("first", submitted_ms=1),
            job("group", spec={"kind": JobKind.GROUP}),
            job("gone", state=JobState.CANCELLED),
        ]
    )
    assert [w.id for w in seen.waiting] == ["first", "a", "b"]


def test_a_waiting_job_brings_its_history_checkpoint_and_budget() -> None:
    waiting = job(
        "j",
        attempts=(
            attempt(1, state=AttemptState.LOST),
            attempt(2, state=AttemptState.FAILED),
            attempt(3, state=AttemptState.STOPPED, island="b"),
        ),
        checkpoint=Checkpoint(artifact="c", step=5, at_ms=9, bytes=77, fence=2, island="a"),
        not_before_ms=3,
    )
    tenant = Tenant(name="acme", budget_micros=100, spent_micros=30, quota_devices=4, weight=2.0)
    seen = take(queued=[waiting], tenants={"acme": tenant})
    (one,) = seen.waiting
    assert one.failed_islands == {"a": 2}
    assert (one.checkpoint_bytes, one.not_before_ms) == (77, 3)
    assert one.tenant_budget_left_micros == 70
    assert (seen.tenants["acme"].weight, seen.tenants["acme"].quota_devices) == (2.0, 4)
    assert take(queued=[waiting]).waiting[0].tenant_budget_left_micros is None


def test_a_running_job_says_when_it_should_end() -> None:
    def seen(spec: dict[str, Any], **changes: Any) -> Any:
        running = job("j", spec=spec, state=JobState.RUNNING, attempts=(attempt(**changes),))
        return take(held=[running]).running[0]

    assert seen({"expected_run_s": 10.0}, started_ms=500).expected_end_ms == 10_500
    both = {"expected_run_s": 10.0, "time_limit_s": 4.0}
    assert seen(both, started_ms=500).expected_end_ms == 4_500
    assert seen({"expected_run_s": 1.0}, leased_ms=70).expected_end_ms == 1_070
    assert seen({}, started_ms=500).expected_end_ms == 0


def test_every_lease_holder_is_running_and_stopping_is_said() -> None:
    held = [
        job("a", state=JobState.PLACED, attempts=(attempt(),)),
        job("b", state=JobState.STOPPING, attempts=(attempt(),)),
        job("c", state=JobState.SUCCEEDED, attempts=(attempt(),)),
    ]
    assert [(r.id, r.stopping) for r in take(held=held).running] == [("a", False), ("b", True)]


def test_a_full_pool_says_how_long_it_keeps_one_waiting() -> None:
    def holder(name: str, run_s: float) -> Job:
        one = job(name, spec={"expected_run_s": run_s}, state=JobState.RUNNING)
        return replace(one, attempts=(attempt(started_ms=NOW_MS),))

    seen = take(
        pools=(pool("a", free=0), pool("b", free=500), pool("c", free=4_000)),
        held=[holder("x", 30), holder("y", 20)],
    )
    assert [p.queue_wait_s for p in seen.pools] == [20.0, UNKNOWN_WAIT_S, 0.0]


def test_an_overdue_job_does_not_make_the_wait_negative() -> None:
    late = job("x", spec={"expected_run_s": 1.0}, state=JobState.RUNNING)
    late = replace(late, attempts=(attempt(started_ms=NOW_MS - 60_000),))
    assert take(pools=(pool("a", free=0),), held=[late]).pools[0].queue_wait_s == 0.0


def test_room_is_promised_only_while_its_pool_can_take_work() -> None:
    queued = job("j", promised="pool-a")
    for changes, promised in (
        ({}, "pool-a"),
        ({"fresh": False}, ""),
        ({"healthy": False}, ""),
        ({"cordoned": True}, ""),
    ):
        pools = (replace(pool("a", free=0), **changes),)
        (seen,) = snapshot(pools=pools, queued=[queued], held=[], tenants={}, now_ms=NOW_MS).waiting
        assert seen.promised == promised
