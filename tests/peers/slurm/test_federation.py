"""Two real clusters as two islands of one control plane, all as processes of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster import Cluster, running

from causeway.demo.world import World, free_port

pytestmark = pytest.mark.peers
PROFILE = """\
name = "{name}"
provider = "{name}"
jurisdiction = "DE"
price_per_device_h = "0.01"

[engine]
kind = "slurm"
conf = "{conf}"
poll_s = 0.3
"""
TRAINING = """\
name: train
resources: {cpus: 1, memory: 128MiB, disk: 1MiB}
checkpoint: {interval: 1s}
run: |
  exec /usr/bin/python3 - <<'PYTHON'
  import json, os, time
  folder, resume = os.environ["CAUSEWAY_CHECKPOINT_DIR"], os.environ.get("CAUSEWAY_RESUME_DIR")
  step, weight = 0, 0.0
  if resume:
      with open(os.path.join(resume, "state.json")) as file:
          state = json.load(file)
      step, weight = state["step"], state["weight"]
  print("from", step, "on", os.environ["SLURM_CLUSTER_NAME"], flush=True)
  while step < 150:
      step += 1
      weight -= 0.05 * 2 * (weight - 3.0)
      with open(os.environ["CAUSEWAY_PROGRESS_FILE"], "a") as file:
          file.write(json.dumps({"step": step, "loss": (weight - 3.0) ** 2}) + chr(10))
      if step % 10 == 0:
          place = os.path.join(folder, "step-%d" % step)
          os.mkdir(place)
          for name, body in (("state.json", {"step": step, "weight": weight}),
                             (".complete.tmp", {"step": step})):
              with open(os.path.join(place, name), "w") as file:
                  json.dump(body, file)
                  file.flush()
                  os.fsync(file.fileno())
          os.rename(os.path.join(place, ".complete.tmp"), os.path.join(place, "COMPLETE"))
      time.sleep(0.1)
  print("weight %.3f" % weight, flush=True)
  PYTHON
"""
GANG = """\
name: gang
num_nodes: 2
resources: {cpus: 1, memory: 128MiB, disk: 1MiB}
run: |
  exec /usr/bin/python3 - <<'PYTHON'
  import os, socket, time
  rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
  place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
  if rank == 0:
      with socket.create_server(("", place[1])) as server:
          for _ in range(size - 1):
              with server.accept()[0] as other:
                  print("met rank", other.recv(16).decode(), "of", size)
  else:
      for _ in range(200):
          try:
              with socket.create_connection(place) as sock:
                  sock.sendall(str(rank).encode())
              break
          except OSError:
              time.sleep(0.05)
  PYTHON
