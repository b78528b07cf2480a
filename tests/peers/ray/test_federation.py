"""Two real Ray clusters as two islands of one control plane, all as processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from raycluster import WAIT_S

from causeway.demo.world import World, free_port

pytestmark = pytest.mark.ray
Cluster = Any
OVER = ("succeeded", "failed", "cancelled")
PROFILE = """\
name = "{name}"
provider = "{name}"
jurisdiction = "DE"
price_per_device_h = "0.01"

[engine]
kind = "ray"
"""
TRAINING = """\
name: train
resources: {cpus: 0.5, memory: 128MiB, disk: 1MiB}
checkpoint: {interval: 1s}
run: |
  exec /usr/bin/python3 - <<'PYTHON'
  import json, os, time
  folder, resume = os.environ["CAUSEWAY_CHECKPOINT_DIR"], os.environ.get("CAUSEWAY_RESUME_DIR")
  state = {"step": 0, "weight": 0.0}
  if resume:
      with open(os.path.join(resume, "state.json")) as file:
          state = json.load(file)
  print("from step", state["step"], flush=True)
  while state["step"] < 200:
      state["step"] += 1
      state["weight"] -= 0.1 * (state["weight"] - 3.0)
      if state["step"] % 10 == 0:
          told = {"step": state["step"], "loss": 3.0 - state["weight"]}
          with open(os.environ["CAUSEWAY_PROGRESS_FILE"], "a") as file:
              file.write(json.dumps(told) + chr(10))
          place = os.path.join(folder, "step-%d" % state["step"])
          os.mkdir(place)
          for name, body in (("state.json", state), (".complete.tmp", {"step": state["step"]})):
              with open(os.path.join(place, name), "w") as file:
                  json.dump(body, file)
                  file.flush()
                  os.fsync(file.fileno())
          os.rename(os.path.join(place, ".complete.tmp"), os.path.join(place, "COMPLETE"))
      time.sleep(0.1)
  print("weight %.3f" % state["weight"], flush=True)
  PYTHON
"""
GANG = """\
name: gang
num_nodes: 2
resources: {cpus: 0.5, memory: 128MiB, disk: 1MiB}
run: |
  exec /usr/bin/python3 - <<'PYTHON'
  import os, socket, time
  rank, place = int(os.environ["RANK"]), (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
  if rank == 0:
      with socket.create_server(("", place[1])) as server, server.accept()[0] as other:
          print("met rank", other.recv(16).decode(), "of", os.environ["WORLD_SIZE"])
  while rank:
      try:
          with socket.create_connection(place) as sock:
              sock.sendall(str(rank).encode())
          break
      except OSError:
          time.sleep(0.05)
  PYTHON
"""


@dataclass
class Federation:
    """A control plane, two clusters, and an agent at each."""

    world: World
    clusters: dict[str, Cluster]

    def join(self, name: str, token: str = "") -> None:
        """Start an agent, or start it again."""
        path = self.world.folder / f"{name}.toml"
        settings = self.clusters[name].settings().items()
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings]
        path.write_text(PROFILE.format(name=name) + "".join(lines))
        self.world.join(name, path, token)

    def submit(self, text: str) -> str:
        return str(self.world.call("POST", "/v1/jobs", content=text)["id"])

    def job(self, job: str) -> Any:
        return self.world.call("GET", f"/v1/jobs/{job}")

    def until(self, job: str, what: str, true: Callable[[Any], Any]) -> Any:
        found: dict[str, Any] = {}

        def check() -> bool:
            found.update(self.job(job))
            return bool(true(found))

        try:
            self.world.until(what, WAIT_S, check)
        except Exception as error:
            said = f"{found.get('state')} {found.get('attempts')}"
            raise AssertionError(f"{error}: {said}") from error
        return found

    def succeeds(self, job: str) -> Any:
        found = self.until(job, "it is over", lambda found: found["state"] in OVER)
        assert found["state"] == "succeeded", found
        return found

    def log(self, job: str) -> str:
        return self.world.client.get(f"{self.world.url}/v1/jobs/{job}/logs").text

    def where(self, found: Any) -> str:
        return str(found["attempts"][-1]["island"]).rpartition(":")[2]

    def live(self, name: str) -> bool:
        islands = self.world.call("GET", "/v1/islands")["islands"]
        mine = [one for one in islands if one["id"].endswith(f":{name}")]
        return bool(mine and mine[0]["state"] == "live" and mine[0]["inventory"])


@pytest.fixture
def federation(tmp_path: Path, uno: Cluster, due: Cluster) -> Iterator[Federation]:
    """Start it all; end it all."""
    made = Federation(World(folder=tmp_path, port=free_port()), {"uno": uno, "due": due})
    try:
        made.world.start_centre()
        token = made.world.join_token(2)
        for name in made.clusters:
            made.join(name, token)
        for name in made.clusters:
            made.world.until(f"{name} is live", WAIT_S, lambda name=name: made.live(name))
        yield made
    finally:
        made.world.stop()
        for cluster in made.clusters.values():
            cluster.up().empty(sorted(cluster.ids("PENDING", "RUNNING")))


def test_a_gang_meets_and_training_moves_to_the_other_cluster_by_its_checkpoint(
    federation: Federation,
) -> None:
    gang = federation.submit(GANG)
    job = federation.submit(TRAINING)
    federation.succeeds(gang)
    assert "met rank 1 of 2" in federation.log(gang)
    found = federation.until(
        job,
        "a checkpoint is at the centre",
        lambda found: (found.get("checkpoint") or {}).get("step", 0) >= 20,
    )
    first = federation.where(found)
    # A power cut: head, nodes, what runs on them, and the agent beside them.
    federation.clusters[first].cut()
    federation.world.kill(first)
    found = federation.succeeds(job)
    assert len(found["attempts"]) == 2
    assert federation.where(found) != first
    assert found["attempts"][-1]["resumed_step"] >= 20
    assert "weight 3.000" in federation.log(job)


def test_a_killed_agent_finds_its_jobs_again_and_doubles_none(federation: Federation) -> None:
    text = (
        "name: counting\nresources: {cpus: 0.5, memory: 64MiB, disk: 1MiB}\n"
        "on_disconnect: wait\nrun: 'echo begun; sleep 15; echo done'\n"
    )
    jobs = [federation.submit(text) for _ in range(3)]
    for job in jobs:
        federation.until(job, "it runs", lambda found: found["state"] == "running")
    names = {federation.where(federation.job(job)) for job in jobs}
    for name in names:
        federation.world.kill(name)
        federation.join(name)
    for job in jobs:
        found = federation.succeeds(job)
        assert len(found["attempts"]) == 1
        assert federation.log(job).count("begun") == 1
