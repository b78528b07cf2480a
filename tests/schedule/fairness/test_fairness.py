"""Who runs in a round: what every policy must respect, and what ours trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.fairness import POLICIES, Pool
from causeway.schedule.fairness.balance import balance, blind
from causeway.schedule.fairness.credit import BETWEEN_RESETS_S, Credit
from causeway.schedule.fairness.member import fill, rho
from causeway.schedule.fairness.peers import Allox, gandiva_fair, max_min, ossp

POOL = Pool(gpus=4, round_s=100.0)


@dataclass(kw_only=True)
class One:
    key: int
    gpus: int = 1
    left_s: float = 1000.0
    left_now_s: float = 1000.0
    alone_s: float = 1000.0
    submitted_s: float = 0.0
    ran_s: float = 0.0


def some(*lefts: float, gpus: Sequence[int] = ()) -> list[One]:
    return [
        One(key=key, left_s=left, left_now_s=left, alone_s=left, gpus=gpus[key] if gpus else 1)
        for key, left in enumerate(lefts)
    ]


def test_a_round_passes_over_who_does_not_fit() -> None:
    assert fill(some(1, 1, 1, gpus=[3, 2, 1]), POOL) == [0, 2]


def test_rho_is_one_for_an_equal_part() -> None:
    one = One(key=0, left_s=500.0, alone_s=1000.0, submitted_s=0.0)
    assert rho(one, 1500.0, 2.0) == pytest.approx(1.0)


def test_the_shortest_go_first_while_the_longest_may_wait() -> None:
    jobs = some(100, 200, 300, 400, 900, 900)
    # 2,800 GPU-seconds over 4 GPUs are 700 s: the two longest are on the last path.
    assert balance(0.0, jobs, POOL) == [4, 5, 0, 1]
    more = some(*[500] * 12, 900)
    assert balance(0.0, more, POOL) == [0, 1, 2, 3]


def test_without_a_plan_the_present_speed_counts() -> None:
    jobs = some(100, 100, 100, 100, 100)
    for job in jobs[:4]:
        job.left_now_s = 200.0
    assert blind(0.0, jobs, Pool(gpus=1, round_s=10.0)) == [4]


def test_max_min_gives_equal_gpu_time_and_no_more_than_can_be_used() -> None:
    shares = max_min(0.0, some(1, 1, 1, gpus=[1, 4, 4]), POOL)
    assert shares == {0: 1.0, 1: 0.375, 2: 0.375}


def test_gandiva_fair_gives_equal_time() -> None:
    assert gandiva_fair(0.0, some(1, 1, gpus=[4, 4]), POOL) == {0: 0.5, 1: 0.5}


def test_ossp_lets_all_end_together() -> None:
    shares = ossp(0.0, some(100, 300, gpus=[4, 4]), POOL)
    assert shares == {0: pytest.approx(0.25), 1: pytest.approx(0.75)}


def test_allox_keeps_a_device_for_who_has_it() -> None:
    policy, pool = Allox(), Pool(gpus=1, round_s=100.0)
    assert policy(0.0, some(900), pool) == {0: 1.0}
    assert policy(0.0, some(900, 10), pool) == {0: 1.0, 1: 0.0}


def test_credit_goes_to_whoever_is_behind() -> None:
    credit = Credit(max_min)
    jobs, pool = some(1000, 1000), Pool(gpus=1, round_s=100.0)
    order = []
    for now in range(4):
        (key,) = credit(now * 100.0, jobs, pool)
        jobs[key].ran_s += 100.0
        order.append(key)
    assert sorted(order[:2]) == sorted(order[2:]) == [0, 1]


def test_who_comes_between_two_computations_runs_where_room_is_left() -> None:
    credit, pool = Credit(max_min), Pool(gpus=2, round_s=100.0)
    jobs = some(1000, 1000)
    credit(100.0, jobs, pool)
    late = [*jobs, One(key=2)]
    assert credit(200.0, late, pool) == [0, 1]
    assert 2 in credit(100.0 + BETWEEN_RESETS_S, late, pool)


MEMBERS = st.lists(
    st.builds(
        One,
        key=st.just(0),
        gpus=st.integers(1, 4),
        left_s=st.floats(1.0, 1e5),
        left_now_s=st.floats(1.0, 1e5),
        alone_s=st.floats(1.0, 1e5),
        ran_s=st.floats(0.0, 1e5),
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=40, deadline=None)
@given(members=MEMBERS, name=st.sampled_from(sorted(POLICIES)))
def test_a_round_is_full_or_everybody_runs(members: list[One], name: str) -> None:
    for key, member in enumerate(members):
        member.key = key
    chosen = POLICIES[name]()(1e5, members, POOL)
    held = sum(members[key].gpus for key in chosen)
    assert len(set(chosen)) == len(chosen)
    assert held <= POOL.gpus
    for member in members:
        assert member.key in chosen or member.gpus > POOL.gpus - held