"""
COUNTING = """\
name: counting
resources: {cpus: 1, memory: 64MiB, disk: 1MiB}
run: "echo begun; sleep 6; echo done"
"""


@dataclass
class Federation:
    """A control plane, two clusters, and an agent at each."""

    world: World
    clusters: dict[str, Cluster]

    def submit(self, text: str) -> str:
        return str(self.world.call("POST", "/v1/jobs", content=text)["id"])

    def job(self, job: str) -> Any:
        return self.world.call("GET", f"/v1/jobs/{job}")

    def until(self, job: str, what: str, true: Any, *, seconds: float = 90) -> Any:
        found: dict[str, Any] = {}

        def check() -> bool:
            found.update(self.job(job))
            return bool(true(found))

        try:
            self.world.until(what, seconds, check)
        except Exception as error:
            raise AssertionError(
                f"{error}: {found.get('state')} {found.get('attempts')}"
            ) from error
        return found

    def succeeds(self, job: str) -> Any:
        over = ("succeeded", "failed", "cancelled")
        found = self.until(job, "it is over", lambda found: found["state"] in over)
        assert found["state"] == "succeeded", found
        return found

    def log(self, job: str) -> str:
        reply = self.world.client.get(f"{self.world.url}/v1/jobs/{job}/logs")
        return reply.text

    def where(self, found: Any) -> str:
        return str(found["attempts"][-1]["island"]).rpartition(":")[2]

    def live(self, name: str) -> bool:
        islands = self.world.call("GET", "/v1/islands")["islands"]
        mine = [one for one in islands if one["id"].endswith(f":{name}")]
        return bool(mine and mine[0]["state"] == "live" and mine[0]["inventory"])


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    """Start it all; end it all."""
    world = World(folder=tmp_path, port=free_port())
    with running(["isa", "isb"]) as clusters:
        try:
            world.start_centre()
            token = world.join_token(len(clusters))
            made = Federation(world, {one.name: one for one in clusters})
            for one in clusters:
                profile = tmp_path / f"{one.name}.toml"
                profile.write_text(PROFILE.format(name=one.name, conf=one.conf))
                world.join(one.name, profile, token)
            for one in clusters:
                world.until(f"{one.name} is live", 60, lambda name=one.name: made.live(name))
            yield made
        finally:
            world.stop()


def test_a_job_and_a_gang_end_to_end(federation: Federation) -> None:
    job = federation.submit(COUNTING.replace("sleep 6", "sleep 0"))
    found = federation.succeeds(job)
    assert found["attempts"][-1]["isolation"] == "process"
    assert "begun" in federation.log(job)
    gang = federation.submit(GANG)
    federation.succeeds(gang)
    assert "met rank 1 of 2" in federation.log(gang)


def test_training_moves_to_the_other_cluster_by_its_checkpoint(federation: Federation) -> None:
    job = federation.submit(TRAINING)
    found = federation.until(
        job,
        "a checkpoint is at the centre",
        lambda found: (found.get("checkpoint") or {}).get("step", 0) >= 20,
    )
    first = federation.where(found)
    # A power cut: controller, nodes, what runs on them, and the agent beside them.
    federation.clusters[first].kill_all()
    federation.world.kill(first)
    found = federation.succeeds(job)
    assert len(found["attempts"]) == 2
    assert federation.where(found) != first
    assert found["attempts"][-1]["resumed_step"] >= 20
    assert "weight 3.000" in federation.log(job)


def test_a_killed_agent_finds_its_jobs_again_and_doubles_none(federation: Federation) -> None:
    jobs = [federation.submit(COUNTING) for _ in range(3)]
    for job in jobs:
        federation.until(job, "it runs", lambda found: found["state"] == "running")
    name = federation.where(federation.job(jobs[0]))
    federation.world.kill(name)
    profile = federation.world.folder / f"{name}.toml"
    federation.world.join(name, profile)
    for job in jobs:
        found = federation.succeeds(job)
        assert len(found["attempts"]) == 1
        assert federation.log(job).count("begun") == 1


def test_what_keeps_no_checkpoint_waits_for_its_island(federation: Federation) -> None:
    job = federation.submit(COUNTING.replace("sleep 6", "sleep 12"))
    found = federation.until(job, "it runs", lambda found: found["state"] == "running")
    name = federation.where(found)
    federation.world.kill(name)
    federation.until(job, "it is cut off", lambda found: found["state"] == "disconnected")
    federation.world.join(name, federation.world.folder / f"{name}.toml")
    found = federation.succeeds(job)
    assert len(found["attempts"]) == 1
    assert federation.log(job).count("begun") == 1


def test_a_dead_agent_that_does_not_come_back_leaves_nothing_running(
    federation: Federation,
) -> None:
    moves = "on_disconnect: move\n" + COUNTING.replace("sleep 6", "sleep 600")
    job = federation.submit(moves)
    found = federation.until(job, "it runs", lambda found: found["state"] == "running")
    name = federation.where(found)
    cluster = federation.clusters[name]
    federation.world.kill(name)
    cluster.until("its guard has ended it", lambda: not cluster.queue("-t", "R,PD,CG"), seconds=30)
    with contextlib.suppress(psutil.Error):
        assert not [p for p in cluster.processes() if "sleep 600" in " ".join(p.cmdline())]
    again = federation.until(job, "it runs at the other", lambda found: len(found["attempts"]) == 2)
    assert federation.where(again) != name
    federation.world.call("POST", f"/v1/jobs/{job}/cancel")
    federation.until(job, "it is gone", lambda found: found["state"] == "cancelled")
