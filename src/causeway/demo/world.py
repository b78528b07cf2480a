"""The processes of the demonstration: one control plane and three islands, started and killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from causeway.model.errors import Unavailable

ISLANDS = ("alba", "boreal", "corva")
PROFILES = Path(__file__).parent / "islands"


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leave_up(world: World) -> None:
    """Write down what stays up, so that a later run, or `--stop`, can end it."""
    lines = [
        f"{process.pid} {psutil.Process(process.pid).create_time()}"
        for process in world.processes.values()
        if process.poll() is None
    ]
    (world.folder / "left-up").write_text("\n".join(lines) + "\n")


def stop_left(folder: Path) -> int:
    """End what an earlier run left up; return how many processes that were. A process id that
    belongs to another program by now is left alone."""
    note = folder / "left-up"
    if not note.exists():
        return 0
    found = []
    for line in note.read_text().splitlines():
        pid, _, created = line.partition(" ")
        try:
            process = psutil.Process(int(pid))
            if process.create_time() == float(created):
                process.terminate()
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(found, timeout=15)
    for process in alive:
        process.kill()
    note.unlink()
    return len(found)


@dataclass(slots=True)
class World:
    """Everything that was started; `stop` ends it all."""

    folder: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30.0))

    @property
    def url(self) -> str:
        """Where the control plane listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The operator's token."""
        return (self.folder / "centre" / "operator.token").read_text().strip()

    def run(self, name: str, *command: str) -> psutil.Process:
        """Start a process in its own session, its output in `<folder>/<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        self.processes[name] = process
        return psutil.Process(process.pid)

    def start(self, name: str, *arguments: str) -> psutil.Process:
        """Start a `causeway` process."""
        return self.run(name, sys.executable, "-m", "causeway.cli", *arguments)

    def start_centre(self) -> psutil.Process:
        """Start the control plane and wait until it leads."""
        state = self.folder / "centre"
        process = self.start("centre", "up", "--state", str(state), "--port", str(self.port))
        self.until("the control plane leads", 120, self._leads)
        self.client.headers["authorization"] = f"Bearer {self.token}"
        return process

    def _leads(self) -> bool:
        try:
            return self.client.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def join_token(self, uses: int) -> str:
        """Return a token with which that many islands may join."""
        return str(self.call("POST", "/v1/tokens", json={"join_uses": uses})["secret"])

    def join(self, name: str, profile: Path, join_token: str = "") -> psutil.Process:
        """Join an island by the access path that a stranger's would use. Without a token it
        returns by the key that it has."""
        token = ("--token", join_token) if join_token else ()
        root = str(self.folder / "islands" / name)
        return self.start(name, "join", self.url, *token, "--root", root, "--profile", str(profile))

    def kill(self, name: str) -> list[int]:
        """SIGKILL a process outright, with everything that it started; return who they were."""
        top = psutil.Process(self.processes[name].pid)
        victims = [top, *top.children(recursive=True)]
        for victim in victims:
            try:
                victim.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                # It ended by itself between the listing and the signal: as dead as asked.
                continue
        self.processes[name].wait(10)
        return [victim.pid for victim in victims]

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call the API and return its JSON; an error is raised with what the API says."""
        answer = self.client.request(method, self.url + path, **options)
        if answer.status_code >= 400:
            raise Unavailable(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def until(
        self, what: str, seconds: float, check: Callable[[], Any], *, every_s: float = 0.1
    ) -> Any:
        """Wait until `check()` is true and return its value; raise when it takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            value = check()
            if value:
                return value
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"after {seconds:.0f} s this was not so: {what}",
                    hint=f"see the logs in {self.folder}",
                )
            for name, process in self.processes.items():
                if process.poll() is not None and process.returncode not in (0, -signal.SIGKILL):
                    raise Unavailable(
                        f"{name} ended with {process.returncode}",
                        hint=f"see {self.folder / name}.log",
                    )
            time.sleep(every_s)

    def stop(self) -> None:
        """End everything, islands first so that they leave cleanly."""
        for name in sorted(self.processes, key=lambda name: name == "centre"):
            process = self.processes[name]
            if process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.client.close()
