"""Data that lies somewhere: who waits for room there, for how long, and who makes way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fleet_for_tests import NOW_MS, always, pool, running, snapshot, waiting

from causeway.model.fleet import PoolView, Staging, WaitingJob
from causeway.model.jobs import Objective
from causeway.model.reasons import Token
from causeway.schedule import plan

HOUR_MS = 3_600_000
HOME, AWAY = pool("home"), pool("away")


def data_job(name: str, usd: float, *, waited_h: float = 0.0, **changes: object) -> WaitingJob:
    """Return a job whose data lies at home; to move it away is billed `usd`."""
    job = waiting(name, staging={AWAY.island: Staging(seconds=0.0, usd=usd)}, **changes)
    queued_ms = NOW_MS - round(waited_h * HOUR_MS)
    return replace(job, queued_ms=queued_ms, submitted_ms=queued_ms)


def full() -> PoolView:
    return replace(HOME, free=replace(HOME.free, cpu_milli=0))


def test_it_waits_at_home_for_as_long_as_moving_would_cost_more() -> None:
    decided = plan(snapshot(full(), AWAY, jobs=(data_job("j", 3.0, waited_h=2.9),)), matches=always)
    assert not decided.places
    (why,) = decided.waits[0].reasons
    assert why.token is Token.DATA_GRAVITY
    assert why.message.startswith("It waits for room on home for at most 3 h: to run on away")
    assert why.evidence["more_usd"] == pytest.approx(3.0)
    decided = plan(snapshot(full(), AWAY, jobs=(data_job("j", 3.0, waited_h=3.1),)), matches=always)
    assert [place.pool for place in decided.places] == [AWAY.pool]


def test_room_at_home_is_taken_at_once() -> None:
    decided = plan(snapshot(HOME, AWAY, jobs=(data_job("j", 3.0),)), matches=always)
    assert [place.pool for place in decided.places] == [HOME.pool]


def test_work_without_data_never_holds_out() -> None:
    dear = replace(
        AWAY, price=replace(AWAY.price, amount_per_device_h=AWAY.price.amount_per_device_h * 9)
    )
    decided = plan(snapshot(full(), dear, jobs=(waiting("j"),)), matches=always)
    assert [place.pool for place in decided.places] == [AWAY.pool]


def test_what_moves_cheaply_makes_way_for_those_who_hold_out() -> None:
    # Seven of eight cores are held; four jobs of two cores wait for home, and cannot move.
    held = running("r", "home", cores=7)
    stay = tuple(data_job(f"stay{i}", 99.0, cores=2) for i in range(4))
    light = data_job("light", 0.05, cores=1)
    alone = plan(snapshot(HOME, AWAY, running=(held,), jobs=(light,)), matches=always)
    assert [place.pool for place in alone.places] == [HOME.pool]
    crowded = plan(snapshot(HOME, AWAY, running=(held,), jobs=(*stay, light)), matches=always)
    assert [(place.job, place.pool) for place in crowded.places] == [("light", AWAY.pool)]
    rows = {row.name: row.terms_usd for row in crowded.places[0].candidates}
    # An hour on one of eight cores puts four jobs off by an eighth of it, at a dollar an hour.
    assert rows["home"]["crowding"] == pytest.approx(4 / 8)


def test_who_gives_waiting_no_price_stays_at_home() -> None:
    patient = Objective(usd_per_h_waited=0.0)
    job = data_job("j", 0.01, waited_h=1000.0, objective=patient)
    decided = plan(snapshot(full(), AWAY, jobs=(job,)), matches=always)
    assert [wait.reasons[0].token for wait in decided.waits] == [Token.DATA_GRAVITY]
