"""Shockwave's jobs on their real traces: two published rows within 10%, and ours on the front."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from causeway.twin.kinds import kind_of
from causeway.twin.scenario import Scenario, read

HERE = Path(__file__).parents[2] / "experiments"
AXES = ("makespan_s", "jct_s_mean", "rho_worst")

Metrics = Mapping[str, float]


def figures(name: str, data: Path) -> tuple[Scenario, dict[str, Metrics]]:
    scenario = read(HERE / f"{name}.toml")
    kind, options = kind_of(scenario)
    return scenario, {
        policy: kind.run(options, policy, 0, data, lambda share: None).metrics
        for policy in scenario.policies
    }


def dominates(one: Metrics, other: Metrics) -> bool:
    return all(one[axis] <= other[axis] for axis in AXES) and any(
        one[axis] < other[axis] for axis in AXES
    )


@pytest.mark.data
def test_the_two_published_rows_come_back_in_their_order(data: Path) -> None:
    scenario, ours = figures("shockwave-120", data)
    for policy in ("max-min", "allox"):
        for metric, published in scenario.published[policy].items():
            assert ours[policy][metric] == pytest.approx(published, rel=0.1), (policy, metric)
    for metric in (*AXES, "unfair_share"):
        said = scenario.published["max-min"][metric] - scenario.published["allox"][metric]
        ran = ours["max-min"][metric] - ours["allox"][metric]
        assert said * ran > 0, metric
    for metric in ("makespan_s", "jct_s_mean"):
        published = scenario.published["shockwave"][metric]
        assert ours["shockwave"][metric] == pytest.approx(published, rel=0.1), metric
    assert dominates(ours["causeway"], ours["shockwave"])
    assert dominates(ours["causeway"], scenario.published["shockwave"])
    assert dominates(ours["causeway-blind"], scenario.published["shockwave"])


@pytest.mark.data
@pytest.mark.parametrize("name", ["shockwave-120", "shockwave-220", "shockwave-900"])
def test_ours_is_on_the_front(name: str, data: Path) -> None:
    _, ran = figures(name, data)
    best = ran["causeway"]
    assert not [policy for policy, metrics in ran.items() if dominates(metrics, best)]
    assert best["unfair_share"] == 0.0
