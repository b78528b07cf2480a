"""The processes that benches measure: a control plane and islands, as a user starts them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from causeway.demo.world import free_port

PROFILE = """\
name = "{name}"
provider = "bench"
jurisdiction = "DE"
operator_country = "DE"
price_per_device_h = "0.010"
carbon_g_per_kwh = 100.0
pue = 1.2
simulated = ["price_per_device_h", "carbon_g_per_kwh", "pue", "jurisdiction"]
"""


@dataclass(slots=True)
class Plant:
    """Everything that was started; `stop` ends it all and removes the folder."""

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

    def start(self, name: str, *command: str) -> psutil.Process:
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

    def start_centre(self) -> psutil.Process:
        """Start the control plane (`causeway up`) and wait until it leads."""
        command = (sys.executable, "-m", "causeway.cli", "up", "--state")
        state = str(self.folder / "centre")
        process = self.start("centre", *command, state, "--port", str(self.port))
        self.until("the control plane leads", 30, self._leads)
        self.client.headers["authorization"] = f"Bearer {self.token}"
        return process

    def _leads(self) -> bool:
        try:
            return self.client.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def join_token(self, uses: int = 10) -> str:
        """Return a token with which that many islands may join."""
        made = self.call("POST", "/v1/tokens", json={"join_uses": uses})
        return str(made["secret"])

    def start_island(
        self, name: str, token: str, *, cpus: int = 2, memory_gib: int = 4, disk_gib: int = 10
    ) -> psutil.Process:
        """Start an agent (`causeway join`) and wait until its island is live."""
        profile = self.folder / f"{name}.toml"
        profile.write_text(PROFILE.format(name=name))
        profile.with_suffix(".capacity.toml").write_text(
            f"cpu_milli = {cpus * 1000}\nmemory_bytes = {memory_gib << 30}\n"
            f"disk_bytes = {disk_gib << 30}\naccelerators = 0\n"
        )
        root = str(self.folder / "islands" / name)
        command = (sys.executable, "-m", "causeway.cli", "join", self.url, "--token", token)
        process = self.start(name, *command, "--root", root, "--profile", str(profile))
        self.until(f"{name} is live", 60, lambda: self._live(name))
        return process

    def _live(self, name: str) -> bool:
        found = self.call("GET", "/v1/islands")["islands"]
        return any(
            i["id"].endswith(f":{name}") and i["state"] == "live" and i["inventory"] for i in found
        )

    def kill(self, name: str) -> float:
        """SIGKILL a process and all that it started; return the instant, on the wall clock, in
        seconds."""
        top = psutil.Process(self.processes[name].pid)
        victims = [top, *top.children(recursive=True)]
        at_s = time.time()
        for victim in victims:
            try:
                victim.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                # It ended by itself between the listing and the signal: as dead as asked.
                continue
        self.processes[name].wait(10)
        return at_s

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Call the API and return its JSON; an error is raised with what the API says."""
        answer = self.client.request(method, self.url + path, **options)
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def events(self, job: str) -> list[dict[str, Any]]:
        """Return a job's events, oldest first."""
        found = self.call("GET", f"/v1/jobs/{job}/events?limit=5000")["events"]
        return list(found)

    def until(
        self, what: str, seconds: float, check: Callable[[], Any], *, every_s: float = 0.05
    ) -> Any:
        """Wait until `check()` is true and return its value; raise when it takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            value = check()
            if value:
                return value
            if time.monotonic() > deadline:
                tails = {
                    name: (self.folder / f"{name}.log").read_text()[-1500:]
                    for name in self.processes
                    if (self.folder / f"{name}.log").stat().st_size
                }
                raise RuntimeError(f"after {seconds:.0f} s this was not so: {what}; logs: {tails}")
            time.sleep(every_s)

    def stop(self) -> None:
        """End everything, the control plane last, and remove what was written."""
        for name in sorted(self.processes, key=lambda name: name == "centre"):
            process = self.processes[name]
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def plant() -> Iterator[Plant]:
    """Yield an empty plant in a new folder; whatever was started in it ends at the end."""
    made = Plant(folder=Path(tempfile.mkdtemp(prefix="causeway-bench-")), port=free_port())
    try:
        yield made
    finally:
        made.stop()


def rss_mb(process: psutil.Process) -> float:
    """Return a process's resident memory in MB."""
    return float(process.memory_info().rss) / 1e6


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has used, children that ended included."""
    times = process.cpu_times()
    return float(times.user + times.system)
