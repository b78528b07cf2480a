"""Rentals at the centre: placed where they can be handed over, metered and charged for their term
and not a millisecond more, taken back in time, and wiped on the record."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from harness import Centre, Island, balances, ticks

from causeway.control import submit
from causeway.model.errors import Conflict, InvalidInput, NotFound, QuotaExceeded, Refused
from causeway.model.islands import OwnerPolicy
from causeway.model.jobs import Job, JobState, OnDisconnect, Product, Rental
from causeway.model.parties import AccessRole
from causeway.model.protocol import AttemptReport, StartCommand, Wiped

TERM_MS = 60_000
RENTAL = Rental(product=Product.SHELL, term_s=TERM_MS / 1000, key="ssh-ed25519 AAAA")
MICROS_PER_MS = 1
PRICE = Decimal("3.6")
"""One micro-unit for each millisecond of a device."""


def lets(centre: Centre, *rents: str, name: str = "alba", **profile: Any) -> Island:
    """Join an island that hands products over."""
    island = centre.island(name, price_per_device_h=PRICE, **profile)
    island.inventory = replace(island.inventory, rents=rents)
    island.sync()
    return island


def rents(centre: Centre) -> str:
    return centre.one(rental=RENTAL, on_disconnect=OnDisconnect.MOVE)


def handed_over(centre: Centre) -> tuple[Island, StartCommand]:
    island = lets(centre, "shell")
    rents(centre)
    start = island.taken()
    island.sync(AttemptReport(job=start.job, fence=start.fence, phase="starting"))
    centre.clock.ms += 2_000
    island.running(start)
    return island, start


def stay(centre: Centre, island: Island, ms: int, report: AttemptReport) -> None:
    """Let time pass with the island's lease renewed."""
    end_ms = centre.clock.ms + ms
    while centre.clock.ms < end_ms:
        centre.after(min(1_000, end_ms - centre.clock.ms))
        island.sync(report)


def extended(centre: Centre, job: str, term_s: float, **caller: Any) -> Job:
    who = centre.caller(**caller)
    return centre.run(lambda tx: submit.extend(tx, who, job, term_s))


def charged(centre: Centre) -> int:
    return balances(centre).get(("receivable:acme", "USD"), 0)


def test_it_is_placed_where_it_can_be_handed_over(centre: Centre) -> None:
    lets(centre, "slurm")
    job = rents(centre)
    centre.after(5_000)
    waiting = centre.plane.state.job(job)
    assert waiting is not None
    assert waiting.state is JobState.QUEUED
    assert "alba hands over slurm; it asks for shell." in waiting.reasons[0].message
    island = lets(centre, "slurm", "shell", name="boreal")
    assert island.taken().job == job


def test_the_hand_over_is_told_with_what_it_took(centre: Centre) -> None:
    _, start = handed_over(centre)
    kinds = centre.kinds(start.job)
    assert kinds[-2:] == ["job.running", "rental.handed_over"]
    said = [e.data for e in centre.store.events(subject=start.job)][-1]
    assert (said["product"], said["prepared_ms"]) == ("shell", 2_000)


def test_it_is_taken_back_when_its_term_is_over(centre: Centre) -> None:
    island, start = handed_over(centre)
    report = AttemptReport(job=start.job, fence=start.fence, phase="running")
    stay(centre, island, TERM_MS - 1_000, report)
    assert centre.job(start.job).state is JobState.RUNNING
    stay(centre, island, 2_000, report)
    assert centre.job(start.job).state is JobState.STOPPING
    (stop,) = island.sync(report).stop
    assert stop.job == start.job
    # The stop took a while to arrive; that while is on no bill.
    island.end(start, "stopped", ticks=ticks(start, (0, 30_000), (30_000, TERM_MS + 1_234)))
    ended = centre.job(start.job)
    assert ended.state is JobState.CANCELLED
    assert ended.attempts[-1].usage.device_ms == TERM_MS
    assert charged(centre) == TERM_MS * MICROS_PER_MS
    assert not centre.plane.state.rentals


def test_what_an_early_return_costs_is_what_was_used(centre: Centre) -> None:
    island, start = handed_over(centre)
    centre.cancel(start.job)
    centre.clock.ms += 10_000
    island.end(start, "stopped", ticks=ticks(start, (0, 7_001)))
    assert charged(centre) == 7_001 * MICROS_PER_MS


