"""What a 1.20 API server said in our tests, cut to what is read of it -> values."""

from __future__ import annotations

from typing import Any

import pytest

from causeway.adapters.kubernetes import answers
from causeway.adapters.kubernetes.values import JOB_SETS, Mark

OWN = {"causeway/island": "isl", "causeway/tag": "t1", "causeway/rank": "1"}
NOTES = {"causeway/job": "urn:cpi:test:job:a", "causeway/fence": "3"}


def job(*conditions: dict[str, str], **more: Any) -> dict[str, Any]:
    meta = {"name": "causeway-t1-1", "labels": OWN, "annotations": NOTES, **more}
    return {"metadata": meta, "spec": {}, "status": {"conditions": list(conditions)}}


def pod(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    named = {"name": "p", "labels": OWN, **meta}
    return {"metadata": named, "spec": {"nodeName": "node1"}, "status": status}


def test_a_job_is_known_by_its_mark() -> None:
    listed = {"items": [job(), {"metadata": {"name": "x"}, "spec": {}}]}
    (found,) = answers.jobs(listed)
    assert found.mark == Mark(island="isl", tag="t1", job="urn:cpi:test:job:a", fence=3)
    assert not found.over


@pytest.mark.parametrize(
    ("kind", "status", "over"),
    [
        ("Failed", "True", True),
        ("Complete", "True", True),
        ("Completed", "True", True),
        ("Failed", "False", False),
        ("Suspended", "True", False),
    ],
)
def test_a_job_is_over_by_its_conditions(kind: str, status: str, over: bool) -> None:
    said = {"type": kind, "status": status, "reason": "BackoffLimitExceeded"}
    (found,) = answers.jobs({"items": [job(said)]}, kind=JOB_SETS)
    assert found.over is over
    assert (found.reason == "BackoffLimitExceeded") is (kind == "Failed" and over)


def test_a_pod_says_what_it_waits_for() -> None:
    unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
    }
    waits = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}
    (first, second) = answers.pods(
        {
            "items": [
                pod({"phase": "Pending", "conditions": [unscheduled]}),
                pod({"phase": "Pending", "containerStatuses": [{"state": waits}]}),
            ]
        }
    )
    assert first.unschedulable == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    assert (second.waiting, second.waiting_message) == ("ImagePullBackOff", "Back-off")


def test_a_pod_says_how_it_ended() -> None:
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "message": "last words"}}
    status = {"phase": "Failed", "containerStatuses": [{"state": ended}], "reason": "Evicted"}
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    (found,) = answers.pods({"items": [pod({**status, "conditions": [gone]})]})
    assert (found.ended, found.code, found.words) == ("OOMKilled", 137, "last words")
    assert (found.reason, found.disrupted, found.active) == (
        "Evicted",
        "PreemptionByScheduler",
        False,
    )


@pytest.mark.parametrize("place", ["labels", "annotations"])
def test_the_rank_of_an_indexed_pod_is_its_index(place: str) -> None:
    meta = {"labels": {"causeway/tag": "t1"}, "annotations": {}}
    meta[place]["batch.kubernetes.io/job-completion-index"] = "5"
    (found,) = answers.pods({"items": [pod({}, **meta)]})
    assert found.rank == 5


def test_a_node_says_what_it_has_and_whether_it_is_ready() -> None:
    has = {"cpu": "7910m", "memory": "16Gi", "nvidia.com/gpu": "2", "pods": "110"}
    ready = [{"type": "Ready", "status": "True"}]
    taints = [
        {"key": "a", "effect": "NoSchedule", "value": "b"},
        {"key": "c", "effect": "PreferNoSchedule"},
    ]
    node = {
        "metadata": {"name": "n", "labels": {"l": "v"}},
        "spec": {"taints": taints},
        "status": {"allocatable": has, "conditions": ready},
    }
    cordoned = {**node, "spec": {"unschedulable": True}}
    first, second = answers.nodes({"items": [node, cordoned]})
    assert (first.cpu_milli, first.memory_bytes, first.resources) == (
        7910,
        16 * 1024**3,
        {"nvidia.com/gpu": 2},
    )
    assert first.taints == (("a", "b", "NoSchedule"),)
    assert (first.ready, second.ready) == (True, False)


def test_quotas_of_some_pods_only_are_left_out() -> None:
    whole = {
        "metadata": {"name": "q"},
        "spec": {},
        "status": {"hard": {"requests.cpu": "4"}, "used": {"requests.cpu": "500m"}},
    }
    scoped = {"metadata": {"name": "s"}, "spec": {"scopes": ["BestEffort"]}, "status": {}}
    (found,) = answers.quotas({"items": [whole, scoped]})
    assert (found.hard, found.used) == ({"requests.cpu": 4000}, {"requests.cpu": 500})


def test_other_peoples_pods_count_and_ours_and_ended_ones_do_not() -> None:
    asks = {
        "resources": {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"amd.com/gpu": "1"}}
    }
    others = {"metadata": {}, "spec": {"containers": [asks]}, "status": {"phase": "Running"}}
    ended = {**others, "status": {"phase": "Succeeded"}}
    ours = {**others, "metadata": {"labels": OWN}}
    held = answers.requested({"items": [others, ended, ours]}, accelerators=["amd.com/gpu"])
    assert (held.cpu_milli, held.memory_bytes, held.accelerators) == (2000, 1024**3, 1)
