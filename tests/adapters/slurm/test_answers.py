"""What slurmrestd says, read in both dialects.

v0.0.38 is as slurmrestd 22.05.8 answered, cut to the fields that are read and some that are not.
v0.0.41 is written after SchedMD's published OpenAPI document: no daemon of that age was tried.
"""

from __future__ import annotations

from typing import Any

import pytest

from causeway.adapters.slurm import answers
from causeway.adapters.slurm.values import JobState, Order

OLD_NODE: dict[str, Any] = {
    "architecture": "x86_64",
    "cpus": 4,
    "gres": "gpu:h100:2",
    "gres_drained": "N/A",
    "gres_used": "gpu:h100:1(IDX:0)",
    "name": "dev1",
    "operating_system": "Linux 6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC @0",
    "state": "allocated",
    "state_flags": ["DRAIN"],
    "owner": None,
    "partitions": ["main", "short"],
    "real_memory": 8000,
    "slurmd_version": "22.05.8",
    "alloc_memory": 512,
    "alloc_cpus": 4,
    "idle_cpus": 0,
}
NEW_NODE: dict[str, Any] = {
    "architecture": "x86_64",
    "cpus": 4,
    "effective_cpus": 4,
    "gres": "gpu:h100:2",
    "gres_used": "gpu:h100:1(IDX:0)",
    "name": "dev1",
    "operating_system": "Linux 6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC @0",
    "state": ["ALLOCATED", "DRAIN"],
    "partitions": ["main", "short"],
    "real_memory": 8000,
    "version": "22.05.8",
    "alloc_memory": 512,
    "alloc_cpus": 4,
}
OLD_PARTITION = {"name": "main", "flags": ["default"], "state": "UP", "max_time_limit": -1}
NEW_PARTITION = {
    "name": "main",
    "flags": ["DEFAULT"],
    "partition": {"state": ["UP"]},
    "maximums": {"time": {"set": False, "infinite": True, "number": 0}},
}
OLD_JOB = {
    "comment": "hi there",
    "exit_code": 768,
    "job_id": 470,
    "job_state": "FAILED",
    "nodes": "dev2",
    "state_reason": "NonZeroExitCode",
    "user_name": "daemon",
}
NEW_JOB = {
    "comment": "hi there",
    "exit_code": {
        "status": ["ERROR"],
        "return_code": {"set": True, "infinite": False, "number": 3},
        "signal": {"id": {"set": False, "infinite": False, "number": 0}, "name": ""},
    },
    "job_id": 470,
    "job_state": ["FAILED"],
    "nodes": "dev2",
    "state_reason": "NonZeroExitCode",
    "user_name": "daemon",
}
ORDER = Order(
    name="n",
    comment="c",
    script="#!/bin/sh\n",
    folder="/f",
    output="/o",
    nodes=2,
    cpus=3,
    memory_mib=512,
    gres="gpu:h100:1",
    time_min=5,
    account="lab",
)


def test_both_dialects_say_the_same_of_a_node() -> None:
    (old,), (new,) = answers.nodes({"nodes": [OLD_NODE]}), answers.nodes({"nodes": [NEW_NODE]})
    assert old == new
    assert (old.state, old.flags, old.gpus, old.gpus_used) == ("ALLOCATED", ("DRAIN",), 2, 1)
    assert not old.usable


def test_both_dialects_say_the_same_of_a_partition() -> None:
    old, new = (answers.partitions({"partitions": [one]}) for one in (OLD_PARTITION, NEW_PARTITION))
    assert old == new
    assert (old[0].up, old[0].default, old[0].time_max_s) == (True, True, 0)


def test_both_dialects_say_the_same_of_a_job() -> None:
    old, new = (answers.jobs({"jobs": [one]}, user="daemon") for one in (OLD_JOB, NEW_JOB))
    assert old == new
    assert (old[0].state, old[0].exit_status) == (JobState.FAILED, 768)
    assert answers.jobs({"jobs": [OLD_JOB]}, user="else") == ()


def test_a_job_that_is_completing_is_not_gone_yet() -> None:
    row = {**NEW_JOB, "job_state": ["COMPLETED", "COMPLETING"]}
    assert answers.jobs({"jobs": [row]}, user="daemon")[0].state is JobState.COMPLETING


def test_orders_in_both_dialects() -> None:
    old = answers.submission(ORDER, "v0.0.38")["job"]
    assert (old["memory_per_node"], old["nodes"], old["time_limit"]) == (512, 2, 5)
    assert (old["gres"], old["requeue"], old["account"]) == ("gpu:h100:1", False, "lab")
    new = answers.submission(ORDER, "v0.0.41")["job"]
    assert new["memory_per_node"] == {"set": True, "infinite": False, "number": 512}
    assert (new["nodes"], new["tres_per_node"]) == ("2", "gres/gpu:h100:1")
    assert new["environment"] == [f"PATH={answers.PATH}"]


def test_accounts() -> None:
    body = {
        "jobs": [
            {
                "job_id": 5,
                "state": {"current": "COMPLETED", "reason": "None"},
                "time": {"end": 1795278840, "total": {"seconds": 2, "microseconds": 513000}},
            },
            {"job_id": 6, "state": {"current": ["RUNNING"]}, "time": {"end": 0}},
        ]
    }
    done, runs = answers.accounted(body)
    assert (done.cpu_ms, done.over, runs.over) == (2513, True, False)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"errors": []}, ""),
        ({}, ""),
        ({"errors": [{"error_code": 2000, "error": "Invalid partition name specified"}]},
         "Invalid partition name specified"),
        ({"errors": [{"error_number": -1, "description": "slurmctld config is unable to load"}]},
         "slurmctld config is unable to load"),
        ({"errors": [{"error_number": 9}]}, "error 9"),
    ],
)  # fmt: skip
def test_trouble_is_one_sentence(body: dict[str, Any], said: str) -> None:
    assert answers.trouble(body) == said
