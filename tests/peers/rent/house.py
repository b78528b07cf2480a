"""A control plane, islands as processes, a person's home folder, and the real OpenSSH client."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil

from causeway.demo.world import World, free_port
from causeway.model.money import Price
from causeway.price import charge_micros
from causeway.sdk.client import Client

ROOT = Path(__file__).parents[3]
WAIT_S = 120.0
"""Only a hang takes this long; nothing is asserted about time."""
SHORT = {"CAUSEWAY_LEASE_MS": "10000", "CAUSEWAY_HOLD_MS": "500", "CAUSEWAY_SKEW_MS": "200"}
PROFILE = 'name = "{name}"\nprovider = "{name}-provider"\njurisdiction = "IT"\n'


def until(check: Callable[[], Any], what: str, *, seconds: float = WAIT_S) -> Any:
    """Wait until something is so, and return it."""
    give_up = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < give_up, f"{what} never became so"
        time.sleep(0.1)
    return found


def cost_micros(job: dict[str, Any]) -> int:
    """Return what a job has to cost by what was metered."""
    usage = [attempt["usage"] for attempt in job["attempts"]]
    price = job["attempts"][0]["price"]["amount_per_device_h"]
    return sum(
        charge_micros(
            Price(id="p", amount_per_device_h=Decimal(price)),
            device_ms=one["device_ms"],
            energy_facility_mj=0,
        )
        for one in usage
    )


class House:
    """Everything that was started; `stop` ends it."""

    def __init__(self, folder: Path) -> None:
        for program, package in (("ssh", "openssh-client"), ("bwrap", "bubblewrap")):
            assert shutil.which(program), f"{program} is not here: apt-get install {package}"
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.world = World(folder=folder, port=free_port())
        self.world.start_centre()
        self.client = Client(self.world.url, self.world.token)

    def join(self, name: str, *options: str) -> None:
        """Start an island, and wait until it offers."""
        profile = self.folder / f"{name}.toml"
        profile.write_text(PROFILE.format(name=name))
        self.world.start(
            name,
            "join",
            self.world.url,
            *("--token", self.world.join_token(1), "--profile", str(profile)),
            *("--root", str(self.root(name)), *options),
        )
        until(lambda: self.offer(name), f"{name}'s offer")

    def root(self, name: str) -> Path:
        """Return an island's folder."""
        return self.folder / name

    def offer(self, name: str) -> Mapping[str, Any]:
        """Return an island's offer; nothing while there is none."""
        return next((one for one in self.client.offers() if one["name"] == name), {})

    @property
    def env(self) -> dict[str, str]:
        """The person's environment."""
        return os.environ | {
            "HOME": str(self.home),
            "CAUSEWAY_URL": self.world.url,
            "CAUSEWAY_TOKEN": self.world.token,
            "XDG_CONFIG_HOME": str(self.home / ".config"),
        }

    def causeway(
        self, *words: str, expect: int = 0, seconds: float = WAIT_S * 2
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as the person does."""
        done = subprocess.run(
            [sys.executable, "-m", "causeway.cli", *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=self.env,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        return done

    def ssh_words(self, *words: str) -> list[str]:
        """Return a command line of ssh with what `causeway rent` wrote, and nothing else."""
        return ["ssh", "-F", str(self.home / ".ssh" / "causeway" / "config"), *words]

    def ssh(self, *words: str, expect: int = 0, given: bytes = b"") -> str:
        """Run ssh and return what it says."""
        done = subprocess.run(
            self.ssh_words(*words),
            capture_output=True,
            input=given,
            env=self.env,
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode == expect, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode()

    def job(self, name: str) -> dict[str, Any]:
        """Return a rental's job, by the rental's name."""
        return self.client.job(f"rent-{name}")

    def facts(self, job: str, kind: str) -> list[Mapping[str, Any]]:
        """Return what the events of one kind say of a job."""
        return [one["data"] for one in self.client.events(job) if one["kind"] == kind]

    def rentals(self) -> list[dict[str, Any]]:
        """Return what `causeway rent ls --json` says."""
        said: list[dict[str, Any]] = json.loads(self.causeway("rent", "ls", "--json").stdout)
        return said

    def processes(self, words: str) -> list[int]:
        """Return the processes of this machine that have these words in their command line."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            with contextlib.suppress(psutil.Error):
                if words in " ".join(process.info["cmdline"] or ()):
                    found.append(process.pid)
        return found

    def is_empty(self, island: str, job: str) -> bool:
        """Say whether an island holds nothing of a job."""
        folder = self.root(island) / "attempts"
        return not list(folder.glob(f"{job.rpartition(':')[2]}-*"))

    def stop(self) -> None:
        """End everything."""
        self.client.close()
        self.world.stop()
