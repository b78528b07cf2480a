"""Work that gives way for fairness alone, where an operator wants that."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

from fleet_for_tests import NOW_MS, always, pool, running, snapshot, waiting

from causeway.model.fleet import Plan, Snapshot, TenantShare
from causeway.model.jobs import JobKind
from causeway.schedule import plan

HOGS = tuple(
    running(f"r{i}", "p", 2, tenant="hog", started_ms=NOW_MS - 1000 * (100 - i)) for i in range(4)
)


def picture(*jobs: Any, on: tuple[Any, ...] = HOGS, **changes: Any) -> Snapshot:
    view = snapshot(pool("p", cores=8), jobs=jobs, running=on, **changes)
    return replace(view, protected_share=1.0)


def decide(view: Snapshot) -> Plan:
    return plan(view, matches=always)


def late(name: str, cores: int = 2, **changes: Any) -> Any:
    return waiting(name, cores, **{"tenant": "late", **changes})


def test_nothing_is_stopped_for_fairness_unless_an_operator_wants_it() -> None:
    view = replace(picture(late("a")), protected_share=0.0)
    assert decide(view).preempts == ()


def test_who_holds_everything_gives_way_down_to_its_share() -> None:
    found = decide(picture(*(late(f"w{i}") for i in range(4))))
    assert sorted(stop.job for stop in found.preempts) == ["r2", "r3"]
    """What began last loses least."""
    assert sorted(stop.for_job for stop in found.preempts) == ["w0", "w1"]
    message = found.preempts[0].reasons[0].message
    assert "fair share is 50%" in message


def test_what_is_stopping_already_is_room_and_nobody_is_stopped_twice_for_one_job() -> None:
    leaving = tuple(replace(run, stopping=run.id in ("r2", "r3")) for run in HOGS)
    assert decide(picture(late("a"), late("b"), late("c"), on=leaving)).preempts == ()


def test_services_fresh_attempts_and_tenants_with_quotas_are_left_alone() -> None:
    services = tuple(running(f"r{i}", "p", 2, tenant="hog", kind=JobKind.SERVICE) for i in range(4))
    assert decide(picture(late("a"), on=services)).preempts == ()
    fresh = tuple(replace(run, leased_ms=NOW_MS - 100) for run in HOGS)
    assert decide(picture(late("a"), on=fresh)).preempts == ()
    owned = {"hog": TenantShare(tenant="hog", quota_devices=8)}
    assert decide(picture(late("a"), tenants=owned)).preempts == ()


def test_a_gang_gets_its_room_whole_or_stops_nobody() -> None:
    found = decide(picture(late("gang", 1, num_nodes=4)))
    assert len(found.preempts) == 2
    assert decide(picture(late("gang", 3, num_nodes=4))).preempts == ()


def test_weights_count() -> None:
    heavy = {"late": TenantShare(tenant="late", weight=3.0)}
    jobs = tuple(late(f"w{i}") for i in range(4))
    assert len(decide(picture(*jobs, tenants=heavy)).preempts) == 3


def test_a_control_plane_that_wants_no_such_fairness_does_without_numpy() -> None:
    asked = "import sys, causeway.control.plane; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
