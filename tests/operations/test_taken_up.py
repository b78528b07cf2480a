"""The newest checkpoint of a job that still runs, taken up on another island."""

from __future__ import annotations

from pathlib import Path

import pytest

from causeway.demo.world import World, free_port

pytestmark = pytest.mark.engines
HANG_S = 120.0
PROFILE = """
name = "{name}"
provider = "{name}-provider"
jurisdiction = "IT"
operator_country = "IT"
price_per_device_h = "0.060"
purchase = "on_demand"
simulated = ["jurisdiction", "price_per_device_h"]
"""
TRAINS = """
name: train
where: island == alba
resources: {cpus: 100m, memory: 64MiB, disk: 1MiB}
checkpoint: {interval: 1s}
run: |
  for n in 1 2; do
    d="$CAUSEWAY_CHECKPOINT_DIR/step-$n"
    mkdir "$d" && echo "weights $n" > "$d/state"
    printf '{"step": %d}' "$n" > "$d/.complete.tmp" && mv "$d/.complete.tmp" "$d/COMPLETE"
    until [ -e go ]; do sleep 0.1; done
    rm go
  done
"""
TAKES = """
name: evaluate
where: island == bora
resources: {cpus: 100m, memory: 64MiB, disk: 1MiB}
inputs: {weights: 'checkpoint:JOB'}
run: cat weights/state
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(folder=tmp_path, port=free_port())


def test_another_island_takes_up_the_newest_checkpoint_while_the_job_runs_on(world: World) -> None:
    try:
        world.start_centre()
        token = world.join_token(2)
        for name in ("alba", "bora"):
            profile = world.folder / f"{name}.toml"
            profile.write_text(PROFILE.format(name=name))
            world.join(name, profile, token)
        train = submitted(world, TRAINS)
        for step in (1, 2):
            world.until(f"step {step} is here", HANG_S, lambda n=step: saved(world, train) == n)
            takes = submitted(world, TAKES.replace("JOB", train))
            world.until("it has it", HANG_S, lambda job=takes: state(world, job) == "succeeded")
            said = world.client.get(f"{world.url}/v1/jobs/{takes}/logs").text
            assert said == f"weights {step}\n"
            assert state(world, train) == "running"
            (work,) = world.folder.glob("islands/alba/attempts/*/work")
            (work / "go").touch()
        world.until("it ends by itself", HANG_S, lambda: state(world, train) == "succeeded")
    finally:
        world.stop()


def submitted(world: World, text: str) -> str:
    return str(world.call("POST", "/v1/jobs", content=text)["id"])


def state(world: World, job: str) -> str:
    return str(world.call("GET", f"/v1/jobs/{job}")["state"])


def saved(world: World, job: str) -> int:
    return int((world.call("GET", f"/v1/jobs/{job}")["checkpoint"] or {"step": 0})["step"])
