"""The kind `queue`: small fleets, drawn and read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causeway.model.errors import InvalidInput
from causeway.twin.kinds.queue import POLICIES, Options, run
from causeway.twin.outcome import Outcome

CSV = """arrival,duration_s,devices,tenant,pool
0,100,2,a,x
10,50,2,b,x
20,0,1,b,y
20,10,64,b,y
30,10,1,b,elsewhere
5,10,0,a,x
"""
POOLS = "vc,node num\nx,1\ny,2\n"


def _go(policy: str, folder: Path, seed: int = 0, **options: Any) -> Outcome:
    return run(Options(**options), policy, seed, folder, lambda share: None)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_accounts_for_every_job_and_repeats_itself(
    policy: str, tmp_path: Path
) -> None:
    first = _go(policy, tmp_path, seed=3, jobs=120, load=1.2, nodes=2)
    assert first.accounting.submitted == first.accounting.finished == 120
    assert first.metrics["busy_share"] <= first.metrics["allocation_share"] + 1e-9 <= 1.0
    again = _go(policy, tmp_path, seed=3, jobs=120, load=1.2, nodes=2)
    assert again.metrics == first.metrics
    assert _go(policy, tmp_path, seed=4, jobs=120, load=1.2, nodes=2).metrics != first.metrics


def test_pools_are_queues_of_their_own_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(CSV)
    (tmp_path / "vc.csv").write_text(POOLS)
    base: dict[str, Any] = {"format": "csv", "trace": "t.csv", "pools": "vc.csv"}
    found = _go("fifo", tmp_path, devices_each=2, **base)
    # One asks for no device, one for more than its pool has, one for a pool that is not there.
    assert (found.accounting.submitted, found.accounting.rejected) == (6, 3)
    jobs = found.tables["jobs"]
    assert jobs["pool"].tolist() == ["x", "x", "y"]
    assert jobs["end_s"].tolist() == [100.0, 150.0, 20.0]
    assert found.accounting.device_s_offered == 150.0 * 6
    assert found.accounting.device_s_allocated == 300.0
    pooled = _go("fifo", tmp_path, devices_each=2, pooled=True, **base)
    assert pooled.accounting.rejected == 2
    assert pooled.tables["jobs"]["end_s"].tolist() == [100.0, 60.0, 20.0, 40.0]


def test_what_if_there_were_more_nodes_or_more_work(tmp_path: Path) -> None:
    base = _go("backfill", tmp_path, jobs=200, load=1.0, nodes=4)
    more = _go("backfill", tmp_path, jobs=200, load=1.0, nodes=4, rush=3.0)
    assert more.metrics["queue_s_mean"] > base.metrics["queue_s_mean"]
    (tmp_path / "t.csv").write_text(CSV)
    half = _go("fifo", tmp_path, format="csv", trace="t.csv", nodes=4, nodes_share=0.5)
    assert half.tables["series"]["allocated_share"].max() <= 1.0


def test_a_fleet_can_be_sized_by_what_is_asked_of_it(tmp_path: Path) -> None:
    rows = "".join(f"{10 * i},80,4\n" for i in range(101))
    (tmp_path / "t.csv").write_text("arrival,duration_s,devices\n" + rows)
    found = _go("fifo", tmp_path, format="csv", trace="t.csv", nodes=0, load=0.8)
    # 101 jobs of 320 device-seconds over 1,000 s are 32.3 devices: 41 at 80%, six nodes of eight.
    assert found.accounting.device_s_offered == pytest.approx(48 * 1080.0)


def test_a_seed_chooses_the_stretch_of_a_history(tmp_path: Path) -> None:
    rows = "".join(f"{i},5,1\n" for i in range(100))
    (tmp_path / "t.csv").write_text("arrival,duration_s,devices\n" + rows)
    base: dict[str, Any] = {"format": "csv", "trace": "t.csv", "window_s": 20.0}
    counts = [_go("fifo", tmp_path, seed, **base).tables["jobs"]["arrival_s"] for seed in (1, 2)]
    assert all(18 <= len(arrivals) <= 21 for arrivals in counts)
    assert not np.array_equal(counts[0], counts[1])


def test_a_seed_can_name_the_history(tmp_path: Path) -> None:
    for seed, took in ((1, 5), (12, 7)):
        (tmp_path / f"c{seed:02d}.csv").write_text(f"arrival,duration_s\n0,{took}\n")
    base: dict[str, Any] = {"format": "csv", "trace": "c{seed}.csv"}
    assert [_go("fifo", tmp_path, s, **base).metrics["makespan_s"] for s in (1, 12)] == [5.0, 7.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "none"}, "there is no format `none`"),
        ({"format": "csv", "trace": "no.csv"}, "is not there"),
        ({"pools": "no.csv"}, "are not there"),
        ({"load": 0.0}, "`load` has to be above zero"),
        ({"rush": float("nan")}, "`rush` has to be above zero"),
        ({"nodes": -1}, "`nodes` may not be negative"),
        ({"nodes": 0}, "needs a number of nodes"),
        ({"devices_each": 0}, "`devices_each` has to be 1 or more"),
        ({"restart_s": -1.0}, "`restart_s` may not be negative"),
        ({"las_edges_device_s": (5.0, 1.0)}, "have to grow"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        _go("fifo", tmp_path, **options)
    assert said in refused.value.message
