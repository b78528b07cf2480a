"""The kind `deadline`: its traces, its clock and its accounting, on traces of a few rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from causeway.model.errors import InvalidInput
from causeway.twin.kinds import deadline, kind_of
from causeway.twin.outcome import Outcome
from causeway.twin.scenario import parse

HEAD = "job_id,submit_time,iteration,model_name,ddl,batch_size,num_gpu,duration"
CURVES = {"net": [["batch", "1", "2", "4", "8\r"], ["64", "1.0", "1.9", "3.0", "nan\r"]]}


def trace(folder: Path, *rows: str) -> None:
    (folder / "jobs.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    (folder / "curves.json").write_text(json.dumps(CURVES))


def ran(folder: Path, policy: str, **options: object) -> Outcome:
    said = deadline.Options(
        **{
            "trace": "jobs.csv",
            "curves": "curves.json",
            "gpus": 4,
            "node_gpus": 4,
            "slot_s": 10.0,
            **options,
        }  # type: ignore[arg-type]
    )
    return deadline.run(said, policy, 0, folder, lambda share: None)


@pytest.mark.parametrize("policy", deadline.KIND.policies)
@pytest.mark.parametrize("pause", ["source", "resize"])
def test_every_job_and_every_gpu_second_is_accounted_for(
    tmp_path: Path, policy: str, pause: str
) -> None:
    rows = [
        f"{n},{n * 7 % 50},{100 + 40 * (n % 5)},net,{400 + n},64,{1 << n % 3},{300}"
        for n in range(12)
    ]
    trace(tmp_path, *rows)
    outcome = ran(tmp_path, policy, pause=pause)
    assert outcome.accounting.submitted == 12
    assert outcome.accounting.waiting == 0
    assert 0.0 <= outcome.metrics["deadline_share"] <= 1.0
    assert outcome.metrics["busy_share"] <= outcome.metrics["allocation_share"] + 1e-9 <= 1.0 + 2e-9
    again = ran(tmp_path, policy, pause=pause)
    assert again.metrics == pytest.approx(outcome.metrics, nan_ok=True)


def test_a_resize_stops_the_job_for_its_pause(tmp_path: Path) -> None:
    trace(tmp_path, "0,0,300,net,1000,64,1,300")
    outcome = ran(tmp_path, "causeway", pause="resize")
    # 2 s plus 2 (log2 4 + 1) s on a small fleet, then 300 iterations at 3 a second.
    assert outcome.tables["jobs"]["ended_s"][0] == pytest.approx(8.0 + 100.0)
    assert outcome.accounting.device_s_allocated == pytest.approx(4 * 108.0)


def test_declined_counts_as_missed(tmp_path: Path) -> None:
    trace(tmp_path, "0,0,300,net,50,64,1,300", "1,0,30,net,500,64,1,30")
    outcome = ran(tmp_path, "elasticflow", slot_s=1.0)
    assert outcome.metrics["deadline_share"] == 0.0
    ours = ran(tmp_path, "causeway", slot_s=1.0, pause="resize")
    assert ours.metrics["deadline_share"] == 0.5
    assert ours.metrics["declined_share"] == 0.5
    assert math.isnan(ours.tables["jobs"]["ended_s"][0])


def test_an_arrival_within_a_slot_waits_for_its_end(tmp_path: Path) -> None:
    trace(tmp_path, "0,0,30,net,500,64,1,30", "1,3,30,net,500,64,1,30")
    outcome = ran(tmp_path, "tiresias", pause="resize")
    assert list(outcome.tables["jobs"]["first_s"]) == [0.0, 10.0]


def test_a_trace_that_cannot_be_used_names_its_row(tmp_path: Path) -> None:
    trace(tmp_path, "0,0,300,net,50,64,1,300", "1,0,30,other,500,64,1,30")
    with pytest.raises(InvalidInput, match=r"job 2: no curve was measured for other at batch 64"):
        ran(tmp_path, "edf")
    trace(tmp_path, "0,0,300,net,50,64,16,300")
    with pytest.raises(InvalidInput, match="job 1: it asks for 16 GPUs and the fleet has 4"):
        ran(tmp_path, "edf")
    trace(tmp_path, "0,0,300,net,,64,1,300")
    with pytest.raises(InvalidInput, match="job 1: `deadline` is None"):
        ran(tmp_path, "edf")
    (tmp_path / "jobs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="no column `submission_time`"):
        ran(tmp_path, "edf")


def test_a_missing_trace_says_which_variable_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="CAUSEWAY_DATA"):
        ran(tmp_path, "edf")


def test_a_trace_without_jobs_has_an_outcome(tmp_path: Path) -> None:
    trace(tmp_path)
    assert ran(tmp_path, "causeway").accounting.submitted == 0


def test_a_job_of_no_length_is_done_at_once(tmp_path: Path) -> None:
    trace(tmp_path, "0,0,0,net,100,64,1,0")
    assert ran(tmp_path, "causeway").accounting.finished == 1


def test_options_are_checked() -> None:
    text = (
        'title="t"\nkind="deadline"\npolicies=["edf"]\n[options]\n'
        'trace="a"\ncurves="b"\ngpus=0\nnode_gpus=1\n'
    )
    with pytest.raises(InvalidInput, match="from 1 to 1,000,000"):
        kind_of(parse(text, name="x"))
