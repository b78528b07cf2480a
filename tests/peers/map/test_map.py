"""Other people's libraries on our futures, and the other side of the bench.

Dask takes any `concurrent.futures.Executor` as its scheduler; ours is one. The program that calls
it is ours with Dask's folder behind it; the jobs run Dask's own interpreter, which the island's
owner has made visible to them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.peers.tes import roots

import causeway
from causeway.demo.world import World, free_port
from causeway.sdk.client import Client

pytestmark = pytest.mark.peers

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers"
PYTHON = PEERS / "bin" / "python"
WAIT_S = 120.0
"""Only a hang takes this long; nothing is asserted about time."""
PROFILE = """
name = "alba"
provider = "alba-provider"
jurisdiction = "IT"
operator_country = "IT"
price_per_device_h = "0.060"
simulated = ["jurisdiction", "price_per_device_h"]
"""
DASK = """
import sys
sys.path.append(sys.argv[1])
import causeway, dask

@dask.delayed
def inc(x):
    return x + 1

@dask.delayed
def add(*xs):
    return sum(xs)

with causeway.Executor(python=sys.argv[2], results="pickle", memory="256MiB") as executor:
    print(*dask.compute(add(*[inc(i) for i in range(10)]), scheduler=executor))
"""


@pytest.fixture(scope="module")
def peers() -> Path:
    """The folder of the peers' packages."""
    found = list(PEERS.glob("lib/python3*/site-packages"))
    if not found or not (found[0] / "distributed").is_dir() or not (found[0] / "parsl").is_dir():
        pytest.fail("distributed and parsl are not in .venv-peers: make peers installs them")
    return found[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A control plane and an island that shows jobs the peers' environment."""
    made = World(tmp_path_factory.mktemp("map"), free_port())
    try:
        made.start_centre()
        profile = made.folder / "alba.toml"
        profile.write_text(PROFILE)
        root = str(made.folder / "islands" / "alba")
        token = made.join_token(1)
        visible = ("--visible", str(PEERS))
        options = ("--token", token, "--root", root, "--profile", str(profile), *visible)
        made.start("alba", "join", made.url, *options)
        client = Client(made.url, made.token)
        made.until("the island offers something", WAIT_S, client.offers)
        client.close()
        yield made
    finally:
        made.stop()


def test_dask_takes_the_executor_as_its_scheduler(world: World, peers: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", DASK, peers, PYTHON],
        env=os.environ | {"CAUSEWAY_URL": world.url, "CAUSEWAY_TOKEN": world.token},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert told.stdout == "55\n", told.stderr


def test_a_function_runs_in_an_image_that_has_no_python(world: World, tmp_path: Path) -> None:
    def where(x: int) -> tuple[int, bool]:
        return x * x, Path("/bin/busybox").exists() and not Path("/usr/bin").exists()

    client = Client(world.url, world.token)
    roots.busybox(tmp_path / "root")
    client.upload(roots.archive(tmp_path, tmp_path / "root"), name="busybox")
    world.until("the island runs images", WAIT_S, lambda: any(o["images"] for o in client.offers()))
    remote = causeway.remote(
        where, client=client, image="archive:box/archive.tar", inputs={"box": "busybox"}
    )
    assert remote.remote(7).result(WAIT_S) == (49, True)


@pytest.mark.parametrize("name", ["dask", "parsl"])
def test_the_other_side_of_the_bench_runs_the_tasks(name: str, peers: Path) -> None:
    told = subprocess.run(
        [PYTHON, ROOT / "bench" / "map_peers.py", name, "2"],
        env=os.environ | {"PATH": f"{PYTHON.parent}:{os.environ['PATH']}"},
        input="20 0\n20 1\n",
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert len([float(line) for line in told.stdout.split()]) == 2
