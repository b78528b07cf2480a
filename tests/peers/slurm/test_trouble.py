"""What breaks: the agent, the controller, the keys, the partition, the account, the lease."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from cluster import Cluster, running
from island import Island

from causeway.adapters.slurm import texts
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Resources

pytestmark = pytest.mark.peers
SMALL = Resources(cpu_milli=1000, memory_bytes=64 * 1024**2)
SAVED_S = 6.0
"""slurmctld writes its state down within five seconds; what is younger is lost with a kill."""
Islands = Callable[..., Island]


@pytest.fixture
def fragile() -> Iterator[Cluster]:
    """A cluster that the test may break."""
    with running(["frag"]) as (one,):
        yield one


def test_attempts_go_on_without_the_agent_and_are_found_again(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster)
    runs = here.start("echo up >> count; until [ -e go ]; do sleep 0.1; done", resources=SMALL)
    ends = here.start("echo up >> count; sleep 0.5; exit 5", resources=SMALL)
    here.runs(runs)
    here.runs(ends)
    here.close()
    cluster.until("one ends", lambda: len(cluster.queue()) == 1)
    here.open()
    assert here.the.poll()[runs].phase == Phase.RUNNING
    assert here.ended(ends).exit_code == 5
    (here.folder(runs) / "work" / "go").touch()
    assert here.ended(runs).phase == Phase.SUCCEEDED
    assert here.work(runs, "count") == here.work(ends, "count") == "up\n"


def test_a_job_that_waits_is_found_again_by_its_tag(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    cluster.fill()
    key = here.start("echo up >> count", resources=SMALL)
    here.until(key, lambda status: "Slurm:" in status.message)
    number = here.number(key)
    here.close()
    # As if the agent had been killed before it could write Slurm's number down.
    record = here.folder(key) / "runner" / "slurm.json"
    told = json.loads(record.read_text())
    assert str(told["number"]) == number
    record.write_text(json.dumps({**told, "number": 0, "taken": False}))
    here.open()
    here.until(key, lambda status: "Slurm:" in status.message)
    cluster.empty()
    assert here.ended(key).phase == Phase.SUCCEEDED
    assert here.work(key, "count") == "up\n"


def test_a_submission_that_never_arrived_is_over_and_not_lost(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster)
    key = here.start("echo up >> count", resources=SMALL)
    here.ended(key)
    here.close()
    record = here.folder(key) / "runner" / "slurm.json"
    text = record.read_text()
    tag = text.partition('"tag":"')[2].partition('"')[0]
    record.write_text(text.replace(tag, "f" * 16))
    for name in ("record", "beat", "env"):
        (here.folder(key) / "runner" / f"rank-0.{name}").write_text("")
    here.open()
    status = here.ended(key)
    assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.ENGINE)
    assert here.work(key, "count") == "up\n"


def test_what_nobody_knows_is_shown_and_forgetting_ends_it(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster)
    key = here.start("sleep 600", resources=SMALL)
    here.runs(key)
    here.close()
    (here.folder(key) / "runner" / "slurm.json").unlink()
    here.open()
    here.until(key, lambda status: "nobody here knows" in status.message)
    here.the.forget(*key)
    cluster.until("it is gone", lambda: not cluster.queue())


def test_without_grants_a_job_is_gone_by_the_end_of_its_lease(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster)
    here.close()
    here.open(granted_ms=3_000)
    dies = here.start("while :; do date +%s%3N > last; sleep 0.05; done", resources=SMALL)
    waits = here.start("until [ -e go ]; do sleep 0.1; done", resources=SMALL, deadline_stop=False)
    here.runs(dies)
    here.runs(waits)
    until_ms = here.clock.now_ms() + 3_000
    here.close()
    cluster.until("Slurm has one job left", lambda: len(cluster.queue("-t", "R,PD,CG")) == 1)
    assert int(here.work(dies, "last")) <= until_ms
    here.open()
    status = here.ended(dies)
    assert (status.failure, "lease" in status.message) == (FailureClass.ISLAND, True)
    (here.folder(waits) / "work" / "go").touch()
    assert here.ended(waits).phase == Phase.SUCCEEDED


def test_a_killed_controller_loses_no_job(fragile: Cluster, island: Islands) -> None:
    here = island(fragile)
    runs = here.start("echo up >> count; until [ -e go ]; do sleep 0.1; done", resources=SMALL)
    ends = here.start(
        "echo up >> count; until [ -e go ]; do sleep 0.1; done; exit 4", resources=SMALL
    )
    stops = here.start("echo up >> count; sleep 600", resources=SMALL)
    for key in (runs, ends, stops):
        here.runs(key)
    time.sleep(SAVED_S)
    fragile.kill("slurmctld")
    fragile.until("it is told", lambda: here.the.condition().problems)
    assert "answer" in here.the.condition().problems[0]
    assert {here.the.poll()[key].phase for key in (runs, ends, stops)} == {Phase.RUNNING}
    new = here.start("true", resources=SMALL)
    status = here.ended(new)
    assert (status.failure, "not submitted" in status.message) == (FailureClass.ENGINE, True)
    here.the.stop(*stops, grace_ms=0)
    assert here.ended(stops).phase == Phase.STOPPED
    (here.folder(ends) / "work" / "go").touch()
    assert here.ended(ends).exit_code == 4
    fragile.start_ctld()
    fragile.until("it answers again", lambda: not here.the.condition().problems)
    assert here.the.poll()[runs].phase == Phase.RUNNING
    (here.folder(runs) / "work" / "go").touch()
    assert here.ended(runs).phase == Phase.SUCCEEDED
    for key in (runs, ends, stops):
        assert here.work(key, "count") == "up\n"


def test_a_killed_node_daemon_loses_no_job(fragile: Cluster, island: Islands) -> None:
    here = island(fragile)
    key = here.start("echo up >> count; until [ -e go ]; do sleep 0.1; done", resources=SMALL)
    here.runs(key)
    for number in (1, 2):
        fragile.kill(f"slurmd.{fragile.node(number)}")
        fragile.start_slurmd(number)
    (here.folder(key) / "work" / "go").touch()
    assert here.ended(key).phase == Phase.SUCCEEDED
    assert here.work(key, "count") == "up\n"


def test_without_munge_the_island_says_so_and_what_runs_goes_on(
    fragile: Cluster, island: Islands
) -> None:
    here = island(fragile)
    key = here.start("until [ -e go ]; do sleep 0.1; done", resources=SMALL)
    here.runs(key)
    fragile.kill("munged")
    fragile.until("it is told", lambda: here.the.condition().problems)
    assert here.ended(here.start("true", resources=SMALL)).failure is FailureClass.ENGINE
    assert here.the.poll()[key].phase == Phase.RUNNING
    fragile.start_munge()
    fragile.until("it is over", lambda: not here.the.condition().problems)
    (here.folder(key) / "work" / "go").touch()
    assert here.ended(key).phase == Phase.SUCCEEDED


def test_a_partition_that_vanished(fragile: Cluster, island: Islands) -> None:
    here = island(fragile, partitions=["short"])
    assert here.the.probe().nodes == 2
    fragile.call("scontrol", "delete", "PartitionName=short")
    status = here.ended(here.start("true", resources=SMALL))
    assert (status.failure, "partition is not there" in status.message) == (
        FailureClass.REFUSED,
        True,
    )
    fragile.until("the island says so", lambda: here.the.condition().problems, seconds=40)
    assert here.the.condition().problems == ("the cluster has no partition short",)


def test_a_partition_that_is_down(fragile: Cluster, island: Islands) -> None:
    here = island(fragile, partitions=["main"])
    fragile.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    key = here.start("true", resources=SMALL)
    here.until(key, lambda status: "(PartitionDown)" in status.message)
    fragile.until("the island says so", lambda: here.the.condition().problems, seconds=40)
    fragile.call("scontrol", "update", "PartitionName=main", "State=UP")
    assert here.ended(key).phase == Phase.SUCCEEDED


def test_a_node_that_fails(fragile: Cluster, island: Islands) -> None:
    here = island(fragile)
    key = here.start("sleep 600", resources=SMALL)
    here.runs(key)
    number = here.number(key)
    node = fragile.call("squeue", "-h", "-j", number, "-o", "%N").strip()
    fragile.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    status = here.ended(key)
    assert (status.phase, status.failure) == (Phase.FAILED, FailureClass.NODE)
    fragile.call("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    occupied = fragile.until(
        "the node counts as held",
        lambda: here.the.condition().occupied.cpu_milli >= 4000,
        seconds=40,
    )
    assert occupied


def test_accounts_limits_and_usage(accounted: Cluster, island: Islands) -> None:
    wrong = island(accounted, account="nobody")
    status = wrong.ended(wrong.start("true", resources=SMALL))
    assert (status.failure, "account" in status.message) == (FailureClass.REFUSED, True)
    unknown = island(accounted, qos="nosuch")
    status = unknown.ended(unknown.start("true", resources=SMALL))
    assert (status.failure, "QOS" in status.message) == (FailureClass.REFUSED, True)
    full = island(accounted, account="lab", qos="tiny")
    first = full.start("until [ -e go ]; do sleep 0.1; done", resources=SMALL)
    full.runs(first)
    second = full.start("true", resources=SMALL)
    waits = full.until(second, lambda status: "QOSGrp" in status.message)
    assert "its QOS has used up what it may hold at once" in waits.message
    (full.folder(first) / "work" / "go").touch()
    assert full.ended(second).phase == Phase.SUCCEEDED
    here = island(accounted, account="lab")
    key = here.start("for i in $(seq 300000); do :; done", resources=SMALL)
    status = here.ended(key)
    number = here.number(key)
    said = accounted.call("sacct", "-n", "-P", "-j", number, "-o", "JobIDRaw,State,TotalCPU,End")
    (whole,) = texts.accounted(said)
    assert (whole.state, whole.over) == ("COMPLETED", True)
    assert status.cpu_ms == whole.cpu_ms > 0
