"""Real islands train as one: an island is killed and comes back, and gangs train inside islands.

PyTorch over gloo, agents, sandboxes and a control plane as real processes on one machine.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from far_islands import Place

pytestmark = pytest.mark.peers

MEMBER = Path(__file__).parent / "member.py"
JOB = """\
name: wide
islands: 2
num_nodes: {nodes}
resources: {{cpus: 1, memory: 1GiB}}
workdir: .
run: python member.py {steps} {pause_s}
checkpoint: {{interval: 1s}}
"""
ENDS = re.compile(r"ends with (\w+) after (\d+)")


def submit(place: Place, tmp_path: Path, **wish: object) -> list[str]:
    folder = tmp_path / "job"
    folder.mkdir()
    shutil.copy(MEMBER, folder)
    return place.submit(JOB.format(**{"nodes": 1, "steps": 200, "pause_s": 0.05, **wish}), folder)


def ended(place: Place, jobs: list[str]) -> None:
    def over() -> bool:
        states = [place.job(job)["state"] for job in jobs]
        assert not {"failed", "cancelled"} & set(states), [place.log(job) for job in jobs]
        return set(states) == {"succeeded"}

    place.until("both members succeed", 120, over)


def islands_of(place: Place, job: str) -> int:
    """With how many islands a member averaged last."""
    points = place.points(job)
    return int(points[-1]["values"]["islands"]) if points else 0


def test_an_island_is_killed_and_comes_back(place: Place, tmp_path: Path) -> None:
    token = place.join_token(2)
    for name in ("alba", "boreal"):
        place.island(name, token)
    jobs = submit(place, tmp_path, steps=400)
    place.until("both average", 60, lambda: all(islands_of(place, j) == 2 for j in jobs))
    on = {place.job(job)["island"].rpartition(":")[2]: job for job in jobs}
    assert sorted(on) == ["alba", "boreal"]
    killed, stays = on["boreal"], on["alba"]

    place.kill("boreal")
    place.until("the other goes on alone", 30, lambda: islands_of(place, stays) == 1)
    place.until("its sibling waits", 30, lambda: place.job(killed)["state"] == "queued")
    place.island("boreal")
    place.until("both average again", 60, lambda: islands_of(place, stays) == 2)
    ended(place, jobs)
    ends = [ENDS.search(place.log(job)) for job in jobs]
    assert all(ends), [place.log(job) for job in jobs]
    # The same parameters, bit for bit, after the same number of rounds.
    assert len({end.groups() for end in ends if end}) == 1
    assert [place.job(job)["fence"] for job in (stays, killed)] == [1, 2]
    joined = re.search(r"joined at step (\d+)", place.log(killed))
    assert joined is not None
    assert int(joined[1]) > 0


def test_the_control_plane_is_killed_and_they_meet_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long leases: here the members must not be placed again, however slow this machine is.
    monkeypatch.setenv("CAUSEWAY_LEASE_MS", "120000")
    place.kill("centre")
    place.start_centre()
    token = place.join_token(2)
    for name in ("alba", "boreal"):
        place.island(name, token)
    jobs = submit(place, tmp_path, steps=150)
    place.until("both average", 60, lambda: all(islands_of(place, j) == 2 for j in jobs))
    place.kill("centre")
    place.start_centre()
    ended(place, jobs)
    ends = [ENDS.search(place.log(job)) for job in jobs]
    assert all(ends), [place.log(job) for job in jobs]
    assert len({end.groups() for end in ends if end}) == 1
    assert [place.job(job)["fence"] for job in jobs] == [1, 1]


def test_gangs_train_inside_islands(place: Place, tmp_path: Path) -> None:
    token = place.join_token(2)
    for name in ("alba", "boreal"):
        place.island(name, token)
    jobs = submit(place, tmp_path, nodes=2, steps=40, pause_s=0.01)
    ended(place, jobs)
    found = set()
    for job in jobs:
        for rank in (0, 1):
            path = f"/v1/jobs/{job}/logs?stream=rank-{rank}.stdout"
            end = ENDS.search(place.client.get(place.url + path).text)
            assert end is not None, place.log(job)
            found.add(end.groups())
    assert len(found) == 1
    assert islands_of(place, jobs[0]) == 2
