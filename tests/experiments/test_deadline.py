"""ElasticFlow's deadlines on its real traces: its figures within 0.1, and ours above it."""

from __future__ import annotations

from pathlib import Path

import pytest

from causeway.twin.kinds import kind_of
from causeway.twin.scenario import read

HERE = Path(__file__).parents[2] / "experiments"
TOLERANCE = 0.1 + 0.0005
"""0.1, and what the published figures were rounded by."""


def shares(name: str, data: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the deadline share of each policy, and the share of promises that it kept."""
    scenario = read(HERE / f"{name}.toml")
    kind, options = kind_of(scenario)
    ran = {
        policy: kind.run(options, policy, 0, data, lambda share: None).metrics
        for policy in scenario.policies
    }
    return (
        {policy: metrics["deadline_share"] for policy, metrics in ran.items()},
        {policy: metrics.get("promise_kept_share", 0.0) for policy, metrics in ran.items()},
    )


@pytest.mark.data
@pytest.mark.parametrize("name", ["elasticflow-cluster01", "elasticflow-cluster10"])
def test_the_published_shares_come_back_and_ours_is_above(name: str, data: Path) -> None:
    published = {
        policy: figures["deadline_share"]
        for policy, figures in read(HERE / f"{name}.toml").published.items()
    }
    met, kept = shares(name, data)
    for policy in ("edf", "gandiva", "tiresias", "elasticflow"):
        assert met[policy] == pytest.approx(published[policy], abs=TOLERANCE), policy
    four = ("edf", "gandiva", "tiresias", "elasticflow")
    assert sorted(four, key=met.__getitem__) == sorted(four, key=published.__getitem__)
    assert met["causeway"] >= met["elasticflow"]
    assert kept["causeway"] == 1.0


@pytest.mark.data
@pytest.mark.parametrize("name", ["elasticflow-cluster06", "elasticflow-t4"])
def test_ours_is_above_where_gpus_are_short(name: str, data: Path) -> None:
    met, kept = shares(name, data)
    assert met["causeway"] > met["elasticflow"] + 0.03
    assert kept["causeway"] == 1.0
