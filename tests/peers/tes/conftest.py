"""A control plane, one island, an image's archive made here, and a folder that is open to tasks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.local import image_stage
from causeway.demo.world import World, free_port
from causeway.model.errors import Unavailable
from causeway.sdk.client import Client

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers" / "bin"
CWL_TES = ROOT / ".venv-peers-cwltes" / "bin"
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
"""
ENDED = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED", "PREEMPTED"}


def needed(program: Path | str, package: str) -> str:
    """Return a program's path, or fail with what brings it."""
    found = shutil.which(program)
    assert found, f"{program} is missing; it comes with {package}"
    return found


@dataclass(slots=True)
class Scene:
    """What every test of this folder plays in."""

    world: World
    folder: Path
    """Open to tasks."""
    image: str

    @property
    def url(self) -> str:
        return self.world.url

    @property
    def token(self) -> str:
        return self.world.token

    def create(self, **task: Any) -> str:
        """Send a task; the image and one command are filled in."""
        executors = [{"image": self.image, "command": ["true"], **e} for e in task["executors"]]
        body = {**task, "executors": executors}
        return str(self.world.call("POST", f"{API}/tasks", json=body)["id"])

    def get(self, task: str, view: str = "FULL") -> Any:
        return self.world.call("GET", f"{API}/tasks/{task}", params={"view": view})

    def end(self, task: str) -> Any:
        """Wait until a task has ended; return all of it."""
        try:
            self.world.until(
                "the task ends", WAIT_S, lambda: self.get(task, "MINIMAL")["state"] in ENDED
            )
        except Unavailable as error:
            raise AssertionError(f"{error}: {self.get(task)}") from None
        return self.get(task)


def image_archive(folder: Path) -> Path:
    """Make a Docker archive of a root that holds one static program: Debian's busybox."""
    busybox = needed("busybox", "the Debian package busybox-static")
    root = folder / "rootfs"
    (root / "bin").mkdir(parents=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    said = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for name in said.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    subprocess.run(["tar", "-C", root, "-cf", folder / "root.tar", "."], check=True)
    podman = [
        *(needed("podman", "the Debian package podman"), "--root", str(folder / "store" / "root")),
        *("--runroot", str(image_stage.running(folder / "store"))),
        *("--tmpdir", str(folder / "store" / "libpod"), "--events-backend", "none"),
        *("--cgroup-manager", "cgroupfs"),
    ]
    made = ["--change", "ENV PATH=/bin", "--change", "WORKDIR /somewhere"]
    (folder / "store").mkdir()
    image = subprocess.run(
        [*podman, "import", "--quiet", *made, folder / "root.tar"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    out = folder / "busybox.tar"
    subprocess.run(
        [*podman, "save", "-q", "--format", "docker-archive", "-o", out, image], check=True
    )
    shutil.rmtree(image_stage.running(folder / "store"), ignore_errors=True)
    return out


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The control plane as a process, the island as another."""
    top = tmp_path_factory.mktemp("tes")
    (top / "open").mkdir()
    archive = image_archive(top)
    os.environ["CAUSEWAY_TES_FOLDERS"] = str(top / "open")
    world = World(folder=top, port=free_port())
    try:
        world.start_centre()
        del os.environ["CAUSEWAY_TES_FOLDERS"]
        profile = top / "alba.toml"
        profile.write_text(PROFILE)
        world.join("alba", profile, world.join_token(1))
        world.until("the island runs images", WAIT_S, lambda: _runs_images(world))
        images = top / "images"
        images.mkdir()
        archive.rename(images / "busybox.tar")
        with Client(world.url, world.token) as client:
            client.upload(images, name="busybox")
        yield Scene(world, top / "open", "archive:busybox")
    finally:
        world.stop()


def _runs_images(world: World) -> bool:
    offers = world.call("GET", "/v1/offers")["offers"]
    return any(offer["images"] for offer in offers)
