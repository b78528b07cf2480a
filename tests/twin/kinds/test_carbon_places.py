"""The kind `carbon_places` on three invented zones."""

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
kind = "carbon_places"
policies = ["stay"]
[options]
series = "s.parquet"
length_h = 2
window_h = 24
{more}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hour = np.arange(480)
    night = np.where(hour % 24 < 12, 0.0, 100.0)
    pl.DataFrame({"A": 300.0 + night, "B": 200.0 - night, "C": np.full(480, 120.0)}).write_parquet(
        tmp_path / "s.parquet"
    )
    (tmp_path / "ms.csv").write_text("origin,A,B,X\nA,5,80,9\nB,80,5,9\nX,1,1,1\n")
    return tmp_path


def replay(folder: Path, policy: str, more: str = "") -> Outcome:
    kind, options = kind_of(parse(SCENARIO.format(more=more), name="t"))
    outcome: Outcome = kind.run(options, policy, 0, folder, lambda share: None)
    return outcome


def test_once_is_the_greenest_on_average_and_hourly_the_greenest_now(folder: Path) -> None:
    assert replay(folder, "stay").metrics["g_per_kwh"] == pytest.approx((350 + 150 + 120) / 3)
    assert replay(folder, "clairvoyant_once").metrics["g_per_kwh"] == pytest.approx(120.0)
    hourly = replay(folder, "clairvoyant_hourly").metrics
    assert hourly["g_per_kwh"] == pytest.approx((120 + 100) / 2)
    assert hourly["bound_share"] == pytest.approx(1.0)


def test_ours_goes_by_what_it_has_seen(folder: Path) -> None:
    ours = replay(folder, "causeway")
    assert 0.8 < ours.metrics["bound_share"] < 1.0
    assert ours.accounting.submitted == 3 * 479


@pytest.mark.parametrize(("limit", "expected"), [(10, (350 + 150) / 2), (90, 150.0)])
def test_only_places_within_reach_count(folder: Path, limit: float, expected: float) -> None:
    more = f'latency = "ms.csv"\nlatency_ms = {limit}'
    outcome = replay(folder, "clairvoyant_once", more)
    assert outcome.metrics["g_per_kwh"] == pytest.approx(expected)
    assert outcome.tables["zones"]["zone"].tolist() == ["A", "B"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('latency = "none.csv"', "cannot be read"),
        ('latency = "other.csv"', "none of the series"),
        ('zones = ["Z"]', "no zone Z"),
    ],
)
def test_what_cannot_be_used_is_said(folder: Path, more: str, said: str) -> None:
    (folder / "other.csv").write_text("origin,X\nX,1\n")
    with pytest.raises(InvalidInput, match=said):
        replay(folder, "stay", more)
