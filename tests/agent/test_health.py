"""The live figures of an island: where each comes from, and how old it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from causeway.agent.health import Gauges
from causeway.ports.artifacts import Moved


class Hand:
    """A monotonic clock that is set by hand."""

    ms = 1_000

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def gauges(tmp_path: Path, hand: Hand) -> Gauges:
    return Gauges(tmp_path, hand)


def test_an_echo_is_two_transfers_besides_the_round_trip(gauges: Gauges) -> None:
    gauges.exchanged(100.0)
    gauges.echoed(500_000, 0.9)
    assert gauges.read().bandwidth_mbit_s == pytest.approx(2 * 4.0 / 0.8)


def test_a_round_trip_of_a_busier_moment_is_not_taken_off(gauges: Gauges) -> None:
    gauges.exchanged(100.0)
    gauges.echoed(500_000, 0.05)
    assert gauges.read().bandwidth_mbit_s == pytest.approx(2 * 4.0 / 0.05)


def test_the_bandwidth_is_due_until_measured_and_again_after_a_while(
    gauges: Gauges, hand: Hand
) -> None:
    assert gauges.bandwidth_is_due(10_000)
    gauges.moved(Moved(artifact="x", bytes=2 * 1024**2, moved_bytes=2 * 1024**2, seconds=1.0))
    assert not gauges.bandwidth_is_due(10_000)
    hand.ms += 10_000
    assert gauges.bandwidth_is_due(10_000)
    assert gauges.read().bandwidth_age_ms == 10_000
