"""The engine against a real cluster that works: what runs, how it ends, what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cluster import Cluster
from island import Island

from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import AcceleratorRequest, Resources

pytestmark = pytest.mark.peers
MIB = 1024**2
SMALL = Resources(cpu_milli=1000, memory_bytes=64 * MIB)
Islands = Callable[..., Island]


def gpus(count: int, model: str = "H100") -> Resources:
    wanted = AcceleratorRequest(count=count, model=model)
    return Resources(cpu_milli=1000, memory_bytes=64 * MIB, accelerator=wanted)


def test_a_cluster_tells_what_it_has(cluster: Cluster, island: Islands) -> None:
    found = island(cluster).the.probe()
    assert (found.engine, found.engine_version[:5]) == ("slurm", "22.05")
    assert (found.nodes, found.capacity.cpu_milli, found.capacity.accelerators) == (2, 8000, 4)
    assert found.node is not None
    assert (found.node.cpu_milli, found.node.accelerators) == (4000, 2)
    assert {(one.model, one.vendor) for one in found.devices} == {("H100", "nvidia")}


def test_devices_are_slurms_and_distinct(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    keys = [
        here.start("echo $CUDA_VISIBLE_DEVICES; hostname; sleep 1", resources=gpus(1))
        for _ in range(4)
    ]
    for key in keys:
        assert here.ended(key).phase == Phase.SUCCEEDED
    assert sorted(here.out(key).split()[0] for key in keys) == ["0", "0", "1", "1"]
    energy = here.the.poll()[keys[0]]
    assert energy.energy_mj > 600_000  # a second of 700 W, by its data sheet
    assert energy.energy_quality.value == "q5_nameplate"


def test_a_model_that_is_not_there_is_refused_before_slurm_is_asked(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster)
    here.the.probe()
    status = here.ended(here.start("true", resources=gpus(1, "A100")))
    assert status.failure is FailureClass.REFUSED


def test_a_gang_has_a_rank_on_each_node(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    script = (
        "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $SLURM_PROCID $SLURMD_NODENAME; "
        "echo $MASTER_ADDR $MASTER_PORT"
    )
    key = here.start(script, resources=SMALL, num_nodes=2, setup="echo once >> set")
    assert here.ended(key).phase == Phase.SUCCEEDED
    first, second = (here.out(key, f"rank-{rank}.stdout").splitlines() for rank in range(2))
    assert first[0] == "0 2 0 1 0 uno1"
    assert second[0] == "1 2 0 1 1 uno2"
    assert first[1] == second[1]
    assert here.work(key, "set") == "once\n"


def test_a_gang_ends_with_its_first_bad_rank(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start('if [ "$RANK" = 1 ]; then exit 7; fi; sleep 600', resources=SMALL, num_nodes=2)
    status = here.ended(key)
    assert (status.exit_code, status.message) == (7, "rank 1 ended with exit code 7")


def test_a_job_may_start_job_steps_of_its_own(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    script = 'echo "$SLURM_JOB_ID"; srun --jobid="$SLURM_JOBID" -n1 hostname'
    key = here.start(script, resources=SMALL, envs={"SLURM_CONF": str(cluster.conf)})
    status = here.ended(key)
    assert status.phase == Phase.SUCCEEDED, here.out(key, "rank-0.stderr")
    assert here.out(key).splitlines()[0] == "12345"
    assert len(here.out(key).splitlines()) == 2


def test_what_waits_says_why_and_what_is_foreign_is_occupied(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster)
    cluster.fill()
    key = here.start("true", resources=SMALL)
    status = here.until(key, lambda status: "Slurm:" in status.message)
    assert "(Resources)" in status.message or "(Priority)" in status.message
    other = island(cluster)
    cluster.until(
        "it is seen", lambda: other.the.condition().occupied.cpu_milli == 8000, seconds=40
    )
    cluster.empty()
    assert here.ended(key).phase == Phase.SUCCEEDED


def test_a_cancel_in_each_state(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    cluster.fill()
    pending = here.start("echo ran > ran", resources=SMALL)
    here.until(pending, lambda status: "Slurm:" in status.message)
    here.the.stop(*pending, grace_ms=60_000)
    assert here.ended(pending).phase == Phase.STOPPED
    at_once = here.start("echo ran > ran", resources=SMALL)
    here.the.stop(*at_once, grace_ms=0)
    assert here.ended(at_once).phase == Phase.STOPPED
    cluster.empty()
    running = here.start(
        "trap 'echo saved > saved; exit 0' TERM; echo up > up; while :; do sleep 0.1; done",
        resources=SMALL,
    )
    cluster.until("it is up", lambda: here.work(running, "up"))
    here.the.stop(*running, grace_ms=60_000)
    assert here.ended(running).phase == Phase.STOPPED
    assert here.work(running, "saved") == "saved\n"
    for key in (pending, at_once):
        assert not here.work(key, "ran")
    cluster.until("nothing is left", lambda: not cluster.queue())


def test_preemption_is_told_and_never_runs_it_twice(cluster: Cluster, island: Islands) -> None:
    here = island(cluster, partitions=["scavenge"])
    key = here.start(
        "echo began >> count; sleep 600", resources=Resources(cpu_milli=4000, memory_bytes=64 * MIB)
    )
    cluster.until("it runs", lambda: here.work(key, "count"))
    cluster.call("sbatch", "-p", "main", "-N2", "--exclusive", "-J", "urgent", "--wrap", "sleep 2")
    status = here.ended(key)
    assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.PREEMPTION)
    cluster.until("the other is over", lambda: not cluster.queue())
    assert here.work(key, "count") == "began\n"


def test_an_administrators_requeue_does_not_run_it_twice(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start("echo began >> count; sleep 600", resources=SMALL)
    cluster.until("it runs", lambda: here.work(key, "count"))
    number = here.number(key)
    cluster.call("scontrol", "update", f"JobId={number}", "Requeue=1")
    cluster.call("scontrol", "requeue", number)
    status = here.ended(key)
    assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.PREEMPTION)
    cluster.until("nothing is left", lambda: not cluster.queue(), seconds=60)
    assert here.work(key, "count") == "began\n"


def test_limits_of_time_and_memory_are_limits(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    hog = "exec /usr/bin/python3 -c 'import time; x = bytearray(500 << 20); time.sleep(600)'"
    late = here.start("sleep 600", resources=SMALL, time_limit_s=1)
    large = here.start(hog, resources=SMALL)
    assert here.ended(late).failure is FailureClass.LIMIT
    assert here.ended(large).failure is FailureClass.LIMIT


def test_what_somebody_else_cancels_is_the_engines_failure(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster)
    key = here.start("sleep 600", resources=SMALL)
    here.runs(key)
    cluster.call("scancel", here.number(key))
    status = here.ended(key)
    assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.ENGINE)
    assert "CANCELLED" in status.message


@pytest.mark.parametrize(
    ("settings", "spec", "token"),
    [
        ({"partitions": ["closed"]}, {}, "account not"),
        ({"partitions": ["short"]}, {"time_limit_s": 600.0}, "Partition"),
        ({}, {"num_nodes": 5}, "Partition"),
        ({"constraint": "nosuch"}, {}, "nvalid feature"),
        ({"options": ["--reservation=nosuch"]}, {}, "reservation"),
        ({}, {"resources": Resources(cpu_milli=64_000, memory_bytes=MIB)}, "PartitionConfig"),
    ],
)
def test_what_slurm_would_never_run_is_refused_in_a_sentence(
    cluster: Cluster,
    island: Islands,
    settings: dict[str, object],
    spec: dict[str, object],
    token: str,
) -> None:
    here = island(cluster, **settings)
    status = here.ended(here.start("true", **{"resources": SMALL, **spec}))
    assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.REFUSED)
    assert token in status.message, status.message
    cluster.until("nothing is left", lambda: not cluster.queue())


def test_two_hundred_at_once(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    tiny = Resources(cpu_milli=1000, memory_bytes=32 * MIB)
    keys = [here.start(f"exit {number % 3}", resources=tiny) for number in range(200)]
    codes = [
        here.until(key, lambda s: s.exit_code is not None, seconds=200).exit_code for key in keys
    ]
    assert codes == [number % 3 for number in range(200)]


def test_secrets_never_reach_slurm(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start("sleep 600", resources=SMALL, envs={"TOKEN": "s3cret-of-mine"})
    here.runs(key)
    number = here.number(key)
    assert "s3cret" not in cluster.call("scontrol", "show", "job", number)
    assert "s3cret" not in cluster.call("scontrol", "write", "batch_script", number, "-")


def test_a_queue_that_is_too_long_gives_the_work_back(cluster: Cluster, island: Islands) -> None:
    here = island(cluster, wait_s_max=1.0)
    cluster.fill()
    key = here.start("true", resources=SMALL)
    status = here.ended(key)
    assert (status.failure, "waited in Slurm" in status.message) == (FailureClass.REFUSED, True)
    cluster.empty()


def test_nodes_that_do_not_see_the_folder_are_named(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    cluster.fill()
    key = here.start("true", resources=SMALL)
    here.until(key, lambda status: "Slurm:" in status.message)
    # As if the attempt's folder were on a disk of the agent alone.
    (here.folder(key) / "runner" / "plan.json").unlink()
    cluster.empty()
    status = here.ended(key)
    assert (status.failure, "does not see the agent's folder" in status.message) == (
        FailureClass.ENGINE,
        True,
    )
    assert any("does not see" in problem for problem in here.the.condition().problems)


def test_the_record_holds_what_the_story_needs(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start("true", resources=SMALL)
    assert here.ended(key).cpu_ms >= 0
    record = (here.folder(key) / "runner" / "rank-0.record").read_text().splitlines()
    assert [json.loads(line)["event"] for line in record] == [
        "waiting",
        "meeting",
        "started",
        "running",
        "ended",
    ]
