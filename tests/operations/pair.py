"""Two control planes of one store, and an island that knows both: started, killed, watched."""

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
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
PATIENCE_S = 60.0
PROFILE = """
name = "alba"
provider = "alba-cluster"
jurisdiction = "IT"
price_per_device_h = "3.60"
simulated = ["jurisdiction", "provider", "price_per_device_h"]
"""


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(what: str, check: Callable[[], T | None], *, every_s: float = 0.02) -> T:
    """Wait until `check()` is true and return what it says."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {PATIENCE_S:.0f} s this was not so: {what}")
        time.sleep(every_s)


@dataclass(slots=True, kw_only=True)
class Pair:
    """Control planes by port, all over one state folder and one store."""

    folder: Path
    store: str | None = None
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10.0))

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def token(self) -> str:
        return (self.state / "operator.token").read_text().strip()

    def up(self, url: str) -> None:
        """Start the control plane of that address."""
        arguments = ["up", "--state", str(self.state), "--port", url.rpartition(":")[2]]
        self._start(url, *arguments, *(["--store", self.store] if self.store else []))

    def join(self) -> None:
        """Let an island join that knows both addresses."""
        profile = self.folder / "alba.toml"
        profile.write_text(PROFILE)
        made = self.call("POST", "/v1/tokens", json={"join_uses": 1})
        self._start(
            "island",
            *("join", ",".join(self.urls), "--token", made["secret"]),
            *("--root", str(self.folder / "island"), "--profile", str(profile)),
        )

    def _start(self, name: str, *arguments: str) -> None:
        log = self.folder / f"{name.rpartition('/')[2].replace(':', '-')}.log"
        with log.open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "causeway.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )

    def health(self, url: str) -> dict[str, Any] | None:
        """Return what the control plane says of itself; None when it cannot be reached."""
        try:
            body: dict[str, Any] = self.http.get(f"{url}/healthz").json()
        except httpx.TransportError:
            return None
        return body

    def leader(self) -> str | None:
        """Return the address of the one that leads, if any does."""
        for url in self.urls:
            if (self.health(url) or {}).get("leading"):
                return url
        return None

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Ask whoever leads, and go on to the next when it does not answer."""

        def ask() -> httpx.Response | None:
            for url in self.urls:
                try:
                    answer = self.http.request(
                        method,
                        url + path,
                        headers={"authorization": f"Bearer {self.token}"},
                        **options,
                    )
                except (httpx.TransportError, FileNotFoundError):
                    continue
                if answer.status_code != 503:
                    return answer
            return None

        answer = until(f"{method} {path} is answered", ask)
        assert answer.status_code < 400, answer.text
        return answer.json()

    def kill(self, name: str) -> None:
        """SIGKILL, and see it dead."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait(10)

    def stop(self) -> None:
        """End everything; the island first, so that its jobs end with it."""
        island = self.processes.pop("island", None)
        if island is not None:
            island.terminate()
            try:
                island.wait(10)
            except subprocess.TimeoutExpired:
                island.kill()
                island.wait()
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.http.close()
