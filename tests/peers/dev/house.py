"""A control plane, islands as processes, a person's home folder, and the real OpenSSH client."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from causeway.demo.world import World, free_port
from causeway.sdk.client import Client

ROOT = Path(__file__).parents[3]
PEERS = ROOT / ".venv-peers"
WAIT_S = 90.0
"""Only a hang takes this long; nothing is asserted about time."""
SHORT = {"CAUSEWAY_LEASE_MS": "2000", "CAUSEWAY_HOLD_MS": "500", "CAUSEWAY_SKEW_MS": "200"}
PROFILE = 'name = "{name}"\nprovider = "{name}-provider"\njurisdiction = "IT"\n'


def until(check: Callable[[], Any], what: str) -> Any:
    """Wait until something is so, and return it."""
    give_up = time.monotonic() + WAIT_S
    while not (found := check()):
        assert time.monotonic() < give_up, f"{what} never became so"
        time.sleep(0.1)
    return found


class House:
    """Everything that was started; `stop` ends it."""

    def __init__(self, folder: Path) -> None:
        for name in ("ssh", "scp", "sftp"):
            assert shutil.which(name), f"{name} is not here: apt-get install openssh-client"
        assert (PEERS / "bin" / "jupyter-lab").exists(), "jupyterlab is not here: run make peers"
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.world = World(folder=folder, port=free_port())
        self.world.start_centre()
        self.client = Client(self.world.url, self.world.token)
        self.waiting: list[subprocess.Popen[Any]] = []

    def join(self, name: str) -> None:
        """Start an island whose owner shows Jupyter to its jobs, and wait until it offers."""
        profile = self.folder / f"{name}.toml"
        profile.write_text(PROFILE.format(name=name))
        self.world.start(
            name,
            "join",
            self.world.url,
            *("--token", self.world.join_token(1), "--profile", str(profile)),
            *("--root", str(self.folder / name), "--visible", str(PEERS)),
        )
        until(lambda: any(o["name"] == name for o in self.client.offers()), f"{name}'s offer")

    @property
    def env(self) -> dict[str, str]:
        """The person's environment."""
        return os.environ | {
            "HOME": str(self.home),
            "CAUSEWAY_URL": self.world.url,
            "CAUSEWAY_TOKEN": self.world.token,
            "XDG_CONFIG_HOME": str(self.home / ".config"),
        }

    @property
    def config(self) -> Path:
        """What `causeway dev` wrote for OpenSSH."""
        return self.home / ".ssh" / "causeway" / "config"

    def causeway(self, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command line as the person does."""
        done = subprocess.run(
            [sys.executable, "-m", "causeway.cli", *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=self.env,
            timeout=WAIT_S * 2,
            check=False,
        )
        assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        return done

    def run(
        self, program: str, *words: str | Path, given: bytes = b"", expect: int | None = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ssh, scp or sftp with that configuration and nothing else."""
        done = subprocess.run(
            [program, "-F", str(self.config), *map(str, words)],
            capture_output=True,
            input=given,
            env=self.env,
            timeout=WAIT_S,
            check=False,
        )
        assert expect is None or done.returncode == expect, done.stderr.decode()
        return done

    def open(self, program: str, *words: str | Path, **options: Any) -> subprocess.Popen[Any]:
        """Start one and leave it running."""
        process = subprocess.Popen(
            [program, "-F", str(self.config), *map(str, words)], env=self.env, **options
        )
        self.waiting.append(process)
        return process

    def kill_island(self, name: str) -> None:
        """SIGKILL an island and all that it started."""
        self.world.kill(name)
        self.world.processes.pop(name)

    def stop(self) -> None:
        """End everything."""
        for process in self.waiting:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
                process.wait()
        self.client.close()
        self.world.stop()
