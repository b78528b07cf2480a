"""Two control planes of one store: the leader is killed, and nothing else happens to anybody.

They share the state folder (content, logs, the two secret files) and the store: a real PostgreSQL,
or the SQLite file. A real island knows both addresses. How long the change takes is a benchmark
(`bench/failover.py`); what is asserted here is what happened, and in which order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pair import Pair, until

pytestmark = pytest.mark.engines
LONG = "for i in $(seq 1 600); do echo step $i; [ -e flag ] && exit 0; sleep 0.1; done; exit 1"


@pytest.fixture
def pair(place: str | None, tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(folder=tmp_path, store=place)
    for url in pair.urls:
        pair.up(url)
    try:
        until(
            "one leads and one follows", lambda: pair.leader() and all(map(pair.health, pair.urls))
        )
        yield pair
    finally:
        pair.stop()


def test_a_running_job_survives_the_leader(pair: Pair, tmp_path: Path) -> None:
    first = pair.leader()
    assert first is not None
    second = next(url for url in pair.urls if url != first)
    pair.join()
    job = pair.call(
        "POST",
        "/v1/jobs",
        json={
            "name": "long",
            "run": LONG,
            "resources": {"cpus": 1, "memory": "100MB"},
        },
    )["id"]
    until("the job runs", lambda: pair.call("GET", f"/v1/jobs/{job}")["state"] == "running")
    epoch = (pair.health(first) or {})["epoch"]

    refused = httpx.get(f"{second}/v1/jobs", headers={"authorization": f"Bearer {pair.token}"})
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "other" in refused.json()["error"]["hint"]

    pair.kill(first)
    until("the other leads", lambda: pair.leader() == second)
    assert (pair.health(second) or {})["epoch"] > epoch
    until("the island is back", lambda: sessions(pair) >= 2)
    work = tmp_path / "island" / "attempts" / f"{job.rpartition(':')[2]}-1" / "work"
    (work / "flag").touch()
    until("the job ends", lambda: pair.call("GET", f"/v1/jobs/{job}")["state"] == "succeeded")

    view = pair.call("GET", f"/v1/jobs/{job}")
    assert view["fence"] == 1, "the job was started again needlessly"
    kinds = [event["kind"] for event in pair.call("GET", f"/v1/jobs/{job}/events")["events"]]
    assert [kind for kind in kinds if kind.startswith(("job.", "attempt."))] == [
        "job.queued",
        "job.placed",
        "job.starting",
        "job.running",
        "job.succeeded",
    ]
    bill = pair.call("GET", f"/v1/jobs/{job}/cost")
    assert bill["balanced"]
    assert bill["device_ms"] > 0


def sessions(pair: Pair) -> int:
    islands = pair.call("GET", "/v1/islands")["islands"]
    return max((island.get("session", 0) for island in islands), default=0)
