"""What Ray 2.60.0 really said (shortened), and what becomes of it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.ray import answers, entrypoint, inventory, orders, reasons
from causeway.adapters.ray.settings import DeviceSettings, parse
from causeway.adapters.ray.values import JobRow, JobState, Mark, Node
from causeway.model.errors import InvalidInput
from causeway.model.jobs import FailureClass
from causeway.model.resources import AcceleratorRequest, Capacity, Resources

URL = {"url": "http://head:8265"}
MARK = Mark(island="isl", tag="t1", job="urn:j", fence=2)
GIB = 1024**3
STATE: dict[str, Any] = {
    "result": True,
    "data": {
        "result": {
            "total": 2,
            "result": [
                {
                    "node_id": "2da8",
                    "node_ip": "10.231.90.11",
                    "is_head_node": True,
                    "state": "ALIVE",
                    "resources_total": {
                        "node:__internal_head__": 1.0,
                        "memory": 4000000000.0,
                        "accelerator_type:H100": 2.0,
                        "CPU": 4.0,
                        "node:10.231.90.11": 1.0,
                        "object_store_memory": 100000000.0,
                        "GPU": 2.0,
                    },
                },
                {"node_id": "77", "state": "DEAD", "resources_total": {"CPU": 8.0}},
            ],
        }
    },
}
STATUS: dict[str, Any] = {
    "data": {
        "clusterStatus": {
            "loadMetricsReport": {
                "usageByNode": {
                    "2da8": {
                        "acceleratorType:H100": [0.0, 2.0],
                        "memory": [1000000.0, 4000000000.0],
                        "GPU": [1.0, 2.0],
                        "CPU": [0.5, 4.0],
                    }
                }
            }
        }
    }
}
ENDED = {
    "type": "SUBMISSION",
    "job_id": None,
    "submission_id": "causeway-isl-t1",
    "status": "FAILED",
    "entrypoint": "exit 3",
    "message": "Job entrypoint command failed with exit code 3, last available logs (truncated to "
    "20,000 chars):\nsomething\n",
    "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR",
    "metadata": answers.metadata(MARK, name="train"),
    "driver_node_id": "2da8",
    "driver_exit_code": 3,
}
PENDING = {
    **ENDED,
    "status": "PENDING",
    "message": "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory, "
    "custom resources) to become available.",
    "error_type": None,
    "driver_node_id": None,
    "driver_exit_code": None,
}
TAKEN = (
    "Traceback (most recent call last):\n  File job_head.py\n"
    "ValueError: Job with submission_id cw-a already exists. Please use a different "
    "submission_id.\n.\n"
)


def node(**total: float) -> Node:
    return Node(id="n", address="10.0.0.1", total=total)


def test_nodes_that_are_alive_with_what_is_used_of_them() -> None:
    (found,) = answers.nodes(STATE, STATUS)
    assert (found.address, found.head, found.type, found.accelerators) == (
        *("10.231.90.11", True, "H100"),
        2,
    )
    assert dict(found.used) == {"CPU": 0.5, "memory": 1000000.0, "GPU": 1.0}
    assert inventory.occupied([found], Capacity(cpu_milli=400)) == Capacity(
        cpu_milli=100, memory_bytes=1000000, accelerators=1
    )


def test_a_dashboard_that_tells_no_usage_costs_figures_and_no_jobs() -> None:
    (found,) = answers.nodes(STATE, {"data": {"clusterStatus": None}})
    assert inventory.occupied([found], Capacity()) == Capacity()
    assert answers.nodes({}, {}) == ()


def test_jobs_that_are_ours() -> None:
    foreign = {**ENDED, "metadata": {"owner": "somebody"}}
    strange = {**ENDED, "status": "UNHEARD_OF"}
    (row,) = answers.jobs([foreign, {**ENDED, "metadata": None}, strange, ENDED])
    assert (row.id, row.state, row.mark) == ("causeway-isl-t1", JobState.FAILED, MARK)
    assert (row.exit_code, row.error, row.node) == (3, "JOB_ENTRYPOINT_COMMAND_ERROR", "2da8")
    assert orders.submission_id(MARK) == row.id


def test_what_an_island_offers() -> None:
    nodes = answers.nodes(STATE, STATUS)
    found = inventory.inventory(
        nodes,
        answers.cluster({"ray_version": "2.60.0"}),
        devices={},
        disk_bytes=7,
        agent_version="1",
    )
    assert (found.engine, found.engine_version, found.nodes) == ("ray", "2.60.0", 1)
    assert found.capacity == found.node
    assert found.capacity.accelerators == 2
    assert {(one.model, one.vendor, one.tdp_w) for one in found.devices} == {
        ("H100", "nvidia", 700)
    }


@pytest.mark.parametrize(
    ("total", "devices", "model", "vendor"),
    [
        ({"GPU": 1.0, "accelerator_type:A100-80G": 1.0}, {}, "A100", "nvidia"),
        ({"GPU": 1.0}, {"GPU": DeviceSettings(model="V100")}, "V100", "nvidia"),
        ({"GPU": 1.0}, {}, "gpu", "other"),
        ({"NPU": 1.0, "accelerator_type:Ascend910B": 1.0}, {}, "Ascend910B", "huawei"),
    ],
)
def test_devices_by_what_ray_calls_them(
    total: dict[str, float], devices: dict[str, DeviceSettings], model: str, vendor: str
) -> None:
    found = inventory.inventory(
        [node(**total)], answers.cluster({}), devices=devices, disk_bytes=0, agent_version=""
    )
    assert [(one.model, one.vendor) for one in found.devices] == [(model, vendor)]


def asks(count: int, model: str = "") -> Resources:
    return Resources(
        cpu_milli=1500,
        memory_bytes=GIB,
        accelerator=AcceleratorRequest(count=count, model=model),
    )


def test_a_need_in_rays_own_terms() -> None:
    nodes = answers.nodes(STATE, STATUS)
    need = inventory.need(asks(2, "h100"), nodes, parse({**URL, "resources": {"fast": 0.5}}))
    assert need is not None
    assert need.plain() == {
        **{"CPU": 1.5, "memory": GIB, "GPU": 2.0},
        **{"fast": 0.5, "accelerator_type:H100": 0.001},
    }
    assert inventory.need(asks(1, "A100"), nodes, parse(URL)) is None
    for seen, settings in ((nodes, {**URL, "grows": True}), ((), URL)):
        later = inventory.need(asks(1, "A100"), seen, parse(settings))
        assert later is not None
        assert "accelerator_type:A100" in later.plain()


def test_accelerators_that_ray_counts_under_another_name() -> None:
    need = inventory.need(asks(2), [node(CPU=8.0, NPU=8.0)], parse(URL))
    assert need is not None
    assert (need.gpus, need.plain()["NPU"]) == (0, 2.0)


SMALL, LARGE = node(CPU=2.0, memory=GIB), node(CPU=8.0, memory=4.0 * GIB)


@pytest.mark.parametrize(
    ("cpus", "ranks", "strategy", "said"),
    [
        (8.0, 1, "", ""),
        (9.0, 1, "", "asks for 9 CPU: its 2 nodes have 8 CPU at most"),
        (2.0, 5, "", ""),
        (2.0, 6, "", "6 ranks"),
        (2.0, 2, "STRICT_SPREAD", ""),
        (4.0, 2, "STRICT_SPREAD", "each on a node of its own"),
        (4.0, 2, "STRICT_PACK", ""),
        (4.0, 3, "STRICT_PACK", "3 ranks"),
    ],
)
def test_what_a_cluster_can_never_hold(cpus: float, ranks: int, strategy: str, said: str) -> None:
    found = inventory.lacking({"CPU": cpus}, ranks, (SMALL, LARGE), strategy=strategy)
    assert said in found
    assert bool(said) == bool(found)


def test_a_gang_spreads_as_wide_as_it_goes() -> None:
    def spread(ranks: int, cpus: float, **more: str) -> str:
        settings = parse({**URL, **more})
        return inventory.strategy({"CPU": cpus}, ranks, (SMALL, LARGE), settings)

    assert spread(2, 2.0) == "STRICT_SPREAD"
    assert spread(2, 4.0) == "SPREAD"
    assert spread(2, 2.0, strategy="PACK") == "PACK"


def test_only_nodes_with_the_custom_resources_are_offered() -> None:
    settings = parse({**URL, "resources": {"licence": 0.5}})
    nodes = (node(CPU=4.0, licence=1.0), node(CPU=4.0))
    assert inventory.offered(nodes, settings.resources) == nodes[:1]
    assert "licence" in inventory.problems(nodes[1:], settings)[0]
    assert "no node" in inventory.problems((), settings)[0]
    assert not inventory.problems(nodes, settings)


def row(state: JobState, message: str = "", **more: Any) -> JobRow:
    return JobRow(id="x", state=state, mark=MARK, message=message, **more)


DIED = "JOB_SUPERVISOR_ACTOR_DIED"


@pytest.mark.parametrize(
    ("seen", "failure", "words"),
    [
        (row(JobState.STOPPED), FailureClass.ENGINE, "stopped in Ray"),
        (
            row(JobState.FAILED, "did not start", error="JOB_SUPERVISOR_ACTOR_START_TIMEOUT"),
            *(FailureClass.REFUSED, "nothing was free"),
        ),
        (
            row(JobState.FAILED, "The actor died because its node has died.", error=DIED),
            *(FailureClass.NODE, "a node of it failed"),
        ),
        (
            row(JobState.FAILED, "killed by the memory monitor", error=DIED),
            *(FailureClass.LIMIT, "ran out of memory"),
        ),
        (
            row(JobState.FAILED, "its node was preempted", error=DIED),
            *(FailureClass.PREEMPTION, "taken back"),
        ),
        (row(JobState.FAILED, "no", error=DIED), FailureClass.ENGINE, "lost the process"),
        (row(JobState.FAILED, "older Ray"), FailureClass.ENGINE, "older Ray"),
        (
            row(JobState.FAILED, "causeway: rank 1: gone", exit_code=reasons.LOST_NODE),
            *(FailureClass.NODE, "rank 1: gone"),
        ),
    ],
)
def test_what_rays_ends_mean(seen: JobRow, failure: FailureClass, words: str) -> None:
    found = reasons.end(seen)
    assert found is not None
    assert found[0] is failure
    assert words in found[1]


@pytest.mark.parametrize(
    "seen",
    [
        row(JobState.SUCCEEDED),
        row(JobState.RUNNING),
        row(JobState.FAILED, "logs", exit_code=3, error="JOB_ENTRYPOINT_COMMAND_ERROR"),
    ],
)
def test_of_a_programs_own_end_ray_knows_nothing_better(seen: JobRow) -> None:
    assert reasons.end(seen) is None


def test_a_node_that_does_not_see_the_folder() -> None:
    lost = "python: can't open file '/x/ray-1.py': [Errno 2] No such file or directory"
    assert reasons.is_unseen(row(JobState.FAILED, lost, exit_code=2))
    assert reasons.is_unseen(row(JobState.FAILED, "", exit_code=reasons.UNSEEN_FOLDER))
    assert not reasons.is_unseen(row(JobState.FAILED, "", exit_code=2))
    assert answers.last_line(TAKEN).startswith("ValueError: Job with submission_id cw-a already")


@pytest.mark.parametrize(
    ("plain", "where"),
    [
        ({}, "$.engine"),
        ({"url": "head:8265"}, "$.engine.url"),
        ({**URL, "colour": 1}, "$.engine.colour"),
        ({**URL, "strategy": "SPIRAL"}, "$.engine.strategy"),
        ({**URL, "resources": {"CPU": 1}}, "$.engine.resources.CPU"),
        ({**URL, "verify": "/nowhere.pem"}, "$.engine.verify"),
        ({**URL, "poll_s": 0}, "$.engine.poll_s"),
        ({**URL, "timeout_s": 0}, "$.engine.timeout_s"),
        ({**URL, "wait_s_max": -1}, "$.engine.wait_s_max"),
    ],
)
def test_a_wrong_setting_is_named(plain: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(plain)
    assert caught.value.where == where


def test_the_entrypoint_keeps_to_python_3_6_and_to_what_is_said_twice() -> None:
    ast.parse(Path(entrypoint.__file__).read_text(), feature_version=(3, 6))
    assert entrypoint.NODE_ADDRESS == orders.NODE_ADDRESS
    for name in ("UNSEEN_FOLDER", "NO_RAY", "LOST_NODE", "LOST_WORKER"):
        assert getattr(entrypoint, name) == getattr(reasons, name)
