"""A control plane and an island as processes, Slurm's commands, and a folder that they share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from causeway.demo.world import World, free_port

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers"
PROGRAMS = Path(__file__).parent / "programs"
WAIT_S = 120
"""Only a hang takes this long; nothing is asserted about time."""
PROFILE = """
name = "alba"
provider = "alba-provider"
jurisdiction = "IT"

[engine]
kind = "local"
shared = ["{shared}"]
"""


@dataclass(slots=True)
class Scene:
    """What every test of this folder plays in."""

    world: World
    folder: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """A folder that the island's jobs write in place."""
        return self.folder / "shared"

    def env(self) -> dict[str, str]:
        """The environment of a person who has put the commands first on the PATH."""
        return {
            **os.environ,
            "CAUSEWAY_URL": self.world.url,
            "CAUSEWAY_TOKEN": self.world.token,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PATH": f"{self.folder / 'bin'}:{PEERS / 'bin'}:{os.environ['PATH']}",
            **self.more,
        }

    def run(self, *words: str, at: Path, code: int = 0) -> str:
        """Run a command in a folder; return what it printed."""
        at.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            words,
            cwd=at,
            env=self.env(),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def program(self, name: str, *, at: Path) -> str:
        """Run one of the programs with the peers' Python."""
        return self.run(str(PEERS / "bin" / "python"), str(PROGRAMS / name), at=at)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The control plane as a process, the island as another."""
    for name in ("submitit", "dask_jobqueue", "parsl", "psij"):
        found = list(PEERS.glob(f"lib/python3*/site-packages/{name}"))
        assert found, f"{name} is not in .venv-peers; run `make peers` (tests/peers.txt lists it)"
    top = tmp_path_factory.mktemp("shim")
    made = Scene(World(folder=top, port=free_port()), top)
    made.shared.mkdir()
    world = made.world
    try:
        world.start_centre()
        profile = top / "alba.toml"
        profile.write_text(PROFILE.format(shared=made.shared))
        world.start(
            "alba", "join", world.url, "--token", world.join_token(1),
            "--root", str(top / "islands" / "alba"), "--profile", str(profile),
            "--visible", str(PEERS),
        )  # fmt: skip
        world.until("the island has room", 60, lambda: world.call("GET", "/v1/offers")["offers"])
        subprocess.run(
            [sys.executable, "-m", "causeway.cli", "shim", "slurm", str(top / "bin")], check=True
        )
        yield made
    finally:
        world.stop()
