"""Histories in every format: what is read, what is set aside and counted, what is refused where."""

from __future__ import annotations

import gzip
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.api.views import job_view
from causeway.model.errors import InvalidInput
from causeway.model.jobs import Attempt, Job, JobSpec, JobState
from causeway.model.money import Price, Purchase
from causeway.model.resources import AcceleratorRequest, Resources
from causeway.twin.parquet import write_table
from causeway.twin.traces import FORMATS, Row, collect, load
from causeway.twin.traces.made import drawn

HEAD = "arrival,duration_s,devices,tenant\n"


def _csv(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path


def test_a_plain_csv_says_when_and_how_long(tmp_path: Path) -> None:
    text = HEAD + "2025-01-01T01:00:00+01:00,60,2,a\n2025-01-01T00:00:30,0,1,b\n"
    trace = load(_csv(tmp_path, text), "csv")
    assert trace.arrival_s.tolist() == [0.0, 30.0]
    assert trace.duration_s.tolist() == [60.0, 0.0], "a length of zero is a job"
    assert trace.devices.tolist() == [2, 1]
    assert trace.tenant.tolist() == ["a", "b"]
    assert (trace.submitted, trace.unordered) == (2, 0)


def test_odd_rows_are_set_aside_and_counted_with_their_line(tmp_path: Path) -> None:
    rows = ["5,10,1,a", "1,-3,1,a", "2,,1,a", "3,10,0,a", "4,10,1.5,a", "0,10,1,a", "6,-1,1,a"]
    trace = load(_csv(tmp_path, HEAD + "\n".join(rows) + "\n"), "csv")
    assert trace.arrival_s.tolist() == [0.0, 5.0], "put in order"
    assert trace.unordered == 1
    assert trace.submitted == 7
    assert {(one.reason, one.count, one.line) for one in trace.aside} == {
        ("it ends before it begins", 2, 3),
        ("its length is not known", 1, 4),
        ("it asks for no device", 1, 5),
        ("it asks for a part of a device", 1, 6),
    }


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("arrival,devices\n1,1\n", "has no column `duration_s`", "line 1"),
        (HEAD + "1,10,1,a\n2,10,1\n", "it is cut off there", "line 3"),
        (HEAD + "1,ten,1,a\n", "`duration_s` is 'ten'", "line 2"),
        (HEAD + "soon,10,1,a\n", "seconds, or a date", "line 2"),
        (HEAD + ",10,1,a\n", "no time of arrival", "line 2"),
        (HEAD, "holds no job", ""),
        ("", "has no column", "line 1"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, text: str, said: str, where: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        load(_csv(tmp_path, text), "csv")
    assert said in refused.value.message
    assert where in refused.value.where


def test_a_file_that_ends_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    whole = gzip.compress((HEAD + "1,10,1,a\n" * 2000).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match="cannot be read to its end"):
        load(path, "csv")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidInput, match="cannot be read as Parquet"):
        load(tmp_path / "t.parquet", "philly")


def test_published_traces_are_read_by_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    texts = np.array(["2017-11-05 01:30:00", "2017-11-05 01:00:00"], dtype=object)
    numbers, lengths = np.array([8, 1]), np.array([60.0, 1.0])
    vc = np.array(["x", "y"], dtype=object)
    write_table(path, {"timestamp": texts, "duration": lengths, "num_gpus": numbers, "cluster": vc})
    philly = load(path, "philly")
    assert philly.arrival_s.tolist() == [0.0, 1800.0]
    assert philly.pool.tolist() == ["y", "x"]
    assert philly.unordered == 1
    write_table(path, {"submission_time": numbers, "duration": lengths, "num_gpu": numbers})
    assert load(path, "itp").arrival_s.tolist() == [0.0, 7.0]
    write_table(path, {"arrival_time": lengths, "length": lengths, "cpus": numbers})
    assert load(path, "gaia").duration_s.tolist() == [3600.0, 216_000.0]
    with pytest.raises(InvalidInput, match="has no column `timestamp`"):
        load(path, "philly")


def test_logs_of_clusters_are_read_by_their_columns(tmp_path: Path) -> None:
    text = "job_id,user,vc,gpu_num,cpu_num,submit_time,duration\n1,u,v,8,32,2020-05-01 10:00:00,5\n"
    helios = load(_csv(tmp_path, text), "helios")
    assert (helios.tenant[0], helios.pool[0], helios.cpus[0]) == ("u", "v", 32.0)
    text = "job_id,num_gpu,submit_time,iterations,model_name,duration,interval\n0,4,7,6,vgg,164,3\n"
    assert load(_csv(tmp_path, text), "tiresias").devices.tolist() == [4]
    text = (
        "name,cpu_milli,memory_mib,num_gpu,qos,creation_time,deletion_time,scheduled_time\n"
        "p0,12000,16384,1,LS,0,100,40\np1,12000,16384,0,LS,0,100,40\np2,1,1,1,BE,5,,\n"
    )
    openb = load(_csv(tmp_path, text), "openb")
    assert (openb.duration_s.tolist(), openb.submitted) == ([60.0], 3)


SACCT = """JobID|User|Account|Partition|Submit|Start|End|State|AllocTRES|Timelimit
1|u|lab|gpu|2025-03-01T00:00:00|2025-03-01T00:01:00|2025-03-01T01:01:00|COMPLETED|\
billing=8,cpu=8,gres/gpu:a100=2,gres/gpu=2,mem=64G,node=1|1-00:00:00
1.batch|||| | | |COMPLETED||
2|u"|lab|gpu|2025-03-01T00:00:30|Unknown|Unknown|PENDING||UNLIMITED
3|v|lab|cpu|2025-03-01T00:00:40|2025-03-01T00:00:40|Unknown|RUNNING|cpu=4,mem=1T|00:30:00
4|v|lab|cpu|2025-03-01T00:00:50|2025-03-01T00:00:50|2025-03-01T00:00:50|FAILED|cpu=4,mem=2G|30:00
"""


def test_slurm_accounting_is_read_as_sacct_prints_it(tmp_path: Path) -> None:
    path = tmp_path / "sacct.txt"
    path.write_text(SACCT)
    trace = load(path, "sacct")
    assert (trace.duration_s.tolist(), trace.devices.tolist()) == ([3600.0], [2])
    assert (trace.limit_s.tolist(), trace.memory_mib.tolist()) == ([86_400.0], [65_536.0])
    assert {(one.reason, one.line) for one in trace.aside} == {
        ("it never began", 4),
        ("it has not ended", 5),
        ("it asks for no device", 6),
    }
    cores = load(path, "sacct", cpus=True)
    assert cores.devices.tolist() == [8, 4]
    assert cores.duration_s.tolist() == [3600.0, 0.0]
    path.write_text(SACCT.replace("1-00:00:00", "a day"))
    with pytest.raises(InvalidInput, match="Timelimit"):
        load(path, "sacct")


def _pod(name: str, *, gpus: str = "1", end: str = "2025-01-01T02:00:00Z", **meta: Any) -> Any:
    ran = {"startedAt": "2025-01-01T01:00:00Z", "finishedAt": end}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "lab",
            "creationTimestamp": "2025-01-01T00:00:00Z",
            **meta,
        },
        "spec": {
            "containers": [
                {"resources": {"requests": {"cpu": "500m"}, "limits": {"nvidia.com/gpu": gpus}}}
            ]
        },
        "status": {"containerStatuses": [{"state": {"terminated": ran} if end else {}}]},
    }


