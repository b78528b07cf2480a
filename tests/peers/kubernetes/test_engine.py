"""The engine against a real 1.20 control plane, virtual kubelets: what runs, and how it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kubecluster import Cluster
from kubeisland import Island, gpus

from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

pytestmark = pytest.mark.kubernetes
Islands = Callable[..., Island]


def test_a_cluster_tells_what_it_has(cluster: Cluster, island: Islands) -> None:
    found = island(cluster).the.probe()
    assert (found.engine, found.engine_version) == ("kubernetes", "1.20.2")
    assert (found.nodes, found.capacity.cpu_milli, found.capacity.accelerators) == (2, 16000, 4)
    assert found.node is not None
    assert (found.node.cpu_milli, found.node.accelerators) == (8000, 2)
    assert {(one.model, one.vendor) for one in found.devices} == {("H100", "nvidia")}
    assert len(found.devices) == 4


def test_a_job_runs_and_ends_with_its_code_and_its_logs(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start("echo out; echo err >&2; echo $CAUSEWAY_NODE_RANK >here; exit 7")
    status = here.ended(key)
    assert (status.phase, status.exit_code, status.failure) == ("failed", 7, FailureClass.USER)
    assert (here.out(key), here.out(key, "rank-0.stderr")) == ("out\n", "err\n")
    assert here.work(key, "here") == "0\n"
    assert status.message == "rank 0 ended with exit code 7"


def test_a_gang_runs_as_one(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    script = "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE; echo $MASTER_ADDR $MASTER_PORT"
    key = here.start(script, num_nodes=2, setup="echo once >> set")
    assert here.ended(key).phase == Phase.SUCCEEDED
    first, second = (here.out(key, f"rank-{rank}.stdout").splitlines() for rank in range(2))
    assert (first[0], second[0]) == ("0 2 0 1", "1 2 0 1")
    assert first[1] == second[1]
    assert first[1].startswith("127.0.0.1 ")
    assert here.work(key, "set") == "once\n"


def test_a_gang_ends_with_its_first_bad_rank(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start('if [ "$RANK" = 1 ]; then exit 7; fi; sleep 600', num_nodes=2)
    status = here.ended(key)
    assert (status.exit_code, status.message) == (7, "rank 1 ended with exit code 7")


def test_devices_are_handed_out_by_kubernetes(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    script = "echo $NVIDIA_VISIBLE_DEVICES; until [ -e go ]; do sleep 0.05; done"
    keys = [here.start(script, resources=gpus(1)) for _ in range(4)]
    for key in keys:
        here.until(key, lambda _, key=key: here.out(key))
    fifth = here.start("true", resources=gpus(1))
    here.says(fifth, "Insufficient nvidia.com/gpu")
    for key in keys:
        (here.folder(key) / "work" / "go").touch()
    for key in (*keys, fifth):
        assert here.ended(key).phase == Phase.SUCCEEDED
    assert sorted(here.out(key).strip() for key in keys) == ["0", "0", "1", "1"]
