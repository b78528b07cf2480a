"""A whole system on loopback: a control plane in this process, islands as real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn

from causeway.api.app import application
from causeway.api.door import Door
from causeway.sdk.client import Client
from causeway.wiring import centre

WAIT_S = 120.0
"""Only a hang takes this long; nothing is asserted about time."""
JOIN = """
import sys
from pathlib import Path
from causeway import wiring
wiring._warm = lambda: ()
url, token, root, profile = sys.argv[1:]
wiring.join(url, token=token, root=Path(root), profile=Path(profile))
"""
PROFILE = """
name = "{name}"
provider = "{name}-provider"
jurisdiction = "IT"
operator_country = "IT"
price_per_device_h = "0.060"
purchase = "on_demand"
simulated = ["jurisdiction", "price_per_device_h"]
"""


def until(check: Callable[[], Any]) -> Any:
    """Wait until something is so, and return it."""
    give_up = time.monotonic() + WAIT_S
    while not (found := check()):
        assert time.monotonic() < give_up, "this never became so"
        time.sleep(0.05)
    return found


class System:
    """A control plane and its islands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        parts = centre(state=folder / "centre")
        door = Door(**{one.name: getattr(parts, one.name) for one in fields(parts)})
        self.server = uvicorn.Server(
            uvicorn.Config(
                application(door),
                host="127.0.0.1",
                port=port,
                log_level="warning",
                ws="websockets-sansio",
                timeout_graceful_shutdown=3,
            )
        )
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until(lambda: self.server.started)
        self.url = f"http://127.0.0.1:{port}"
        self.token = until(self._operator)
        self.client = Client(self.url, self.token)
        self.islands: dict[str, subprocess.Popen[bytes]] = {}

    def _operator(self) -> str:
        path = self.folder / "centre" / "operator.token"
        return path.read_text().strip() if path.exists() else ""

    def call(self, path: str, body: object) -> Any:
        """POST as the operator."""
        from causeway.sdk import calls

        return self.client.send(calls.post(path, body))

    def stranger(self) -> Client:
        """Return a member of another project."""
        made = self.call("/v1/tokens", {"tenant": "other", "role": "member"})
        return Client(self.url, made["secret"])

    def join(self, name: str) -> None:
        """Start an island and wait until it offers something."""
        join = self.call("/v1/tokens", {"tenant": "default", "join_uses": 1})
        profile = self.folder / f"{name}.toml"
        profile.write_text(PROFILE.format(name=name))
        log = (self.folder / f"{name}.log").open("wb")
        self.islands[name] = subprocess.Popen(
            [
                sys.executable,
                "-c",
                JOIN,
                self.url,
                join["secret"],
                str(self.folder / name),
                profile,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        until(lambda: any(o["name"] == name for o in self.client.offers()))

    def kill(self, name: str) -> None:
        """SIGKILL an island: the agent and all that it started."""
        agent = psutil.Process(self.islands[name].pid)
        for victim in (agent, *agent.children(recursive=True)):
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                # It ended with its parent.
                continue
        self.islands.pop(name).wait(10)

    def run(self, text: str, state: str = "running") -> str:
        """Submit a job and wait until it is in a state; return its identifier."""
        job = str(self.client.submit(text)["id"])
        until(lambda: self.client.job(job)["state"] == state)
        return job

    def stop(self) -> None:
        """End everything."""
        for process in self.islands.values():
            process.terminate()
        for process in self.islands.values():
            process.wait(20)
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system without islands."""
    made = System(tmp_path_factory.mktemp("relay"))
    yield made
    made.stop()
