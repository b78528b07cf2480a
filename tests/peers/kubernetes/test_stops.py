"""Stops, restarts of the agent, and leases, against a real control plane with virtual kubelets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from kubecluster import Cluster
from kubeisland import AGES_MS, SMALL, Island

from causeway.model.jobs import FailureClass, JobSpec
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch

pytestmark = pytest.mark.kubernetes
Islands = Callable[..., Island]
BEATS = "while :; do date +%s%N >>beats; sleep 0.1; done"
HUGE = replace(SMALL, cpu_milli=9000)


def test_what_waits_says_why_and_can_be_stopped(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start("touch began", resources=HUGE)
    here.says(key, "Insufficient cpu")
    here.the.stop(*key, grace_ms=0)
    assert here.ended(key).phase == Phase.STOPPED
    cluster.until("its Job is deleted", lambda: not here.jobs(key))
    assert not here.work(key, "began")


def test_a_stop_has_its_grace(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start("trap 'echo bye >said; exit 0' TERM; touch up; sleep 600 & wait")
    here.until(key, lambda _: (here.folder(key) / "work/up").exists())
    here.the.stop(*key, grace_ms=60_000)
    assert here.ended(key).phase in (Phase.STOPPED, Phase.SUCCEEDED)
    assert here.work(key, "said") == "bye\n"


def test_forgetting_kills_and_deletes(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start(BEATS)
    here.until(key, lambda _: here.work(key, "beats"))
    here.the.forget(*key)
    assert key not in here.the.poll()
    cluster.until("its Job and pod are gone", lambda: not here.jobs(key) and not here.pods(key))


def test_a_new_agent_finds_what_the_last_one_started(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    runs = here.start("echo x >>count; until [ -e go ]; do sleep 0.05; done; exit 5")
    ends = here.start("echo x >>count; until [ -e go ]; do sleep 0.05; done")
    waits = here.start("echo x >>count", resources=HUGE)
    for key in (runs, ends):
        here.until(key, lambda _, key=key: here.work(key, "count"))
    here.says(waits, "Insufficient cpu")
    here.close()
    (here.folder(ends) / "work/go").touch()
    cluster.until("it ends without an agent", lambda: _over(here, ends))
    here.open()
    assert set(here.the.poll()) == {runs, ends, waits}
    assert here.ended(ends).phase == Phase.SUCCEEDED
    assert here.runs(runs).phase == Phase.RUNNING
    here.says(waits, "Insufficient cpu")
    (here.folder(runs) / "work/go").touch()
    assert here.ended(runs).exit_code == 5
    assert here.work(runs, "count") == here.work(ends, "count") == "x\n"


def _over(here: Island, key: tuple[str, int]) -> bool:
    return any(job.get("status", {}).get("succeeded") for job in here.jobs(key))


def test_the_same_start_makes_one_job(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    key = here.start("echo x >>count; until [ -e go ]; do sleep 0.05; done")
    launch = Launch(
        job=key[0],
        fence=1,
        spec=JobSpec(name="t", run="echo x >>count", resources=SMALL),
        folder=here.folder(key),
        envs={},
    )
    here.the.start(launch)
    here.runs(key)
    here.close()
    here.open()
    here.the.start(launch)
    here.until(key, lambda _: here.work(key, "count"))
    (here.folder(key) / "work/go").touch()
    assert here.ended(key).phase == Phase.SUCCEEDED
    assert here.work(key, "count") == "x\n"
    assert len(here.jobs(key)) == 1


def test_a_job_whose_record_was_not_finished_is_found_by_its_tag(
    cluster: Cluster, island: Islands
) -> None:
    here = island(cluster)
    key = here.start("echo x >>count; until [ -e go ]; do sleep 0.05; done")
    here.until(key, lambda _: here.work(key, "count"))
    here.close()
    record = here.folder(key) / "runner" / "kubernetes.json"
    told = json.loads(record.read_text())
    assert told["taken"]
    record.write_text(json.dumps({**told, "taken": False}))
    here.open()
    here.until(key, lambda _: json.loads(record.read_text())["taken"])
    (here.folder(key) / "work/go").touch()
    assert here.ended(key).phase == Phase.SUCCEEDED


def test_without_an_agent_a_lease_ends_by_itself(cluster: Cluster, island: Islands) -> None:
    here = island(cluster)
    here.close()
    here.open(granted_ms=3_000)
    guarded = here.start(BEATS)
    left = here.start("touch up; until [ -e go ]; do sleep 0.05; done", deadline_stop=False)
    here.until(guarded, lambda _: here.work(guarded, "beats"))
    here.until(left, lambda _: (here.folder(left) / "work/up").exists())
    here.close()
    record = here.folder(guarded) / "runner" / "rank-0.record"
    cluster.until("its guard ends it", lambda: '"lease"' in record.read_text())
    here.open(granted_ms=AGES_MS)
    status = here.ended(guarded)
    assert (status.failure, status.exit_code) == (FailureClass.ISLAND, 137)
    (here.folder(left) / "work/go").touch()
    assert here.ended(left).phase == Phase.SUCCEEDED