def test_pods_are_jobs_and_pod_groups_are_gangs(tmp_path: Path) -> None:
    label = {"scheduling.k8s.io/pod-group": "train"}
    killed = _pod("k")
    killed["status"]["containerStatuses"][0]["state"] = {
        "running": {"startedAt": "2025-01-01T01:00:00Z"}
    }
    event = {
        "kind": "Event",
        "reason": "Killing",
        "lastTimestamp": "2025-01-01T01:10:00Z",
        "involvedObject": {"kind": "Pod", "namespace": "lab", "name": "k"},
    }
    gone = {**event, "involvedObject": {"kind": "Pod", "namespace": "lab", "name": "gone"}}
    gang = [_pod(f"g{i}", gpus="4", labels=label) for i in range(3)]
    items = [_pod("a"), killed, _pod("w", end=""), *gang, event, gone]
    path = tmp_path / "pods.json"
    path.write_text(json.dumps({"kind": "List", "items": items}))
    trace = load(path, "kubernetes")
    assert sorted(trace.devices.tolist()) == [1, 1, 12]
    assert sorted(trace.duration_s.tolist()) == [600.0, 3600.0, 3600.0]
    assert {one.reason.split(",")[0] for one in trace.aside} == {
        "it never began",
        "only events are left of it",
    }
    path.write_text(path.read_text()[:-30])
    with pytest.raises(InvalidInput, match="not JSON to its end"):
        load(path, "kubernetes")
    del items[0]["spec"]
    path.write_text(json.dumps({"items": items}))
    with pytest.raises(InvalidInput, match="the pod a cannot be read"):
        load(path, "kubernetes")


