"""The packing scenarios on the real openb traces: what docs/packing.md claims, held."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from causeway.twin.kinds import kind_of
from causeway.twin.scenario import Scenario, read

pytestmark = pytest.mark.data

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
PUBLISHED = "openb_fgd_results/analysis_allo_discrete__default_only.parquet"
THEIR_NAMES = {
    "dotprod": "02-DotProd",
    "clustering": "03-GpuClustering",
    "packing": "04-GpuPacking",
    "bestfit": "05-BestFit",
    "fgd": "06-FGD",
}


def allocation(scenario: Scenario, policy: str, seed: int) -> float:
    """Run one policy on one seed."""
    kind, options = kind_of(scenario)
    folder = Path(os.environ["CAUSEWAY_DATA"])
    return kind.run(options, policy, seed, folder, lambda share: None).metrics["allocation_share"]


@pytest.mark.parametrize("policy", THEIR_NAMES)
def test_published_runs_come_out_to_the_last_digit(policy: str) -> None:
    scenario = read(EXPERIMENTS / "openb-default.toml")
    table = pl.read_parquet(Path(os.environ["CAUSEWAY_DATA"]) / PUBLISHED)
    for seed in scenario.seeds[:3]:
        row = table.filter((pl.col("sc_policy") == THEIR_NAMES[policy]) & (pl.col("seed") == seed))
        ours = 100 * allocation(scenario, policy, seed)
        assert ours == pytest.approx(row["130"][0], abs=0.011)


def test_random_is_within_a_point_of_the_published_mean() -> None:
    scenario = read(EXPERIMENTS / "openb-default.toml")
    ours = np.mean([allocation(scenario, "random", seed) for seed in scenario.seeds])
    assert ours == pytest.approx(scenario.published["random"]["allocation_share"], abs=0.01)


def test_ours_is_above_fgd_on_every_seed_tried() -> None:
    scenario = read(EXPERIMENTS / "openb-default.toml")
    for seed in scenario.seeds[:3]:
        assert allocation(scenario, "causeway", seed) > allocation(scenario, "fgd", seed) + 0.003
