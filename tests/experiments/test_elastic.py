"""The Pollux workloads: published means are met again, and ours lie below them."""

from __future__ import annotations

from pathlib import Path

import pytest

from causeway.twin.kinds import kind_of
from causeway.twin.scenario import Scenario, read

SCENARIO = Path(__file__).parents[2] / "experiments" / "pollux-1.0.toml"


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return read(SCENARIO)


def jct_s(scenario: Scenario, policy: str, data: Path, *seeds: int) -> float:
    kind, options = kind_of(scenario)
    found = [kind.run(options, policy, seed, data, lambda share: None) for seed in seeds]
    return sum(outcome.metrics["jct_s_mean"] for outcome in found) / len(found)


@pytest.mark.data
@pytest.mark.parametrize("policy", ["tiresias", "optimus"])
def test_the_published_mean_is_met_within_two_percent(
    scenario: Scenario, policy: str, data: Path
) -> None:
    published = scenario.published[policy]["jct_s_mean"]
    assert jct_s(scenario, policy, data, *scenario.seeds) == pytest.approx(published, rel=0.02)


@pytest.mark.data
def test_pollux_is_met_on_the_workload_of_its_testbed(scenario: Scenario, data: Path) -> None:
    assert jct_s(scenario, "pollux", data, 6) == pytest.approx(2446.1, rel=0.05)


@pytest.mark.data
def test_ours_is_a_tenth_below_published_pollux(scenario: Scenario, data: Path) -> None:
    published = scenario.published["pollux"]["jct_s_mean"]
    assert jct_s(scenario, "causeway", data, *scenario.seeds) < 0.9 * published


@pytest.mark.data
def test_ours_is_below_published_pollux_without_a_word_on_lengths(
    scenario: Scenario, data: Path
) -> None:
    assert jct_s(scenario, "causeway-untold", data, 6) < 2446.1
