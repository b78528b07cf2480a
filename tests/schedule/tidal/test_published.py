"""What others do, on needs that fit on one line."""

from __future__ import annotations

import numpy as np
import pytest

from causeway.schedule.tidal import published

NEED = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 90])


def test_partitions() -> None:
    assert published.fixed(NEED, share=1.0).tolist() == [90] * 10
    assert published.fixed(NEED, share=0.9).tolist() == [9] * 10
    assert published.mean(NEED)[0] == 14


def test_a_clock_finds_its_hours() -> None:
    hours = np.arange(72) % 24
    need = np.where((hours >= 9) & (hours < 17), 10, 2)
    assert published.clock(need, day_steps=24, share=1.0).tolist() == need.tolist()


def test_reacting_comes_down_after_five_minutes_only() -> None:
    need = np.array([5, 10, 10, 2, 2, 2, 2, 2, 2, 2])
    held = published.reacting(need, target_share=1.0, step_s=60)
    assert held.tolist() == [5, 5, 10, 10, 10, 10, 10, 10, 2, 2]


@pytest.mark.parametrize("share", [0.9, 0.99])
def test_the_best_headroom_is_enough(share: float) -> None:
    need = (20 + 10 * np.sin(np.arange(600) / 40)).astype(np.int64)
    held = published.reacting_best(need, share=share, step_s=60)
    assert (held[:-1] >= need[1:]).mean() > share - 0.02
    assert held.mean() < published.fixed(need, share=share).mean()


def test_who_knows_the_future_is_ready_for_it() -> None:
    found = published.clairvoyant(np.array([1, 1, 1, 9, 1, 1]), ahead_steps=2)
    assert found.tolist() == [1, 9, 9, 9, 1, 1]
