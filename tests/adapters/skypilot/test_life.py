"""The life of a machine with real processes: control plane, `causeway burst`, watchman, agent, job.

SkyPilot's API server is played from a recording (`played.py`), and the cloud behind it is this
computer: what the task of a launch says (`setup`, `run`, mounts, secrets) is done here, in a home
folder of its own, with `sudo` and `uv` as scripts that write down what they were told.
"""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.adapters.skypilot.played import Launched, Played, served

from causeway.demo.world import World, free_port

pytestmark = pytest.mark.engines
WAIT_S = 300.0
"""Only a hang takes this long; nothing is asserted about time."""
PROFILE = """
name = "burst"
sky = "{sky}"
url = "{url}"
budget = "50"
machines = 2
lease = "4h"
idle = "{idle}"
wait = "0s"
[[place]]
infra = "fluidstack/norway_4_eu"
jurisdiction = "NO"
"""
NEEDS_A_MACHINE = """
name: train
run: "true"
resources: {accelerators: "H100:1"}
"""


def until(check: Callable[[], Any], what: str) -> Any:
    """Wait until something is so, and return it."""
    give_up = time.monotonic() + WAIT_S
    while not (found := check()):
        assert time.monotonic() < give_up, f"{what} never became so"
        time.sleep(0.1)
    return found


class Cloud:
    """Machines that are this computer."""

    def __init__(self, folder: Path, played: Played) -> None:
        self.folder = folder
        self.played = played
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.threads: list[threading.Thread] = []
        played.on_launch = self.launch
        played.on_down = self.down

    def launch(self, made: Launched) -> None:
        made.machine = "INIT"
        thread = threading.Thread(target=self._live, args=(made,))
        self.threads.append(thread)
        thread.start()

    def home(self, name: str) -> Path:
        return self.folder / name

    def _live(self, made: Launched) -> None:
        """Do what SkyPilot does with a task, and take the machine away when `run` has ended."""
        home = self.home(made.name)
        tools = home / "bin"
        tools.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(self.played.blobs[made.blob])) as parcel:
            parcel.extractall(home)
        venv = f'[ "$1" = venv ] && ln -s {sys.prefix} venv'
        for name, line in (("uv", venv), ("sudo", ":")):
            told = f'printf "%s\\n" "$*" >> {home}/told-{name}'
            (tools / name).write_text(f"#!/bin/sh\n{told}\n{line}\nexit 0\n")
            (tools / name).chmod(stat.S_IRWXU)
        env = {**os.environ, "HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}"}
        env |= made.task["secrets"]
        with (home / "log").open("wb") as log:
            steps = {"env": env, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            done = subprocess.run(["bash", "-c", made.task["setup"]], check=False, **steps)
            if done.returncode:
                made.status, made.machine = "FAILED", ""
                return
            process = subprocess.Popen(["bash", "-c", made.task["run"]], **steps)
            self.running[made.name] = process
            made.status, made.machine = "SUCCEEDED", "UP"
            process.wait()
        made.machine = ""

    def down(self, name: str) -> None:
        self.running[name].terminate()

    def stop(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.terminate()
        for thread in self.threads:
            thread.join(WAIT_S)


class House:
    """A control plane, a played SkyPilot with a cloud, and the command line."""

    def __init__(self, folder: Path, sky: str, played: Played) -> None:
        self.folder = folder
        self.played = played
        self.cloud = Cloud(folder / "cloud", played)
        self.world = World(folder=folder, port=free_port())
        self.world.start_centre()
        self.sky = sky
        self.profile("1h")

    def profile(self, idle: str) -> None:
        (self.folder / "burst.toml").write_text(
            PROFILE.format(sky=self.sky, url=self.world.url, idle=idle)
        )

    @property
    def line(self) -> list[str]:
        place = [str(self.folder / "burst.toml"), "--state", str(self.folder / "book")]
        return [sys.executable, "-m", "causeway.cli", "burst", *place]

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"CAUSEWAY_URL": self.world.url, "CAUSEWAY_TOKEN": self.world.token}

    def start(self) -> subprocess.Popen[bytes]:
        """Start a controller that stays."""
        with (self.folder / "burst.log").open("ab") as log:
            steps: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            return subprocess.Popen([*self.line, "--every", "1"], env=self.env, **steps)

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            [*self.line, *words],
            capture_output=True,
            text=True,
            env=self.env,
            stdin=subprocess.DEVNULL,
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, text: str) -> str:
        headers = {"content-type": "application/yaml"}
        return str(self.world.call("POST", "/v1/jobs", content=text, headers=headers)["id"])

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("--status", "--json"))
        return found

    def stages(self) -> list[str]:
        path = self.folder / "book" / "book.json"
        if not path.exists():
            return []
        return [one["stage"] for one in json.loads(path.read_text())["rentals"]]

    def island(self, name: str) -> dict[str, Any]:
        rows = self.world.call("GET", "/v1/islands")["islands"]
        return next((row for row in rows if row["profile"]["name"] == name), {})

    def stop(self) -> None:
        self.cloud.stop()
        self.world.stop()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    played = Played()
    with served(played) as sky:
        made = House(tmp_path, sky, played)
        try:
            yield made
        finally:
            made.stop()


def ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_S)


def test_a_machine_is_rented_joins_works_and_goes_back_by_a_recorded_conversation(
    house: House,
) -> None:
    train = house.submit(NEEDS_A_MACHINE)
    # The machine that is this computer has no H100, so other work is what runs there.
    job = house.submit("name: cpu\nrun: echo from-afar\nwhere: site.jurisdiction == 'NO'\n")
    controller = house.start()
    try:
        until(lambda: house.played.launches, "a launch")
        name = house.played.launches[0].name
        found = until(
            lambda: (j := house.world.call("GET", f"/v1/jobs/{job}"))["state"] == "succeeded" and j,
            "a job that succeeded there",
        )
        assert found["island"].endswith(name)
        # A controller that starts anew gives back what nobody needs.
        ended(controller)
        house.profile("2s")
        controller = house.start()
        until(lambda: house.stages() == ["gone"], "a machine that went back")
    finally:
        ended(controller)
    assert house.played.downs
    home = house.cloud.home(name)
    armed, off = (home / "told-sudo").read_text().splitlines()
    assert armed.startswith("-n shutdown -h +2")
    assert off == "-n shutdown -h +15"
    assert "venv -q --clear --python 3.12 venv" in (home / "told-uv").read_text()
    island = house.island(name)
    assert (island["state"], island["expelled"]) == ("left", True)
    assert island["profile"]["jurisdiction"] == "NO"
    status = house.status()
    assert status["committed_micros"] == 0
    assert 0 < status["spent_micros"] < 1_000_000
    # It stood there in vain for the job that it was rented for, so there is no second one.
    (row,) = json.loads(house.ask("--plan", "--json"))
    assert (row["wish"], row["jobs"]) == ("leave", [train])
    assert "stood idle for train" in row["reasons"][0]["message"]
    assert len(house.played.launches) == 1


def test_a_machine_ends_its_lease_though_controller_and_control_plane_are_gone(
    house: House,
) -> None:
    text = (house.folder / "burst.toml").read_text()
    (house.folder / "burst.toml").write_text('unreachable = "30s"\n' + text)
    house.submit(NEEDS_A_MACHINE)
    controller = house.start()
    try:
        until(lambda: house.played.launches, "a launch")
        name = house.played.launches[0].name
        until(lambda: house.island(name).get("state") == "live", "a live island")
        controller.kill()
        controller.wait(WAIT_S)
        house.world.kill("centre")
        until(lambda: not house.played.machines(), "a machine that turned itself in")
        assert house.played.downs == []
        said = (house.cloud.home(name) / "log").read_text()
        assert "the lease ends: no agent has had an answer from the centre" in said
        left = [
            one.info["cmdline"]
            for one in psutil.process_iter(["cmdline"])
            if str(house.cloud.home(name)) in " ".join(one.info["cmdline"] or ())
        ]
        assert left == []
        # A controller that comes back finds that out, and owes nothing more.
        house.world.start_centre()
        house.ask("--once")
        assert house.stages()[0] == "gone"
    finally:
        ended(controller)


@pytest.mark.parametrize("point", ["/upload_v2", "/launch"])
def test_a_controller_killed_between_its_book_and_the_launch_rents_one_machine(
    house: House, point: str
) -> None:
    """SIGKILL while SkyPilot hears of the upload (nothing was launched yet) or of the launch (whose
    answer is then lost)."""
    controllers: list[subprocess.Popen[bytes]] = []
    killed = threading.Event()

    def kill(path: str) -> None:
        if path == point and not killed.is_set():
            # The process exists: it is what asks.
            until(lambda: controllers, "the handle of the controller")
            controllers[0].kill()
            controllers[0].wait(WAIT_S)
            killed.set()

    house.played.on_ask = kill
    house.submit(NEEDS_A_MACHINE)
    controllers.append(house.start())
    assert killed.wait(WAIT_S)
    assert house.stages() == ["intended"]
    again = house.start()
    try:
        until(lambda: house.stages() == ["up"], "a machine that stands")
        name = house.played.launches[0].name
        until(lambda: house.island(name).get("state") == "live", "a live island")
    finally:
        ended(again)
    assert len(house.played.launches) == 1
    house.ask("--close", "--every", "1")
    assert house.stages() == ["gone"]
