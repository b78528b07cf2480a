"""The packing scenarios on the real openb traces: what docs/packing.md claims, held."""

from __future__ import annotations

import dataclasses
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


def published(policy: str, seed: int) -> float:
    """Return the allocation that the authors publish for a seed, in percent."""
    table = pl.read_parquet(Path(os.environ["CAUSEWAY_DATA"]) / PUBLISHED)
    row = table.filter((pl.col("sc_policy") == THEIR_NAMES[policy]) & (pl.col("seed") == seed))
    return float(row["130"][0])


@pytest.mark.parametrize("policy", THEIR_NAMES)
def test_published_runs_come_out_to_the_last_digit(policy: str) -> None:
    scenario = read(EXPERIMENTS / "openb-default.toml")
    for seed in scenario.seeds[:2]:
        ours = 100 * allocation(scenario, policy, seed)
        assert ours == pytest.approx(published(policy, seed), abs=0.011)


def test_random_is_within_a_point_of_the_published_mean() -> None:
    scenario = read(EXPERIMENTS / "openb-default.toml")
    ours = np.mean([allocation(scenario, "random", seed) for seed in scenario.seeds[:5]])
    assert ours == pytest.approx(scenario.published["random"]["allocation_share"], abs=0.01)


@pytest.mark.parametrize("policy", ["causeway", "causeway-learnt"])
def test_ours_is_half_a_point_above_published_fgd(policy: str) -> None:
    scenario = read(EXPERIMENTS / "openb-default.toml")
    for seed in scenario.seeds[:2]:
        assert 100 * allocation(scenario, policy, seed) > published("fgd", seed) + 0.5


@pytest.mark.parametrize("name", ["cpu300", "gpushare40", "multigpu40"])
def test_ours_is_above_fgd_on_other_lists(name: str) -> None:
    scenario = read(EXPERIMENTS / "openb-variants.toml")
    options = {**scenario.options, "pods": scenario.options["pods"][name]}
    one = dataclasses.replace(scenario, options=options)
    seed = scenario.seeds[0]
    assert allocation(one, "causeway", seed) > allocation(one, "fgd", seed) + 0.003
