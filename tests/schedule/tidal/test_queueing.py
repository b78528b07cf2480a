"""The closed form against the same queue, replayed request by request."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from causeway.schedule.tidal.queueing import (
    Replica,
    capacity,
    delay_share,
    joint_ca2,
    late_share,
    needed,
)

PROMPTS = np.quantile(
    np.random.default_rng(1).lognormal(6.5, 0.8, 4000), np.linspace(0.005, 0.995, 100)
)
CHAT = Replica(prefill_s=PROMPTS / 8000, decode_s=6.0, slots=128, ttft_s=1.0)
LONG = Replica(prefill_s=PROMPTS / 20_000, decode_s=60.0, slots=64, ttft_s=1.0)


def replay(replica: Replica, replicas: int, rate_per_s: float, ca2: float, count: int) -> float:
    """Return the share of late first tokens of a shared queue, first come first served."""
    chance = np.random.default_rng(7)
    gaps_s = chance.gamma(1 / ca2, ca2 / rate_per_s, count)
    prefill_s = chance.choice(replica.prefill_s, count).tolist()
    decode_s = chance.exponential(replica.decode_s, count).tolist()
    slots = [0.0] * (replicas * replica.slots)
    prefills = [0.0] * replicas
    late, warm = 0, count // 5
    for number, at_s in enumerate(np.cumsum(gaps_s).tolist()):
        slot_s = max(at_s, slots[0])
        first_s = max(slot_s, prefills[0]) + prefill_s[number]
        heapq.heapreplace(prefills, first_s)
        heapq.heapreplace(slots, first_s + decode_s[number])
        late += number >= warm and first_s - at_s > replica.ttft_s
    return late / (count - warm)


@pytest.mark.parametrize(
    ("replica", "replicas", "ca2"),
    [(CHAT, 4, 1.0), (CHAT, 12, 4.0), (CHAT, 12, 16.0), (LONG, 6, 1.0), (LONG, 16, 8.0)],
)
def test_the_closed_form_is_within_a_tenth_or_one_replica_of_the_replayed_queue(
    replica: Replica, replicas: int, ca2: float
) -> None:
    rate = float(capacity(replica, replicas, np.array([ca2]))[replicas, 0])
    count = 40_000
    assert replay(replica, replicas, rate, ca2, count) <= replica.miss_share
    # Far fewer would not do: the closed form errs on the safe side, but not by much.
    fewer = replicas - max(2, round(0.2 * replicas))
    assert replay(replica, fewer, rate, ca2, count) > replica.miss_share


def test_erlang_c_by_hand() -> None:
    # One server waits as often as it is busy; two at one erlang a third of the time.
    assert delay_share(1, np.array([0.3]))[0] == pytest.approx(0.3)
    assert delay_share(2, np.array([1.0, 1e-15])) == pytest.approx([1 / 3, 0.0])


def test_a_saturated_queue_is_late_for_all() -> None:
    rate = np.array([4 / CHAT.prefill_s.mean() * 1.01])
    assert late_share(CHAT, 4, rate, np.ones(1))[0] == 1.0


def test_more_replicas_carry_more_and_burstier_arrivals_less() -> None:
    table = capacity(CHAT, 12, np.array([1.0, 4.0, 16.0]))
    assert (np.diff(table, axis=0) >= 0).all()
    assert (np.diff(table[2:], axis=1) <= 0).all()


def test_a_prompt_too_long_for_the_class_has_no_capacity() -> None:
    slow = Replica(prefill_s=PROMPTS / 200, decode_s=6.0, slots=64, ttft_s=1.0)
    assert capacity(slow, 3, np.ones(1)).max() == 0.0


def test_clients_together_are_between_their_own_variation_and_poisson() -> None:
    alone = joint_ca2(np.array([[5.0, 0.0]]), np.array([[9.0, 0.0]]))
    many = joint_ca2(np.ones((1, 500)), np.full((1, 500), 9.0))
    assert alone[0] == pytest.approx(9.0)
    assert 1.0 < many[0] < 2.0
    assert joint_ca2(np.zeros((1, 2)), np.zeros((1, 2)))[0] == 1.0


def test_what_is_needed_rounds_variation_up_and_says_when_the_table_ends() -> None:
    grid = np.array([1.0, 4.0])
    table = np.array([[0.0, 0.0], [10.0, 5.0], [20.0, 12.0]])
    rates, ca2 = np.array([0.0, 6.0, 6.0, 21.0]), np.array([1.0, 1.0, 2.0, 1.0])
    assert needed(table, grid, rates, ca2).tolist() == [0, 1, 2, 3]
