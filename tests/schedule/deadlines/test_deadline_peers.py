"""What sets each published policy apart, on jobs small enough to follow by hand."""

from __future__ import annotations

from dataclasses import dataclass

from causeway.schedule.deadlines import POLICIES, Curve, Fleet

CURVE = Curve.measured([(1, 1.0), (2, 1.8), (4, 3.0), (8, 2.5)])
FLEET = Fleet(gpus=8, node_gpus=4, slot_s=60.0)


@dataclass(kw_only=True)
class Job:
    key: int
    left: float = 600.0
    deadline_s: float = 1e6
    submitted_s: float = 0.0
    curve: Curve = CURVE
    asked: int = 2
    asked_rate: float = 1.8
    held: int = 0
    run_s: float = 0.0
    promised: bool = False


def test_edf_takes_the_widest_count_even_if_it_is_slower() -> None:
    said = POLICIES["edf"]()(0.0, [Job(key=0), Job(key=1, deadline_s=10.0)], FLEET)
    assert said.gpus == {1: 8}


def test_tiresias_puts_little_service_first_and_wakes_at_the_next_queue() -> None:
    jobs = [Job(key=0, run_s=9000.0, asked=4), Job(key=1, asked=4), Job(key=2, asked=4)]
    said = POLICIES["tiresias"]()(100.0, jobs, FLEET)
    assert said.gpus == {1: 4, 2: 4}
    assert said.wake_s == 100.0 + 3250.0 / 4


def test_tiresias_lets_who_runs_go_on_within_a_queue() -> None:
    jobs = [Job(key=0, asked=8), Job(key=1, asked=8, held=8)]
    assert POLICIES["tiresias"]()(0.0, jobs, FLEET).gpus == {1: 8}


def test_themis_serves_whom_waiting_has_cost_most() -> None:
    jobs = [Job(key=0, asked=8, left=9000.0), Job(key=1, asked=8, left=90.0)]
    assert POLICIES["themis"]()(1000.0, jobs, FLEET).gpus == {1: 8}


def test_gandiva_runs_a_size_by_turns_on_whole_nodes() -> None:
    policy = POLICIES["gandiva"]()
    jobs = [Job(key=key, asked=4) for key in range(3)]
    assert policy(0.0, jobs, FLEET).gpus == {0: 4, 1: 4}
    later = policy(60.0, [*jobs, Job(key=3, asked=4)], FLEET)
    assert len(later.gpus) == 2
    assert set(later.gpus) != {0, 1}


def test_gandiva_deals_nothing_anew_when_a_job_ends() -> None:
    policy = POLICIES["gandiva"]()
    jobs = [Job(key=key, asked=8) for key in range(2)]
    assert policy(0.0, jobs, FLEET).gpus == {0: 8}
    assert policy(30.0, jobs[1:], FLEET).gpus == {}
    came = [*jobs[1:], Job(key=2, asked=8)]
    assert policy(90.0, came, FLEET).gpus == {1: 8}


def test_elasticflow_takes_a_slot_of_arrivals_together_or_not_at_all() -> None:
    possible, not_possible = Job(key=0, deadline_s=700.0), Job(key=1, deadline_s=10.0)
    policy = POLICIES["elasticflow"]()
    assert policy(0.0, [possible, not_possible], FLEET).declined == {0, 1}
    assert policy(0.0, [possible], FLEET).promised == {0}


def test_elasticflow_gives_spare_gpus_up_to_the_peak_of_the_curve() -> None:
    said = POLICIES["elasticflow"]()(0.0, [Job(key=0, deadline_s=700.0)], FLEET)
    assert said.gpus == {0: 4}


def test_chronus_admits_at_the_asked_size_only() -> None:
    said = POLICIES["chronus"]()(0.0, [Job(key=0, deadline_s=250.0)], FLEET)
    assert said.declined == {0}
    said = POLICIES["chronus"]()(0.0, [Job(key=0, deadline_s=400.0)], FLEET)
    assert said.promised == {0}
    assert set(said.gpus.values()) <= {0, 2}
