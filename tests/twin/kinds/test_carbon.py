"""The kind `carbon` on invented zones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from causeway.model.errors import InvalidInput
from causeway.twin.kinds import kind_of
from causeway.twin.outcome import Outcome
from causeway.twin.scenario import parse

SCENARIO = """
title = "t"
kind = "carbon"
policies = ["{policy}"]
[options]
series = "now.parquet"
learn_from = "before.parquet"
lengths_h = [1, 5]
slack_h = 12
folds = 2
{more}
"""


def write(folder: Path, name: str, seed: int, hours: int = 900) -> dict[str, list[float]]:
    draw, hour = np.random.default_rng(seed), np.arange(hours)
    zones = {
        f"z{i}": list(300 + 50 * np.cos(hour / 24 * 2 * np.pi + i) + draw.normal(0, 9, hours))
        for i in range(4)
    }
    pl.DataFrame({"timestamp": hour, **zones}).write_parquet(folder / name)
    return zones


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "now.parquet", 1)
    write(tmp_path, "before.parquet", 2)
    return tmp_path


def replay(folder: Path, policy: str, more: str = "") -> Outcome:
    kind, options = kind_of(parse(SCENARIO.format(policy=policy, more=more), name="t"))
    outcome: Outcome = kind.run(options, policy, 1, folder, lambda share: None)
    return outcome


@pytest.mark.parametrize("pieces", ["false", "true"])
@pytest.mark.parametrize(
    "policy", ["run_at_arrival", "threshold", "lowest_window", "causeway", "clairvoyant"]
)
def test_saved_shares_lie_between_arrival_and_the_bound(
    folder: Path, policy: str, pieces: str
) -> None:
    outcome = replay(folder, policy, f"interruptible = {pieces}")
    assert outcome.accounting.submitted == outcome.accounting.finished == 4 * (899 + 895)
    assert outcome.metrics["deadline_share"] == 1.0
    expected = {"run_at_arrival": 0.0, "clairvoyant": 1.0}
    if policy in expected:
        assert outcome.metrics["bound_share"] == pytest.approx(expected[policy])
    else:
        assert 0.3 < outcome.metrics["bound_share"] < 1.0
    assert replay(folder, policy, f"interruptible = {pieces}").metrics == outcome.metrics


def test_only_the_named_zones_are_replayed(folder: Path) -> None:
    outcome = replay(folder, "causeway", 'zones = ["z2"]')
    assert set(outcome.tables["cells"]["zone"]) == {"z2"}


@pytest.mark.parametrize(
    ("more", "said"),
    [('zones = ["nowhere"]', "has no zone nowhere"), ("power_kw = 1\nslack_h = -1", "slack")],
)
def test_impossible_options_are_refused(folder: Path, more: str, said: str) -> None:
    text = SCENARIO.format(policy="causeway", more=more)
    if "slack_h = -1" in more:
        text = text.replace("slack_h = 12\n", "")
    kind, options = kind_of(parse(text, name="t"))
    with pytest.raises(InvalidInput, match=said):
        kind.run(options, "causeway", 1, folder, lambda share: None)


def test_a_missing_file_and_a_hole_are_said(folder: Path) -> None:
    zones = write(folder, "now.parquet", 1)
    holed: list[float | None] = [*zones["z1"]]
    holed[7] = None
    pl.DataFrame({"timestamp": range(900), "z1": holed}).write_parquet(folder / "now.parquet")
    with pytest.raises(InvalidInput, match="no value for z1 in row 8"):
        replay(folder, "threshold")
    (folder / "now.parquet").unlink()
    with pytest.raises(InvalidInput) as missing:
        replay(folder, "threshold")
    assert "CAUSEWAY_DATA" in str(missing.value.hint)
