"""The kind `elastic` on an invented program: what is counted adds up, odd tables are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from causeway.model.errors import InvalidInput
from causeway.twin.kinds import kind_of
from causeway.twin.kinds.elastic.profiles import read_applications
from causeway.twin.outcome import Outcome
from causeway.twin.scenario import parse

POLICIES = (
    "tiresias",
    "optimus",
    "pollux",
    "causeway",
    "causeway-untold",
    "causeway-alone",
)
SCENARIO = """
title = "t"
kind = "elastic"
policies = ["{policy}"]
[options]
nodes = 2
devices_per_node = 2
restart_s = {restart_s}
samples_most = {{}}
batch_fixed = {{}}
{more}
"""


def step(nodes: int, devices: int, samples: int) -> tuple[float, float]:
    sync = 0.0 if devices == 1 else (0.05 if nodes == 1 else 0.2) + 0.01 * devices
    return 0.1 + 0.01 * samples + sync, sync


def write(folder: Path) -> None:
    at = folder / "pollux_sia"
    at.mkdir()
    timed = [
        ("toy", "aws", placement, each, *step(len(placement), sum(map(int, placement)), each))
        for placement in ("1", "2", "11", "12", "22")
        for each in (4, 8, 16, 64)
    ]
    names = ["application", "gpu_type", "placement", "local_bsz", "step_time", "sync_time"]
    pl.DataFrame(timed, schema=names, orient="row").write_parquet(at / "placements.parquet")
    wide = [("toy", "aws", 3, 3, 8.0, *step(3, 3, 8)), ("toy", "aws", 3, 6, 8.0, *step(3, 6, 8))]
    names[2:3] = ["num_nodes", "num_replicas"]
    pl.DataFrame(wide, schema=names, orient="row").write_parquet(at / "scalability.parquet")
    trained = [
        ("toy", batch, 500.0 * epoch, int(500 * epoch * 16 / batch * slower), 1.0, 10.0 * epoch)
        for batch, slower in ((16, 1.0), (64, 2.0))
        for epoch in (1, 2, 3)
    ]
    names = ["application", "batch_size", "progress", "iteration", "grad_sqr", "grad_var"]
    pl.DataFrame(trained, schema=names, orient="row").write_parquet(at / "validation.parquet")
    jobs = [
        ("w", "workload-1", f"toy-{i}", 90 * i, "toy", 1 + i % 4, 16 if i % 2 else 64)
        for i in range(7)
    ]
    names = ["set", "workload", "name", "time", "application", "num_replicas", "batch_size"]
    pl.DataFrame(jobs, schema=names, orient="row").write_parquet(at / "pollux_workloads.parquet")


def replay(folder: Path, policy: str, *, restart_s: float = 30.0, more: str = "") -> Outcome:
    more = more or 'set = "w"'
    text = SCENARIO.format(policy=policy, restart_s=restart_s, more=more)
    kind, options = kind_of(parse(text, name="t"))
    told: list[float] = []
    outcome: Outcome = kind.run(options, policy, 1, folder, told.append)
    assert told[-1] == 1.0
    return outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_ends_every_job_and_counts_alike_twice(folder: Path, policy: str) -> None:
    outcome = replay(folder, policy)
    assert outcome.accounting.finished == outcome.accounting.submitted == 7
    jobs = outcome.tables["jobs"]
    assert (jobs["started_s"] >= jobs["submitted_s"]).all()
    # Nobody is done sooner than a restart and the fewest seconds of its work allow.
    assert (jobs["ended_s"] - jobs["started_s"] > 30.0 + 1500 * 0.1 / 64 * 16).all()
    assert jobs["device_s"].sum() == pytest.approx(outcome.accounting.device_s_allocated)
    assert max(outcome.tables["series"]["devices_held"]) <= 4
    assert replay(folder, policy).metrics == outcome.metrics


def test_one_job_takes_what_its_steps_take(folder: Path) -> None:
    """One device, the first batch, tiresias: a round to be seen, a restart, then 1,500 steps."""
    path = folder / "pollux_sia" / "pollux_workloads.parquet"
    alone = pl.read_parquet(path).head(1).with_columns(num_replicas=1, batch_size=16, time=10)
    alone.with_columns(pl.all().exclude("time"), pl.col("time").cast(pl.Int64)).write_parquet(path)
    outcome = replay(folder, "tiresias")
    assert outcome.metrics["queue_s_mean"] == 50.0
    assert outcome.metrics["jct_s_mean"] == pytest.approx(50.0 + 30.0 + 1500 * (0.1 + 0.16))


def test_restarts_cost_what_is_said(folder: Path) -> None:
    free = replay(folder, "optimus", restart_s=0.0).metrics["jct_s_mean"]
    assert replay(folder, "optimus", restart_s=50.0).metrics["jct_s_mean"] > free + 49.0


def test_what_was_not_measured_lies_between(folder: Path) -> None:
    toy = read_applications(folder, device="aws", samples_most={})["toy"]
    assert toy.times((1,), 12) == pytest.approx(step(1, 1, 12))
    assert toy.times((2, 1), 8) == pytest.approx(step(2, 3, 8))  # a rotation of 12
    low, found, high = step(2, 3, 8)[0], toy.times((2, 1, 1), 8)[0], step(3, 6, 8)[0]
    assert low < found < high
    noise = toy.noise(40, 2)
    assert (noise.square, noise.variance) == pytest.approx((1.0, 30.0))


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        ("placements", pl.lit(None, dtype=pl.Float64).alias("step_time"), "row 1 has None"),
        ("placements", pl.lit(np.nan).alias("sync_time"), "row 1 has nan as `sync_time`"),
        ("placements", (pl.col("sync_time") + 9).alias("sync_time"), "row 1 has no time"),
        ("placements", pl.lit("rtx").alias("gpu_type"), "on `aws`; known are rtx"),
        ("validation", pl.lit(-1.0).alias("grad_var"), "row 1 has -1.0 as `grad_var`"),
        ("pollux_workloads", pl.lit("other").alias("application"), "`other` was not measured"),
        ("pollux_workloads", pl.lit(9).alias("num_replicas"), "batch of 16 on 9 devices"),
        ("pollux_workloads", pl.lit(999).alias("batch_size"), "batch of 999 on 1 devices"),
        ("pollux_workloads", pl.lit("same").alias("name"), "more than one job `same`"),
        ("pollux_workloads", pl.lit("v").alias("set"), "no workload-1 in the set `w`"),
    ],
)
def test_odd_tables_are_refused(folder: Path, table: str, change: pl.Expr, says: str) -> None:
    path = folder / "pollux_sia" / f"{table}.parquet"
    pl.read_parquet(path).with_columns(change).write_parquet(path)
    with pytest.raises(InvalidInput) as refused:
        replay(folder, "tiresias")
    assert says in str(refused.value)


def test_missing_and_truncated_tables_are_named(folder: Path) -> None:
    path = folder / "pollux_sia" / "validation.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidInput, match=r"validation\.parquet cannot be read"):
        replay(folder, "pollux")
    path.unlink()
    with pytest.raises(InvalidInput, match=r"validation\.parquet is not there") as refused:
        replay(folder, "pollux")
    assert "CAUSEWAY_DATA" in refused.value.hint
    pl.DataFrame({"application": ["toy"]}).write_parquet(path)
    with pytest.raises(InvalidInput, match="has no column batch_size"):
        replay(folder, "pollux")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("samples_most = {toy = 99}", "is 99; measured were 4 to 64"),
        ("batch_fixed = {toy = 99}", "is 99; measured were 4 to 64"),
        ("nodes = 4", "up to 3 nodes of 2, the scenario has 4 of 2"),
        ("nodes = 1", "toy-2 asks for 3 devices, the fleet has 2"),
    ],
)
def test_what_was_not_measured_is_refused(folder: Path, option: str, says: str) -> None:
    key = option.split(" = ")[0]
    text = SCENARIO.format(policy="tiresias", restart_s=30.0, more='set = "w"')
    kept = [line for line in text.splitlines() if not line.startswith(key + " =")]
    kind, options = kind_of(parse("\n".join([*kept, option]), name="t"))
    with pytest.raises(InvalidInput) as refused:
        kind.run(options, "tiresias", 1, folder, lambda share: None)
    assert says in str(refused.value)


@pytest.mark.parametrize("more", ["nodes = 0", "round_s = 0.0", "restart_s = -1.0", "node = 3"])
def test_odd_options_are_refused(folder: Path, more: str) -> None:
    key = more.split(" = ")[0]
    text = SCENARIO.format(policy="pollux", restart_s=30.0, more="")
    kept = [line for line in text.splitlines() if not line.startswith(key + " =")]
    with pytest.raises(InvalidInput, match=key):
        kind_of(parse("\n".join([*kept, more]), name="t"))
