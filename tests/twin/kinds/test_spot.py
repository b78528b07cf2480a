"""The kind `spot` on invented traces: what is counted adds up, and odd traces are refused."""

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
kind = "spot"
policies = ["{policy}"]
[options]
campaigns = ["a"]
traces = "t.parquet"
tick_s = 600
work_h = {work_h}
slack_shares = [0.2, 1.0]
changeover_h = [0.3]
starts = 3
"""


def write(
    folder: Path, data: dict[str, list[int | None]], gap_s: int = 300, nodes: int = 1
) -> None:
    pl.DataFrame(
        {
            "campaign": ["a"] * len(data),
            "zone": list(data),
            "nodes": [nodes] * len(data),
            "gap_seconds": [gap_s] * len(data),
            "data": list(data.values()),
        },
        schema_overrides={"data": pl.List(pl.Int64)},
    ).write_parquet(folder / "t.parquet")


def traces() -> dict[str, list[int | None]]:
    draw = np.random.default_rng(3)
    spells = [np.repeat(draw.random(60) < share, 10) for share in (0.3, 0.7)]
    return {f"z{i}": [int(x) for x in spell] for i, spell in enumerate(spells)}


def replay(folder: Path, policy: str, seed: int = 1, work_h: float = 10.0) -> Outcome:
    scenario = parse(SCENARIO.format(policy=policy, work_h=work_h), name="t")
    kind, options = kind_of(scenario)
    told: list[float] = []
    outcome: Outcome = kind.run(options, policy, seed, folder, told.append)
    assert told[-1] == 1.0
    return outcome


@pytest.mark.parametrize(
    "policy",
    [
        "on_demand",
        "greedy",
        "time_sliced",
        "uniform_progress",
        "causeway",
        "causeway_alone",
        "causeway_taught",
        "clairvoyant",
    ],
)
def test_every_job_is_accounted_for_and_none_is_late(tmp_path: Path, policy: str) -> None:
    write(tmp_path, traces())
    outcome = replay(tmp_path, policy)
    assert outcome.accounting.submitted == outcome.accounting.finished == 2 * 3 * 2
    assert outcome.metrics["deadline_share"] == 1.0
    assert outcome.metrics["gap_share"] >= -1e-6
    assert len(outcome.tables["cells"]["slack_share"]) == 2
    assert replay(tmp_path, policy).metrics == outcome.metrics
    jobs = outcome.tables["jobs"]
    assert (jobs["finished_h"] <= jobs["deadline_h"]).all()


def test_the_scale_has_the_clairvoyant_at_0_and_greedy_at_1(tmp_path: Path) -> None:
    write(tmp_path, traces())
    assert replay(tmp_path, "clairvoyant").metrics["gap_to_greedy_share"] == 0.0
    assert replay(tmp_path, "greedy").metrics["gap_to_greedy_share"] == pytest.approx(1.0)
    assert replay(tmp_path, "on_demand").metrics["saved_share"] == pytest.approx(0.0)


def test_samples_are_merged_to_ticks_in_which_spot_lasts(tmp_path: Path) -> None:
    half: list[int | None] = [1, 0] * 300
    write(tmp_path, {"z": half})
    assert replay(tmp_path, "greedy").metrics["saved_share"] == pytest.approx(0.0)


def test_a_gang_has_spot_where_all_of_it_has(tmp_path: Path) -> None:
    few: list[int | None] = [3] * 600
    write(tmp_path, {"z": few}, nodes=4)
    assert replay(tmp_path, "greedy").metrics["saved_share"] == pytest.approx(0.0)
    write(tmp_path, {"z": few}, nodes=3)
    assert replay(tmp_path, "greedy").metrics["saved_share"] > 0.5


@pytest.mark.parametrize("policy", ["greedy", "causeway", "clairvoyant"])
def test_with_all_zones_of_a_region_no_job_is_dearer_or_late(tmp_path: Path, policy: str) -> None:
    zones = traces()
    write(tmp_path, {"r-1a": zones["z0"], "r-1b": zones["z1"], "s-1a": zones["z0"]})
    scenario = parse(SCENARIO.format(policy=policy, work_h=10.0) + "together = true\n", name="t")
    kind, options = kind_of(scenario)
    outcome = kind.run(options, policy, 1, tmp_path, lambda share: None)
    assert set(outcome.tables["jobs"]["market"]) == {"a/r-1", "a/s-1"}
    assert outcome.metrics["deadline_share"] == 1.0
    assert outcome.metrics["gap_share"] >= -1e-6
    write(tmp_path, {"r-1a": zones["z0"], "r-1b": zones["z1"][:-5]})
    with pytest.raises(InvalidInput, match="a/r-1 are not simultaneous"):
        kind.run(options, policy, 1, tmp_path, lambda share: None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"z": [1] * 30}, "the longest deadline is 20.0 h"),
        ({"z": [1, None] * 200}, "a/z has no samples, a hole"),
        ({"z": []}, "a/z has no samples"),
    ],
)
def test_odd_traces_are_refused_by_name(
    tmp_path: Path, data: dict[str, list[int | None]], said: str
) -> None:
    write(tmp_path, data)
    with pytest.raises(InvalidInput, match=said):
        replay(tmp_path, "greedy")


def test_a_missing_file_and_an_unknown_campaign_are_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as missing:
        replay(tmp_path, "greedy")
    assert "CAUSEWAY_DATA" in str(missing.value.hint)
    write(tmp_path, traces())
    table = pl.read_parquet(tmp_path / "t.parquet").with_columns(campaign=pl.lit("b"))
    table.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InvalidInput, match="no campaign a"):
        replay(tmp_path, "greedy")


def test_a_changeover_that_no_deadline_has_room_for_is_refused(tmp_path: Path) -> None:
    write(tmp_path, traces())
    with pytest.raises(InvalidInput, match="does not fit"):
        replay(tmp_path, "greedy", work_h=0.5)
