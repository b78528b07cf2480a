"""Experiment 5 on the real traces: no missed deadline, at most half of greedy's gap."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from causeway.twin.kinds import kind_of
from causeway.twin.outcome import Outcome
from causeway.twin.scenario import read

SCENARIO = Path(__file__).parents[2] / "experiments" / "spot-aws.toml"


def replay(data: Path, policy: str, seed: int = 0) -> Outcome:
    """Replay the paper's changeover with fewer submissions than the scenario has."""
    kind, options = kind_of(read(SCENARIO))
    fewer = msgspec.structs.replace(options, starts=16, changeover_h=(0.2,))
    outcome: Outcome = kind.run(fewer, policy, seed, data, lambda share: None)
    return outcome


@pytest.mark.data
def test_ours_is_never_late_and_halves_greedys_gap(data: Path) -> None:
    ours = replay(data, "causeway")
    assert ours.metrics["deadline_share"] == 1.0
    assert ours.metrics["gap_to_greedy_share"] < 0.5
    published = replay(data, "uniform_progress")
    assert published.metrics["deadline_share"] == 1.0
    assert ours.metrics["gap_share"] < 0.7 * published.metrics["gap_share"]


@pytest.mark.data
def test_uniform_progress_closes_greedys_gap_as_published(data: Path) -> None:
    """By about 2x where its paper measured it: 0.2 h, work / deadline of 0.6 and more."""
    cells = replay(data, "uniform_progress").tables["cells"]
    mid = (cells["slack_share"] >= 0.1) & (cells["slack_share"] <= 0.5)
    assert 0.4 < float(cells["gap_to_greedy_share"][mid].mean()) < 0.75
