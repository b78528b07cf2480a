"""The engine against real clusters that work: what runs, how it ends, what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from rayisland import Island, Key

from causeway.adapters.ray.dashboard import Dashboard
from causeway.adapters.ray.settings import parse
from causeway.adapters.ray.values import Order
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import AcceleratorRequest, Resources

pytestmark = pytest.mark.ray
MIB = 1024**2
SMALL = Resources(cpu_milli=500, memory_bytes=64 * MIB)
Islands = Callable[..., Island]
Cluster = Any


def devices(count: int, model: str = "H100") -> Resources:
    wanted = AcceleratorRequest(count=count, model=model)
    return Resources(cpu_milli=500, memory_bytes=64 * MIB, accelerator=wanted)


def up(here: Island, key: Key) -> None:
    """Wait until a program has said so."""
    here.cluster.until("its program is up", lambda: here.work(key, "up"))


def test_clusters_tell_what_they_have(uno: Cluster, due: Cluster, island: Islands) -> None:
    found = island(uno).the.probe()
    assert (found.engine, found.engine_version) == ("ray", "2.60.0")
    assert (found.nodes, found.capacity.cpu_milli, found.capacity.accelerators) == (2, 6000, 2)
    assert found.node is not None
    assert (found.node.cpu_milli, found.node.accelerators) == (4000, 2)
    assert {(one.model, one.vendor) for one in found.devices} == {("H100", "nvidia")}
    other = island(due).the.probe()
    assert (other.nodes, other.capacity.cpu_milli) == (1, 4000)
    assert {(one.model, one.vendor) for one in other.devices} == {("Ascend910B", "huawei")}


def test_ends_logs_and_devices_of_several_at_once(uno: Cluster, island: Islands) -> None:
    here = island(uno)
    bad = here.start("echo out; echo err >&2; exit 3", resources=SMALL)
    first, second = (
        here.start("echo $CUDA_VISIBLE_DEVICES; sleep 3", resources=devices(1)) for _ in range(2)
    )
    once = here.start("echo $HIDDEN; echo ran >> ran", setup="echo set >> ran", resources=SMALL)
    status = here.ended(bad)
    assert (status.phase, status.exit_code, status.failure) == (
        *(Phase.FAILED, 3),
        FailureClass.USER,
    )
    assert (here.out(bad), here.out(bad, "rank-0.stderr")) == ("out\n", "err\n")
    for key in (first, second, once):
        assert here.ended(key).phase == Phase.SUCCEEDED
    assert sorted((here.out(first), here.out(second))) == ["0\n", "1\n"]
    assert here.the.poll()[first].energy_quality.value == "q5_nameplate"
    assert here.work(once, "ran") == "set\nran\n"
    assert here.out(once) == "hidden-value\n"
    logs = uno.ask(f"/api/jobs/{here.row(once)['submission_id']}/logs").text
    assert "hidden-value" not in json.dumps(uno.jobs()) + logs


def test_custom_resources_choose_the_node(uno: Cluster, island: Islands) -> None:
    here = island(uno, resources={"fast": 0.5})
    found = here.the.probe()
    assert (found.nodes, found.capacity.cpu_milli) == (1, 2000)
    key = here.start("true", resources=SMALL)
    assert here.ended(key).phase == Phase.SUCCEEDED
    (fast,) = [one for one in uno.alive() if "fast" in one["resources_total"]]
    assert here.row(key)["driver_node_id"] == fast["node_id"]


def test_a_cluster_that_counts_npus_and_asks_for_a_token(due: Cluster, island: Islands) -> None:
    here = island(due)
    here.the.probe()
    keys = [here.start("true", resources=devices(2, "ascend910b")) for _ in range(2)]
    for key in keys:
        assert here.ended(key).phase == Phase.SUCCEEDED
    gang = here.start("echo $RANK of $WORLD_SIZE", resources=devices(1), num_nodes=2)
    assert here.ended(gang).failure is FailureClass.REFUSED
    gang = here.start("echo $RANK of $WORLD_SIZE", resources=devices(1, "Ascend910B"), num_nodes=2)
    assert here.ended(gang).phase == Phase.SUCCEEDED
    assert [here.out(gang, f"rank-{rank}.stdout") for rank in range(2)] == ["0 of 2\n", "1 of 2\n"]


def test_what_can_never_run_is_refused_by_what_the_cluster_has(
    uno: Cluster, island: Islands
) -> None:
    here = island(uno)
    here.the.probe()
    large = Resources(cpu_milli=5000, memory_bytes=64 * MIB)
    for resources, ranks, words in (
        (large, 1, "one rank that asks for 5 CPU: its 2 nodes have 4 CPU at most"),
        (devices(1, "A100"), 1, "no node of this Ray cluster has a A100"),
        (devices(3), 1, "3 GPU"),
        (SMALL, 40, "40 ranks"),
    ):
        status = here.ended(here.start("true", resources=resources, num_nodes=ranks))
        assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.REFUSED)
        assert words in status.message
    assert not uno.jobs("PENDING")


def test_a_gang_has_a_rank_on_each_node(uno: Cluster, island: Islands) -> None:
    here = island(uno)
    script = (
        "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT; "
        "readlink /proc/self/ns/pid; nice"
    )
    key = here.start(script, resources=SMALL, num_nodes=2, setup="echo once >> set")
    waits = here.until(key, lambda status: status.message or status.phase != Phase.STARTING)
    assert waits.phase in (Phase.STARTING, Phase.RUNNING)
    assert here.ended(key).phase == Phase.SUCCEEDED
    first, second = (here.out(key, f"rank-{rank}.stdout").split() for rank in range(2))
    assert first[:4] == ["0", "2", "0", "1"]
    assert second[:4] == ["1", "2", "0", "1"]
    assert first[4:6] == second[4:6]
    assert first[4] in {one["node_ip"] for one in uno.alive()}
    # Each node of these clusters has a process namespace of its own.
    assert first[6] != second[6]
    assert first[7] == second[7] == "0"
    assert here.work(key, "set") == "once\n"


def test_a_gang_ends_with_its_first_bad_rank(uno: Cluster, island: Islands) -> None:
    here = island(uno)
    key = here.start('if [ "$RANK" = 1 ]; then exit 7; fi; sleep 600', resources=SMALL, num_nodes=2)
    status = here.ended(key)
    assert (status.exit_code, status.message) == (7, "rank 1 ended with exit code 7")


def test_a_cancel_while_it_waits_and_while_it_runs(uno: Cluster, island: Islands) -> None:
    here = island(uno)
    others = uno.fill()
    pending = here.start("echo ran > ran", resources=SMALL)
    gang = here.start("echo ran > ran", resources=SMALL, num_nodes=2)
    here.until(pending, lambda status: "(PENDING)" in status.message)
    here.until(gang, lambda status: "placement group" in status.message)
    looker = island(uno)
    uno.until("what others hold is seen", lambda: looker.the.condition().occupied.cpu_milli == 6000)
    for key in (pending, gang):
        here.the.stop(*key, grace_ms=60_000)
        assert here.ended(key).phase == Phase.STOPPED
    at_once = here.start("echo ran > ran", resources=SMALL)
    here.the.stop(*at_once, grace_ms=0)
    assert here.ended(at_once).phase == Phase.STOPPED
    uno.empty(others)
    running = here.start(
        "trap 'echo saved > saved; exit 0' TERM; echo up > up; while :; do sleep 0.1; done",
        resources=SMALL,
    )
    up(here, running)
    here.the.stop(*running, grace_ms=60_000)
    assert here.ended(running).phase == Phase.STOPPED
    assert here.work(running, "saved") == "saved\n"
    for key in (pending, gang, at_once):
        uno.until("Ray has let it go", lambda key=key: here.row(key)["status"] != "PENDING")
        assert not here.work(key, "ran")


def test_a_second_submission_under_the_same_name_is_not_run(uno: Cluster, island: Islands) -> None:
    here = island(uno)
    launch = here.launch("echo run >> runs; echo up > up; sleep 600", resources=SMALL)
    here.the.start(launch)
    here.the.start(launch)
    key = launch.job, launch.fence
    up(here, key)
    row = here.row(key)
    again = {"entrypoint": row["entrypoint"], "submission_id": row["submission_id"]}
    reply = uno.ask("/api/jobs/", "POST", json=again)
    assert "already exists" in reply.text
    order = Order(id=row["submission_id"], entrypoint=row["entrypoint"], metadata={}, need=None)
    Dashboard(parse(uno.settings())).submit(order)
    # And under another name, the rank is taken.
    twin = {"entrypoint": row["entrypoint"], "submission_id": f"{row['submission_id']}-twin"}
    assert uno.ask("/api/jobs/", "POST", json=twin).status_code == 200
    uno.until("its twin is over", lambda: twin["submission_id"] in uno.ids("FAILED"))
    uno.ask(f"/api/jobs/{twin['submission_id']}", "DELETE")
    assert here.work(key, "runs") == "run\n"
    here.the.stop(*key, grace_ms=0)
    assert here.ended(key).phase == Phase.STOPPED


def test_an_agent_that_comes_back_finds_its_jobs_and_doubles_none(
    uno: Cluster, island: Islands
) -> None:
    here = island(uno)
    script = "echo run >> runs; echo up > up; while [ ! -e go ]; do sleep 0.1; done; exit 4"
    runs = here.start(script, resources=SMALL)
    gang = here.start(script, resources=SMALL, num_nodes=2)
    ends = here.start(script.replace("exit 4", "exit 6"), resources=SMALL)
    for key in (runs, gang, ends):
        up(here, key)
    uno.until("so is its other rank", lambda: here.work(gang, "runs") == "run\nrun\n")
    here.close()
    (here.folder(ends) / "work" / "go").touch()
    uno.until("one has ended meanwhile", lambda: here.row(ends)["status"] == "FAILED")
    here.open()
    assert here.ended(ends).exit_code == 6
    began = here.runs(runs).started_monotonic_ms
    for key in (runs, gang):
        (here.folder(key) / "work" / "go").touch()
        status = here.ended(key)
        assert (status.exit_code, status.failure) == (4, FailureClass.USER)
    assert here.the.poll()[runs].started_monotonic_ms == began
    assert here.work(runs, "runs") == "run\n"
    assert here.work(gang, "runs") == "run\nrun\n"


def test_without_an_agent_a_job_ends_with_its_lease(uno: Cluster, island: Islands) -> None:
    here = island(uno)
    here.close()
    here.open(granted_ms=8_000)
    script = "echo up > up; trap '' TERM; while :; do date +%s >> beat; sleep 0.2; done"
    granted = here.start(script, resources=SMALL)
    waits = here.start(script, resources=SMALL, deadline_stop=False)

    def both_up() -> bool:
        here.grant(8_000)
        return bool(here.work(granted, "up") and here.work(waits, "up"))

    uno.until("both are up", both_up)
    here.close()
    uno.until("its guard has ended it", lambda: here.row(granted)["status"] == "FAILED")
    assert here.row(waits)["status"] == "RUNNING"
    here.open()
    assert here.ended(granted).failure is FailureClass.ISLAND
    here.the.stop(*waits, grace_ms=0)
    assert here.ended(waits).phase == Phase.STOPPED
