"""What goes wrong in a real control plane, or is done to it: each with its reason and class."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from kubecluster import Cluster, running
from kubeisland import SMALL, Island, gpus

from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

pytestmark = pytest.mark.kubernetes
Islands = Callable[..., Island]
UP = "touch up; "
WAIT = "until [ -e go ]; do sleep 0.05; done; "
LEASE_MS = 10_000


@pytest.fixture(scope="module")
def weak() -> Iterator[Cluster]:
    """A cluster that is broken by its tests, each mending it; it misses a node soon."""
    with running(grace_period_s=10) as one:
        yield one


def up(here: Island, key: tuple[str, int]) -> None:
    here.until(key, lambda _: (here.folder(key) / "work/up").exists())


def go(here: Island, key: tuple[str, int]) -> None:
    (here.folder(key) / "work/go").touch()


def test_a_full_quota_refuses_with_one_sentence(cluster: Cluster, island: Islands) -> None:
    cluster.post("/api/v1/namespaces", {"metadata": {"name": "tight"}})
    cluster.until("it has its account", lambda: cluster.serviceaccount("default", "tight"))
    cluster.claim("shared", "tight")
    hard = {"requests.cpu": "1", "requests.memory": "1Gi"}
    quota = {"metadata": {"name": "small"}, "spec": {"hard": hard}}
    cluster.post("/api/v1/namespaces/tight/resourcequotas", quota)
    path = "/api/v1/namespaces/tight/resourcequotas/small"
    cluster.until("the quota is known", lambda: cluster.get(path).get("status", {}).get("hard"))
    here = island(cluster, namespace="tight")
    assert here.the.probe().capacity.cpu_milli == 1000
    large = replace(SMALL, cpu_milli=800)
    first = here.start(UP + WAIT, resources=large)
    up(here, first)
    status = here.ended(here.start("true", resources=large))
    assert status.failure is FailureClass.REFUSED
    words = "Kubernetes refused it: a quota of the namespace is used up (exceeded quota: small"
    assert status.message.startswith(words)
    go(here, first)
    assert here.ended(first).phase == Phase.SUCCEEDED


def test_a_model_that_no_node_has_is_refused(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    status = here.ended(here.start("true", resources=gpus(1, "A100")))
    assert status.failure is FailureClass.REFUSED
    assert "A100" in status.message


def test_an_image_that_cannot_be_pulled_is_refused_in_the_end(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster, image_s_max=1)
    key = here.start("true", image="absent/image:1")
    assert "ImagePullBackOff" in here.says(key, "its image cannot be pulled").message
    assert here.ended(key).failure is FailureClass.REFUSED


def test_a_priority_class_that_is_not_there_is_refused(cluster: Cluster, island: Islands) -> None:
    here = island(cluster, priority_class="none-such")
    status = here.ended(here.start("true"))
    assert status.failure is FailureClass.REFUSED
    assert "its priority class is not there" in status.message


def test_a_python_that_is_not_in_the_image_is_told(cluster: Cluster, island: Islands) -> None:
    here = island(cluster, python="/none/python3")
    status = here.ended(here.start("true"))
    assert status.phase == Phase.FAILED
    assert "/none/python3" in status.message


def test_too_much_memory_is_a_limit(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start(
        "exec /usr/bin/python3 -c \"import time; x = b'x' * 400_000_000; time.sleep(600)\""
    )
    status = here.ended(key)
    assert (status.failure, status.exit_code) == (FailureClass.LIMIT, 137)
    assert "OOMKilled" in status.message


def test_a_time_limit_is_kept(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    status = here.ended(here.start("sleep 600", time_limit_s=1))
    assert status.failure is FailureClass.LIMIT
    assert status.message == "it ran longer than its limit of 1 s"


def test_an_eviction_is_a_preemption(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start(UP + WAIT)
    up(here, key)
    # The virtual kubelet takes this for a shortage of memory.
    name = here.pods(key)[0]["metadata"]["name"]
    change = json.dumps({"metadata": {"annotations": {"evict": "now"}}})
    headers = {"Content-Type": "application/merge-patch+json"}
    path = f"/api/v1/namespaces/default/pods/{name}"
    cluster.ask("PATCH", path, content=change, headers=headers)
    status = here.ended(key)
    assert status.failure is FailureClass.PREEMPTION
    assert "Evicted" in status.message


def test_a_job_that_somebody_deletes_is_told_as_that(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start(UP + WAIT)
    up(here, key)
    name = here.jobs(key)[0]["metadata"]["name"]
    path = f"/apis/batch/v1/namespaces/default/jobs/{name}"
    cluster.ask("DELETE", path, params={"propagationPolicy": "Background"})
    status = here.ended(key)
    assert status.failure is FailureClass.ENGINE
    assert "deleted" in status.message


def test_a_pod_that_somebody_deletes_does_not_run_twice(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start("echo x >>count; " + UP + WAIT)
    up(here, key)
    name = here.pods(key)[0]["metadata"]["name"]
    cluster.ask("DELETE", f"/api/v1/namespaces/default/pods/{name}")
    status = here.ended(key)
    assert status.failure in (FailureClass.PREEMPTION, FailureClass.ENGINE)
    assert here.work(key, "count") == "x\n"


def test_work_of_higher_priority_preempts(cluster: Cluster, island: Islands) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    cluster.post(classes, {"metadata": {"name": "urgent"}, "value": 1000})
    here = island(cluster)
    keys = [here.start(UP + WAIT, resources=gpus(2)) for _ in range(2)]
    for key in keys:
        up(here, key)
    limits = {"cpu": "100m", "memory": "64Mi", "nvidia.com/gpu": "2"}
    container = {"name": "a", "image": "python:3.11", "command": ["sleep", "600"]}
    pod = {
        "metadata": {"name": "urgent"},
        "spec": {
            "priorityClassName": "urgent",
            "terminationGracePeriodSeconds": 0,
            "containers": [{**container, "resources": {"limits": limits}}],
        },
    }
    cluster.post("/api/v1/namespaces/default/pods", pod)
    status = here.until(keys[0], lambda _: _ends(here, keys))
    status = next(one for one in here.the.poll().values() if one.phase == Phase.FAILED)
    assert status.failure is FailureClass.PREEMPTION
    cluster.ask("DELETE", "/api/v1/namespaces/default/pods/urgent")
    for key in keys:
        go(here, key)


def _ends(here: Island, keys: list[tuple[str, int]]) -> bool:
    return any(here.the.poll()[key].phase == Phase.FAILED for key in keys)


def test_secrets_are_in_no_record_of_kubernetes(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start('echo "$TOKEN" >told; ' + UP + WAIT, envs={"TOKEN": "s3cr3t-of-ann"})
    up(here, key)
    assert here.work(key, "told") == "s3cr3t-of-ann\n"
    shown = json.dumps([here.jobs(key), here.pods(key), cluster.get("/api/v1/events")])
    assert "s3cr3t-of-ann" not in shown
    go(here, key)


def test_a_pod_sees_its_own_folder_of_the_volume_alone(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    (here.root / "identity.json").write_text("the island's key")
    other = here.start("true")
    here.ended(other)
    key = here.start(f"ls {here.root} {here.root}/attempts; touch {here.root}/runner/x || true")
    assert here.ended(key).phase == Phase.SUCCEEDED
    seen = here.out(key).split()
    assert here.folder(key).name in seen
    assert here.folder(other).name not in seen
    assert "identity.json" not in seen
    assert not (here.root / "runner/x").exists()


def test_while_the_api_server_is_away_nothing_is_lost(weak: Cluster, island: Islands) -> None:
    here = island(weak)
    ends = here.start("echo x >>count; " + UP + WAIT + "exit 4")
    runs = here.start("echo x >>count; " + UP + WAIT)
    stops = here.start(UP + WAIT)
    for key in (ends, runs, stops):
        up(here, key)
    weak.kill_apiserver()
    weak.until("the island says so", lambda: here.the.condition().problems)
    assert "Kubernetes does not answer" in here.the.condition().problems[0]
    go(here, ends)
    assert here.ended(ends).exit_code == 4
    here.the.stop(*stops, grace_ms=0)
    assert here.ended(stops).phase == Phase.STOPPED
    refused = here.ended(here.start("true"))
    assert refused.failure is FailureClass.ENGINE
    assert here.the.poll()[runs].phase == Phase.RUNNING
    weak.start_apiserver()
    weak.until("the island is well again", lambda: not here.the.condition().problems)
    go(here, runs)
    assert here.ended(runs).phase == Phase.SUCCEEDED
    assert here.work(runs, "count") == here.work(ends, "count") == "x\n"
    assert here.ended(here.start("true")).phase == Phase.SUCCEEDED


def test_a_node_that_is_gone_is_told_and_its_work_does_not_run_twice(
    weak: Cluster, island: Islands
) -> None:
    here = island(weak, node_lost_s=1, lease_ms=LEASE_MS)
    key = here.start("echo x >>count; " + UP + WAIT)
    up(here, key)
    lost = here.pods(key)[0]["spec"]["nodeName"]
    other = here.start(UP + WAIT)
    up(here, other)
    weak.kill(lost)
    status = here.ended(key)
    assert status.failure is FailureClass.NODE, status
    assert lost in status.message
    assert here.work(key, "count") == "x\n"
    occupied = weak.until("the island sees it", lambda: here.the.condition().occupied.cpu_milli)
    assert occupied >= 8000
    weak.start_node(int(lost.removeprefix("node")))
    weak.until("it is back", lambda: len(weak.ready()) == 2)
