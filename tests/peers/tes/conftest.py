"""A control plane, one island, an image made here, and a folder that is open to tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.peers.tes import roots

from causeway.demo.world import World, free_port
from causeway.model.errors import Unavailable
from causeway.sdk.client import Client

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers" / "bin"
CWL_TES = ROOT / ".venv-peers-cwltes" / "bin"
TOIL = ROOT / ".venv-peers-toil" / "bin"
API = "/ga4gh/tes/v1"
WAIT_S = 60.0
"""Only a hang takes this long; nothing is asserted about time."""
PROFILE = """
name = "alba"
provider = "alba-provider"
jurisdiction = "IT"
region = "eu-south"
price_per_device_h = "0.060"
purchase = "on_demand"
simulated = ["jurisdiction", "price_per_device_h"]

[engine]
shared = ["{shared}"]
"""
ENDED = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED", "PREEMPTED"}


@dataclass(slots=True)
class Scene:
    """What every test of this folder plays in."""

    world: World
    folder: Path
    """Open to tasks."""
    shared: Path
    """In common between here and the island."""
    image: str

    @property
    def url(self) -> str:
        return self.world.url

    @property
    def token(self) -> str:
        return self.world.token

    def create(self, **task: Any) -> str:
        """Send a task; the image and a command are filled in."""
        executors = [{"image": self.image, "command": ["true"], **e} for e in task["executors"]]
        body = {**task, "executors": executors}
        return str(self.world.call("POST", f"{API}/tasks", json=body)["id"])

    def get(self, task: str, view: str = "FULL") -> Any:
        return self.world.call("GET", f"{API}/tasks/{task}", params={"view": view})

    def until(self, task: str, states: set[str]) -> Any:
        """Wait until a task is in one of the states; return all of it."""
        try:
            self.world.until(
                "so", WAIT_S, lambda: self.get(task, "MINIMAL")["state"] in states, every_s=0.05
            )
        except Unavailable:
            raise AssertionError(f"it never came to {states}: {self.get(task)}") from None
        return self.get(task)

    def end(self, task: str) -> Any:
        """Wait until a task has ended; return all of it."""
        return self.until(task, ENDED)

    def upload(self, place: Path, name: str) -> None:
        """Put a folder into the library."""
        with Client(self.url, self.token) as client:
            client.upload(place, name=name)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The control plane as a process, the island as another."""
    top = tmp_path_factory.mktemp("tes")
    open_, shared = top / "open", top / "shared"
    open_.mkdir()
    shared.mkdir()
    world = World(folder=top, port=free_port())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CAUSEWAY_TES_FOLDERS", str(open_))
            patch.setenv("CAUSEWAY_TES_SHARED", str(shared))
            world.start_centre()
        profile = top / "alba.toml"
        profile.write_text(PROFILE.format(shared=shared))
        world.join("alba", profile, world.join_token(1))
        made = Scene(world, open_, shared, "archive:busybox")
        roots.busybox(top / "root")
        image = roots.archive(top, top / "root", "ENV PATH=/bin", "WORKDIR /somewhere")
        made.upload(image, "busybox")
        world.until("the island runs images", WAIT_S, lambda: _runs_images(world))
        yield made
    finally:
        world.stop()


def _runs_images(world: World) -> bool:
    offers = world.call("GET", "/v1/offers")["offers"]
    return any(offer["images"] for offer in offers)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[str]:
    """A server that speaks S3, with a bucket named `flow`; yields its address."""
    import subprocess

    import httpx

    program = roots.needed(PEERS / "moto_server", "moto, in .venv-peers (make peers)")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (tmp_path / "moto.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-p", str(port)], stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path
        )
    world = World(folder=tmp_path, port=port)

    def up() -> bool:
        try:
            return httpx.put(f"{url}/flow").status_code == 200
        except httpx.TransportError:
            return False

    try:
        world.until("the storage answers", WAIT_S, up)
        yield url
    finally:
        process.terminate()
        process.wait(20)
        world.stop()
