"""The engine against real clusters that fail: parts of Ray die, nodes die, tokens are wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import raydashboard
from rayisland import Island, Key

from causeway.model.errors import Unavailable
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Resources

pytestmark = pytest.mark.ray
SMALL = Resources(cpu_milli=500, memory_bytes=64 * 1024**2)
Islands = Callable[..., Island]
Cluster = Any
WAITS = "echo up > up; while [ ! -e go ]; do sleep 0.1; done; exit 5"


def up(here: Island, key: Key) -> None:
    """Wait until a program has said so."""
    here.cluster.until("its program is up", lambda: here.work(key, "up"))


def problem(here: Island, words: str) -> None:
    """Wait until the island says what is wrong."""
    here.cluster.until(
        f"the island says {words!r}", lambda: words in " ".join(here.the.condition().problems)
    )


def test_a_head_that_does_not_answer_is_no_news_of_any_job(due: Cluster, island: Islands) -> None:
    here = island(due)
    runs = here.start(WAITS, resources=SMALL, deadline_stop=False)
    other = here.start(WAITS, resources=SMALL)
    up(here, runs)
    up(here, other)
    raydashboard.stop(due.nodes[0].pid, due.folder)
    try:
        problem(here, "Ray does not answer")
        assert here.the.poll()[runs].phase == Phase.RUNNING
        # Its end is seen all the same, and so is a stop.
        (here.folder(runs) / "work" / "go").touch()
        assert here.ended(runs).exit_code == 5
        here.the.stop(*other, grace_ms=0)
        assert here.ended(other).phase == Phase.STOPPED
        unheard = here.ended(here.start("true", resources=SMALL))
        assert unheard.failure is FailureClass.ENGINE
        assert "Ray does not answer" in unheard.message
    finally:
        raydashboard.start(due.nodes[0].pid, due.folder, due.url)
    due.until("it is well again", lambda: not here.the.condition().problems)
    assert here.ended(here.start("true", resources=SMALL)).phase == Phase.SUCCEEDED


def test_somebody_who_stops_a_job_in_ray(due: Cluster, island: Islands) -> None:
    here = island(due)
    key = here.start("echo up > up; sleep 600", resources=SMALL)
    up(here, key)
    due.ask(f"/api/jobs/{here.row(key)['submission_id']}/stop", "POST")
    status = here.ended(key)
    assert (status.failure, status.message) == (
        FailureClass.ENGINE,
        "it was stopped in Ray (STOPPED)",
    )


def test_a_wrong_token(due: Cluster, island: Islands, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("x" * 64)
    here = island(due, token_file=str(tmp_path / "wrong"))
    problem(here, "Ray does not take the token")
    with pytest.raises(Unavailable, match="token"):
        here.the.probe()
    status = here.ended(here.start("true", resources=SMALL))
    assert (status.failure, "token" in status.message) == (FailureClass.ENGINE, True)
    here.close()
    here.settings = due.settings()


@pytest.fixture
def unshared(tmp_path: Path) -> Iterator[Path]:
    """A folder that the nodes do not see: it was mounted after they had started."""
    place = tmp_path / "root-0"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_nodes_that_do_not_see_the_agents_folder(
    unshared: Path, due: Cluster, island: Islands
) -> None:
    here = island(due)
    assert here.root == unshared
    status = here.ended(here.start("true", resources=SMALL))
    assert status.failure is FailureClass.ENGINE
    assert "does not see the agent's folder" in status.message
    problem(here, "does not see the agent's folder")


def test_a_node_that_dies(uno: Cluster, island: Islands) -> None:
    fast = island(uno, resources={"fast": 0.5})
    here = island(uno)
    alone = fast.start("echo up > up; sleep 600", resources=SMALL, deadline_stop=False)
    gang = here.start("echo up >> up; sleep 600", resources=SMALL, num_nodes=2, deadline_stop=False)
    up(fast, alone)
    uno.until("the gang is up", lambda: here.work(gang, "up").count("up") == 2)
    uno.cut(1)
    assert fast.ended(alone).failure is FailureClass.NODE
    assert here.ended(gang).failure is FailureClass.NODE
    uno.until("nothing of it is left", lambda: not _sleepers(uno))


def test_a_head_that_crashes_takes_its_jobs_along(uno: Cluster, island: Islands) -> None:
    here = island(uno)
    guarded = here.start("echo up > up; sleep 600", resources=SMALL)
    waits = here.start("echo up > up; sleep 600", resources=SMALL, deadline_stop=False)
    up(here, guarded)
    up(here, waits)
    uno.crash()
    problem(here, "Ray does not answer")
    for key in (guarded, waits):
        status = here.ended(key)
        assert status.failure is FailureClass.ENGINE
        assert "Ray ended it, or lost the process that held it" in status.message
    assert not _sleepers(uno)
    uno.up()
    uno.until("it is well again", lambda: not here.the.condition().problems)
    assert here.ended(here.start("true", resources=SMALL)).phase == Phase.SUCCEEDED


def test_a_head_that_loses_its_memory(uno: Cluster, island: Islands) -> None:
    here = island(uno)
    others = uno.fill()
    assert others
    waits = here.start("echo ran > ran", resources=SMALL)
    here.until(waits, lambda status: "(PENDING)" in status.message)
    uno.cut()
    uno.up()
    status = here.ended(waits)
    assert (status.failure, status.message) == (
        FailureClass.ENGINE,
        "Ray no longer knows the job, which had not begun",
    )
    assert not here.work(waits, "ran")


def _sleepers(cluster: Cluster) -> list[Any]:
    """Return what is left of jobs on its nodes."""
    found = []
    for one in cluster.processes():
        try:
            if one.cmdline() == ["sleep", "600"]:
                found.append(one)
        except psutil.Error:
            continue
    return found