def test_a_rental_that_was_never_ready_costs_nothing(centre: Centre) -> None:
    island = lets(centre, "shell")
    job = rents(centre)
    start = island.taken()
    centre.clock.ms += 30_000
    island.end(start, "failed", exit_code=1, message="it could not be made ready")
    assert centre.job(job).state is JobState.FAILED
    assert charged(centre) == 0


def test_a_lost_island_costs_no_second_term(centre: Centre) -> None:
    first, start = handed_over(centre)
    centre.clock.ms += 500
    first.running(start, ticks=ticks(start, (0, 2_500)))
    # Silent for longer than lease and skew; what was told until then is charged.
    centre.after(centre.settings.lease_ms + centre.settings.skew_ms + 1_000)
    lost = centre.job(start.job)
    assert lost.state is JobState.QUEUED
    second = lets(centre, "shell", name="boreal")
    centre.after(2_000)
    (again,) = second.sync().start
    second.running(again)
    report = AttemptReport(job=again.job, fence=again.fence, phase="running")
    stay(centre, second, TERM_MS - 2_500, report)
    stay(centre, second, 1_000, report)
    assert centre.job(start.job).state is JobState.STOPPING
    second.end(again, "stopped", ticks=ticks(again, (0, TERM_MS)))
    used = [attempt.usage.device_ms for attempt in centre.job(start.job).attempts]
    assert used == [2_500, TERM_MS - 2_500]
    assert charged(centre) == TERM_MS * MICROS_PER_MS


def test_the_end_waits_for_the_wipe_and_says_what_it_removed(centre: Centre) -> None:
    island, start = handed_over(centre)
    centre.cancel(start.job)
    left = Wiped(files=1, bytes=2, processes=0, left=("process 7 still runs",))
    island.running(start, wiped=left)
    told = centre.job(start.job)
    assert told.state is JobState.STOPPING
    assert told.attempts[-1].message == "its room is not wiped yet: process 7 still runs"
    assert "rental.wiped" not in centre.kinds(start.job)
    island.end(start, "stopped", wiped=Wiped(files=4, bytes=40, processes=1))
    (said,) = [e for e in centre.store.events(subject=start.job) if e.kind == "rental.wiped"]
    assert said.data["island"] == island.id
    assert (said.data["files"], said.data["bytes"], said.data["processes"]) == (4, 40, 1)
    assert centre.job(start.job).state is JobState.CANCELLED


def test_a_longer_term_is_given_once_however_often_it_is_asked_for(centre: Centre) -> None:
    island, start = handed_over(centre)
    for _ in range(2):
        assert extended(centre, start.job, 90).spec.rental == replace(RENTAL, term_s=90)
    assert centre.kinds(start.job).count("rental.extended") == 1
    centre.restart()
    island.open()
    report = AttemptReport(job=start.job, fence=start.fence, phase="running")
    stay(centre, island, 80_000, report)
    assert centre.job(start.job).state is JobState.RUNNING
    stay(centre, island, 12_000, report)
    assert centre.job(start.job).state is JobState.STOPPING
    with pytest.raises(Conflict, match="returned already"):
        extended(centre, start.job, 900)


def test_a_term_that_may_not_be_given_is_refused(centre: Centre) -> None:
    island = lets(centre, "shell", policy=OwnerPolicy(max_run_s=100))
    job = centre.one(rental=RENTAL, expected_run_s=RENTAL.term_s, on_disconnect=OnDisconnect.MOVE)
    assert island.taken().job == job
    with pytest.raises(Refused, match="at most 100 s"):
        extended(centre, job, 101)
    with pytest.raises(Conflict, match="not shortened"):
        extended(centre, job, 10)
    with pytest.raises(Refused, match="viewer"):
        extended(centre, job, 90, role=AccessRole.VIEWER)
    with pytest.raises(NotFound):
        extended(centre, job, 90, tenant="other")
    with pytest.raises(InvalidInput, match="not a rental"):
        extended(centre, centre.one(), 90)
    tenant = centre.plane.state.tenants["acme"]
    centre.plane.state.tenants["acme"] = replace(tenant, budget_micros=1, spent_micros=1)
    with pytest.raises(QuotaExceeded):
        extended(centre, job, 90)
