"""One story with everything in it that writes: joining, submitting, running, losing an island,
resuming from a checkpoint, failing and retrying, cancelling, ending, paying.

It is told the same way whether or not the control plane dies in the middle: every request is
repeated until it is acknowledged, as the clients and agents of the product do.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from light_island import LightIsland
from processes import PATIENCE_S, Centre, Client, Nursery, free_port

from causeway.model.errors import CausewayError
from causeway.model.protocol import Phase

RETRY = {"user": 2, "no_progress_max": 50, "backoff": "10ms"}
SMALL = {"cpus": 1, "memory": "100MB"}
JOBS: dict[str, dict[str, Any]] = {
    "plain": {"run": "life 60"},
    "array": {"run": "life 30", "array": "0-2"},
    "training": {"run": "train 300", "checkpoint": {"interval": "1s"}},
    "flaky": {"run": "fail once"},
    "endless": {"run": "forever"},
    "chain": {
        "stages": [
            {"name": "first", "run": "life 20"},
            {"name": "second", "run": "life 20", "needs": ["first"]},
        ]
    },
}
MEMBERS = 1 + 3 + 1 + 1 + 1 + 2
GROUPS = 2
TERMINAL = ("succeeded", "failed", "cancelled")


@dataclass(slots=True, kw_only=True)
class Told:
    """What the people of the story know when it is over."""

    ids: dict[str, str] = field(default_factory=dict)
    """Submission -> id that was acknowledged."""
    states: dict[str, str] = field(default_factory=dict)
    """Job -> state that was seen last."""
    begun: list[tuple[str, str, int]] = field(default_factory=list)
    """(island, job, fence) of everything that really ran."""
    silenced: str = ""
    """The island that fell silent with the training on it."""
    resumable_step: int = -1
    """Newest checkpoint of the training that was acknowledged before that."""
    deaths: int = 0
    commits: int = 0
    log: str = ""


def tell(nursery: Nursery, folder: Path, *, crash_at: str = "") -> Told:
    """Tell the story once; the control plane dies at the crash point and is brought back."""
    centre = Centre(nursery=nursery, state=folder / "centre", port=free_port())
    client = Client(centre=centre)
    told = Told()
    centre.start(crash_at)
    try:
        islands = [LightIsland(name, [centre.url], folder / name) for name in ("alba", "boreal")]
        for island in islands:
            _join(client, island)
        for name, spec in JOBS.items():
            body = {"name": name, "resources": SMALL, "retry": RETRY} | spec
            told.ids[name] = client.insist("POST", "/v1/jobs", body=body, key=name).json()["id"]
            _turns(islands)
        _lose_the_trainer(client, islands, told)
        client.insist("POST", f"/v1/jobs/{told.ids['endless']}/cancel")
        _until_all_ended(client, islands, told)
        for name, spec in JOBS.items():
            body = {"name": name, "resources": SMALL, "retry": RETRY} | spec
            again = client.insist("POST", "/v1/jobs", body=body, key=name).json()
            assert again["id"] == told.ids[name], f"{name} was submitted twice"
        told.commits = _commits(client)
    finally:
        centre.kill()
        client.close()
        told.deaths = centre.deaths
        told.log = centre.log.read_text()
    told.begun = [(island.name, *key) for island in islands for key in island.begun]
    return told


def _join(client: Client, island: LightIsland) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        made = client.insist("POST", "/v1/tokens", body={"join_uses": 1}).json()
        try:
            island.join(made["secret"])
            break
        except CausewayError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    while not island.turn():
        assert time.monotonic() < deadline, f"{island.name} cannot sync"


def _turns(islands: list[LightIsland]) -> None:
    for island in islands:
        island.turn()


def _lose_the_trainer(client: Client, islands: list[LightIsland], told: Told) -> None:
    """The island that trains falls silent right after a checkpoint has reached the centre."""
    job = told.ids["training"]
    deadline = time.monotonic() + PATIENCE_S
    while not (trainers := [island for island in islands if _trains(island, job)]):
        _turns(islands)
        assert time.monotonic() < deadline, "no checkpoint reached the centre"
    trainer = trainers[0]
    trainer.silent = True
    for island in islands:
        island.training_may_end = True
    told.silenced = trainer.name
    told.resumable_step = trainer.uploaded[job]


def _trains(island: LightIsland, job: str) -> bool:
    """Say whether the job runs there and has brought a checkpoint to the centre."""
    live = any(
        key[0] == job and status.phase == Phase.RUNNING for key, status in island.engine.items()
    )
    return live and job in island.uploaded


def _until_all_ended(client: Client, islands: list[LightIsland], told: Told) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        _turns(islands)
        page = client.insist("GET", "/v1/jobs?limit=100").json()["jobs"]
        told.states = {job["id"]: job["state"] for job in page}
        for island in islands:
            training = next(job for job in page if job["id"] == told.ids["training"])
            if island.silent and training["fence"] > 1 and training["state"] != "queued":
                island.silent = False
        ended = all(state in TERMINAL for state in told.states.values())
        if ended and not any(island.core.attempts for island in islands):
            return
        if time.monotonic() > deadline:
            held = {island.name: dict(island.core.attempts) for island in islands}
            raise AssertionError(f"the story does not end: {told.states}; {held}")


def _commits(client: Client) -> int:
    text = client.insist("GET", "/metrics").text
    line = next(x for x in text.splitlines() if x.startswith("causeway_commits_total "))
    return round(float(line.split()[1]))
