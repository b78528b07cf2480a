"""The kind `rounds`: its traces, its clock and how jobs change, on traces of a few rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from causeway.model.errors import InvalidInput
from causeway.twin.kinds import rounds
from causeway.twin.kinds.rounds_modes import critical, planned_batch
from causeway.twin.outcome import Outcome

HEAD = "job_type,total_steps,scale_factor,mode,priority_weight,slo,duration_s,arrival_time_s"
SPEEDS = {
    "v100": {
        f"('LM (batch size {batch})', {gpus})": {"null": rate * gpus}
        for batch, rate in ((20, 10.0), (40, 8.0), (80, 6.0))
        for gpus in (1, 2)
    }
    | {"('A3C', 1)": {"null": 1.0}}
}


def trace(folder: Path, *rows: str) -> None:
    (folder / "jobs.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    (folder / "speeds.json.gz").write_bytes(gzip.compress(json.dumps(SPEEDS).encode()))


def ran(folder: Path, policy: str, **options: object) -> Outcome:
    said = rounds.Options(
        **{"trace": "jobs.csv", "speeds": "speeds.json.gz", "gpus": 2, **options}  # type: ignore[arg-type]
    )
    return rounds.run(said, policy, 0, folder, lambda share: None)


def row(steps: int, *, gpus: int = 1, mode: str = "static", at: int = 0, batch: int = 80) -> str:
    return f"LM (batch size {batch}),{steps},{gpus},{mode},1,-1,1,{at}"


@pytest.mark.parametrize("policy", rounds.KIND.policies)
def test_everybody_ends_and_every_gpu_second_is_accounted_for(tmp_path: Path, policy: str) -> None:
    rows = [
        row(3000 + 500 * n, gpus=1 + n % 2, mode=mode, at=50 * n, batch=20)
        for n, mode in enumerate(["static", "gns", "accordion"] * 3)
    ]
    trace(tmp_path, *rows)
    outcome = ran(tmp_path, policy)
    assert outcome.accounting.finished == outcome.accounting.submitted == 9
    assert 0 < outcome.metrics["busy_share"] <= outcome.metrics["allocation_share"] <= 1
    assert outcome.metrics["makespan_s"] >= outcome.metrics["jct_s_p99"]
    assert ran(tmp_path, policy).metrics == outcome.metrics


def test_a_lonely_job_ends_when_its_work_is_done(tmp_path: Path) -> None:
    trace(tmp_path, row(1440))
    outcome = ran(tmp_path, "causeway")
    assert outcome.metrics["jct_s_mean"] == pytest.approx(240.0)
    assert outcome.metrics["rounds"] == 2


def test_who_was_out_in_the_round_before_pays_for_its_checkpoint(tmp_path: Path) -> None:
    trace(tmp_path, row(720), row(1440))
    outcome = ran(tmp_path, "causeway", gpus=1)
    # The second starts in round 1, loses 20 s of it, and needs a round of 20 s at the end.
    assert outcome.tables["jobs"]["ended_s"][1] == pytest.approx(120 + 120 + 120 + 20)


def test_a_batch_that_doubles_makes_epochs_faster(tmp_path: Path) -> None:
    steps = 30 * 2984
    trace(tmp_path, row(steps, batch=20), row(steps, batch=20, mode="gns"))
    outcome = ran(tmp_path, "srpt")
    static_s, gns_s = outcome.tables["jobs"]["ended_s"]
    assert gns_s < 0.8 * static_s
    alone = outcome.tables["jobs"]["alone_s"]
    assert alone[1] < alone[0] == pytest.approx(30 * 59_675 / 20 / 10)


def test_accordion_keeps_the_first_batch_in_critical_regimes() -> None:
    assert [critical("LM", 20, epoch) for epoch in (9, 10)] == [True, False]
    assert [critical("ResNet-50", 32, epoch) for epoch in (9, 10, 30)] == [True, False, True]
    plan = [
        planned_batch("accordion", "LM", 20, gpus=1, epoch=epoch, epochs=100)
        for epoch in (0, 29, 30, 31)
    ]
    assert plan == [20, 20, 20, 80]


def test_a_trace_that_cannot_be_used_names_its_row(tmp_path: Path) -> None:
    trace(tmp_path, row(10), row(10, gpus=3))
    with pytest.raises(InvalidInput, match="job 2: it asks for 3 GPUs and the pool has 2"):
        ran(tmp_path, "srpt")
    trace(tmp_path, row(10, batch=7))
    with pytest.raises(InvalidInput, match="job 1: no speed was measured for LM, batch 7"):
        ran(tmp_path, "srpt")
    trace(tmp_path, row(10, mode="magic"))
    with pytest.raises(InvalidInput, match="`magic` is not one of"):
        ran(tmp_path, "srpt")
    (tmp_path / "jobs.csv").write_text("a\n1\n")
    with pytest.raises(InvalidInput, match="no column `job_type`"):
        ran(tmp_path, "srpt")


def test_speeds_that_are_cut_short_or_of_another_worker_are_refused(tmp_path: Path) -> None:
    trace(tmp_path, row(10))
    with pytest.raises(InvalidInput, match="no speeds of `k80`"):
        ran(tmp_path, "srpt", worker="k80")
    whole = (tmp_path / "speeds.json.gz").read_bytes()
    (tmp_path / "speeds.json.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match="is not JSON"):
        ran(tmp_path, "srpt")
    (tmp_path / "speeds.json.gz").unlink()
    with pytest.raises(InvalidInput, match="CAUSEWAY_DATA"):
        ran(tmp_path, "srpt")


def test_a_trace_without_jobs_has_an_outcome(tmp_path: Path) -> None:
    trace(tmp_path)
    assert ran(tmp_path, "causeway").accounting.submitted == 0
