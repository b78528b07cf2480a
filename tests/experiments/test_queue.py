"""The queue scenarios on Philly and ITP: what is claimed of ours, on every cluster there is."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from causeway.twin.kinds import kind_of
from causeway.twin.outcome import Outcome
from causeway.twin.scenario import Scenario, read

pytestmark = pytest.mark.data

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def _go(scenario: Scenario, policy: str, seed: int) -> Outcome:
    kind, options = kind_of(scenario)
    folder = Path(os.environ["CAUSEWAY_DATA"])
    return kind.run(options, policy, seed, folder, lambda share: None)


def test_on_philly_nothing_is_lost_and_ours_is_ahead_of_what_knows_as_little() -> None:
    scenario = read(EXPERIMENTS / "philly-less.toml")
    found = {policy: _go(scenario, policy, 0) for policy in ("fifo", "las", "causeway")}
    for outcome in found.values():
        assert outcome.accounting.submitted == 82_247
        assert (outcome.accounting.finished, outcome.accounting.rejected) == (82_229, 18)
    jct_s = {policy: outcome.metrics["jct_s_mean"] for policy, outcome in found.items()}
    assert jct_s["causeway"] < 0.9 * jct_s["las"] < 0.9 * jct_s["fifo"]


def test_ours_is_ahead_over_clusters_that_it_was_never_told_of() -> None:
    scenario = read(EXPERIMENTS / "itp-clusters.toml")
    ratios = []
    for seed in scenario.seeds:
        las, ours = (_go(scenario, p, seed).metrics["jct_s_mean"] for p in ("las", "causeway"))
        ratios.append(ours / las)
    assert math.exp(sum(map(math.log, ratios)) / len(ratios)) < 0.75
    assert sum(ratio < 1.0 for ratio in ratios) >= 6
    assert max(ratios) < 1.05, "where it is behind, it is hardly behind"
