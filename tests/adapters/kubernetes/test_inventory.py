"""A cluster as an island: nodes, quotas, devices, and what a request for devices is there."""

from __future__ import annotations

from typing import Any

import pytest

from causeway.adapters.kubernetes import inventory
from causeway.adapters.kubernetes.settings import Settings, parse
from causeway.adapters.kubernetes.values import Cluster, Node, Quota
from causeway.model.resources import AcceleratorRequest, Capacity

GIB = 1024**3
H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}


def settings(**more: Any) -> Settings:
    return parse({"claim": "c", "mount": "/d", "image": "i", **more})


def node(name: str, **more: Any) -> Node:
    had = {"ready": True, "cpu_milli": 8000, "memory_bytes": 16 * GIB}
    return Node(name=name, **{**had, **more})


def cluster(*nodes: Node, **more: Any) -> Cluster:
    return Cluster(nodes=nodes, version="1.30.1", **more)


def tell(found: Cluster, **more: Any) -> Any:
    told = inventory.inventory(found, settings(**more), name="k", disk_bytes=1, agent_version="0")
    return told


def test_nodes_add_up_and_a_gpu_is_known_by_its_label() -> None:
    found = tell(cluster(node("a", resources={"nvidia.com/gpu": 2}, labels=H100), node("b")))
    assert (found.nodes, found.capacity.cpu_milli, found.capacity.accelerators) == (2, 16000, 2)
    assert (found.node.cpu_milli, found.node.accelerators) == (8000, 2)
    assert [(one.model, one.vendor, one.index) for one in found.devices] == [
        ("H100", "nvidia", 0),
        ("H100", "nvidia", 1),
    ]
    assert found.devices[0].memory_bytes == 80 * GIB


def test_a_slice_of_a_gpu_is_a_device_of_its_own() -> None:
    found = tell(cluster(node("a", resources={"nvidia.com/mig-1g.10gb": 7}, labels=H100)))
    assert len(found.devices) == 7
    one, whole = (
        found.devices[0],
        tell(cluster(node("a", resources={"nvidia.com/gpu": 1}, labels=H100))),
    )
    assert (one.model, one.memory_bytes) == ("H100-1g.10gb", 10 * GIB)
    assert one.nameplate_ncu == pytest.approx(whole.devices[0].nameplate_ncu / 7)


def test_a_share_of_a_gpu_is_what_the_profile_says() -> None:
    told = {
        "nvidia.com/gpu": {"model": "V100-8g", "memory_gib": 8, "also": {"nvidia.com/gpumem": 8000}}
    }
    hami = cluster(
        node("a", resources={"nvidia.com/gpu": 10, "nvidia.com/gpumem": 10}, labels=H100)
    )
    found = tell(hami, devices=told)
    assert [(one.model, one.memory_bytes) for one in found.devices] == [("V100-8g", 8 * GIB)] * 10
    wish = inventory.wish(
        AcceleratorRequest(count=2, model="v100-8G"), hami, settings(devices=told)
    )
    assert wish is not None
    assert wish.resources == {"nvidia.com/gpu": 2, "nvidia.com/gpumem": 8000}
    assert not wish.node_labels


def test_nodes_that_work_may_not_go_to_are_not_offered() -> None:
    taint = (("dedicated", "db", "NoSchedule"),)
    sick = (("node.kubernetes.io/unreachable", "", "NoExecute"),)
    there = cluster(node("a", taints=taint), node("b", taints=sick, ready=False), node("c"))
    assert tell(there).nodes == 2
    tolerated = [{"key": "dedicated", "operator": "Equal", "value": "db"}]
    assert tell(there, tolerations=tolerated).nodes == 3
    assert tell(there, node_labels={"pool": "gpu"}).capacity == Capacity(disk_bytes=1)


def test_a_node_that_is_not_ready_is_occupied() -> None:
    there = cluster(node("a", ready=False), node("b"))
    held = inventory.occupied(there, settings(), Capacity())
    assert (held.cpu_milli, held.memory_bytes) == (8000, 16 * GIB)
    none = cluster(node("a", ready=False))
    assert inventory.problems(none, settings()) == ("no node that work may go to is ready",)
    assert inventory.problems(cluster(), settings())
    assert not inventory.problems(there, settings())


def test_a_quota_is_the_least() -> None:
    quota = Quota(
        name="q",
        hard={
            "requests.cpu": 4000,
            "limits.memory": 8 * GIB * 1000,
            "requests.nvidia.com/gpu": 1000,
        },
        used={"requests.cpu": 3000},
    )
    there = cluster(node("a", resources={"nvidia.com/gpu": 2}, labels=H100), quotas=(quota,))
    found = tell(there)
    assert found.capacity == Capacity(
        cpu_milli=4000, memory_bytes=8 * GIB, disk_bytes=1, accelerators=1
    )
    assert len(found.devices) == 1
    held = inventory.occupied(there, settings(), Capacity(cpu_milli=1000))
    assert held.cpu_milli == 2000


def test_without_a_look_at_nodes_the_quota_says_it_all() -> None:
    quota = Quota(
        name="q",
        hard={"cpu": 4000, "memory": 8 * GIB * 1000, "requests.nvidia.com/gpu": 2000},
        used={},
    )
    blind = Cluster(quotas=(quota,))
    found = tell(blind)
    assert (found.capacity.cpu_milli, found.capacity.accelerators) == (4000, 2)
    assert found.node == found.capacity
    wish = inventory.wish(AcceleratorRequest(count=1), blind, settings())
    assert wish is not None
    assert wish.resources == {"nvidia.com/gpu": 1}
    assert inventory.wish(AcceleratorRequest(count=1, model="H100"), blind, settings()) is None
    assert not inventory.problems(blind, settings())


def test_a_model_is_a_resource_and_a_label() -> None:
    a100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    gpu = {"nvidia.com/gpu": 1}
    there = cluster(node("a", resources=gpu, labels=H100), node("b", resources=gpu, labels=a100))
    wish = inventory.wish(AcceleratorRequest(count=1, model="a100"), there, settings())
    assert wish is not None
    assert (wish.resources, dict(wish.node_labels)) == (
        gpu,
        {"nvidia.com/gpu.product": ("NVIDIA-A100-SXM4-80GB",)},
    )
    any_ = inventory.wish(AcceleratorRequest(count=1), there, settings())
    assert any_ is not None
    assert not any_.node_labels
    assert inventory.wish(AcceleratorRequest(count=1, model="B200"), there, settings()) is None


def test_a_device_class_is_counted_by_the_profile() -> None:
    told = {"gpu.example.com": {"model": "L4", "device_class": "gpu.example.com", "count": 2}}
    there = cluster(node("a"), node("b"))
    assert tell(there, devices=told).capacity.accelerators == 4
    wish = inventory.wish(AcceleratorRequest(count=1), there, settings(devices=told))
    assert wish is not None
    assert (wish.device_class, wish.count, wish.resources) == ("gpu.example.com", 1, {})