def _job(**changes: Any) -> dict[str, Any]:
    asked = {
        "num_nodes": 2,
        "accelerators": 4,
        "cpu_milli": 8000,
        "memory_bytes": 2**30,
        "time_limit_s": 600.0,
    }
    return {
        "kind": "batch",
        "tenant": "t",
        "submitted_ms": 1000,
        "started_ms": 2000,
        "ended_ms": 5000,
        "asked": asked,
        **changes,
    }


def test_our_own_jobs_are_read_as_ps_prints_them(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    listed = [
        _job(),
        _job(kind="group"),
        _job(kind="interactive"),
        _job(started_ms=0, ended_ms=0),
        _job(ended_ms=0),
    ]
    path.write_text(json.dumps(listed))
    trace = load(path, "causeway")
    assert (trace.devices.tolist(), trace.duration_s.tolist()) == ([8], [3.0])
    assert trace.limit_s.tolist() == [600.0]
    assert trace.submitted == 4, "a group's members are jobs, the group is not"
    path.write_text(json.dumps([{"kind": "batch"}]))
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(path, "causeway")


def test_what_the_api_says_of_a_job_is_what_is_read(tmp_path: Path) -> None:
    two = AcceleratorRequest(count=2)
    need = Resources(cpu_milli=4000, memory_bytes=2**30, accelerator=two)
    spec = JobSpec(name="train", run="true", resources=need, num_nodes=3, time_limit_s=90.0)
    attempt = Attempt(
        job="j",
        fence=1,
        island="i",
        pool="p",
        offer="o",
        price=Price(id="p", amount_per_device_h=Decimal(1)),
        purchase=Purchase.ON_DEMAND,
        pue_milli=1000,
        carbon_mg_per_kwh=0,
        started_ms=61_000,
    )
    job = Job(
        id="j",
        tenant="lab",
        spec=spec,
        state=JobState.SUCCEEDED,
        submitted_ms=1_000,
        ended_ms=121_000,
        attempts=(attempt,),
    )
    path = tmp_path / "jobs.json"
    path.write_bytes(msgspec.json.encode([job_view(job, attempts=False)]))
    trace = load(path, "causeway")
    assert (trace.devices.tolist(), trace.duration_s.tolist()) == ([6], [60.0])
    assert (trace.tenant.tolist(), trace.limit_s.tolist()) == (["lab"], [90.0])
    assert load(path, "causeway", cpus=True).devices.tolist() == [12]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(-1e3, 1e6), st.integers(-2, 9)),
        min_size=1,
        max_size=30,
    )
)
def test_no_row_is_ever_lost(rows: list[tuple[float, float, int]]) -> None:
    trace = collect(
        (
            Row(line=i, arrival_s=at, duration_s=took, devices=devices)
            for i, (at, took, devices) in enumerate(rows, start=1)
        ),
        source="rows",
    )
    assert trace.submitted == len(rows)
    assert np.all(np.diff(trace.arrival_s) >= 0.0)
    assert len(trace) == sum(1 for _, took, devices in rows if took >= 0 and devices >= 1)


def test_what_is_drawn_offers_the_load_it_was_asked_for() -> None:
    trace = drawn(jobs=20_000, load=0.7, pool_devices=64, tenants=3, seed=1)
    demand = float((trace.devices * trace.duration_s).sum())
    assert math.isclose(demand / (64 * trace.arrival_s[-1]), 0.7, rel_tol=0.05)
    assert set(FORMATS) >= {"sacct", "kubernetes", "causeway"}
