"""A control plane that comes back whenever it dies, as under any service manager."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from causeway.model.errors import Unavailable

ENVIRONMENT = {"CAUSEWAY_LEASE_MS": "1200", "CAUSEWAY_HOLD_MS": "20", "CAUSEWAY_SKEW_MS": "100"}
PATIENCE_S = 60.0


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Nursery:
    """The process that forks control planes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        self._turn = threading.Lock()

    def start(self, **request: object) -> int:
        """Start a control plane; return its pid."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """Kill everything that was started and is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@dataclass(slots=True, kw_only=True)
class Centre:
    """One control plane over a state folder, started again whenever it is found dead."""

    nursery: Nursery
    state: Path
    port: int
    store: str | None = None
    deaths: int = 0
    pid: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _guardian: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.state / "centre.log"

    @property
    def token(self) -> str:
        return (self.state / "operator.token").read_text().strip()

    def start(self, crash_at: str = "") -> None:
        """Start it with a crash point; from then on it is brought back without one."""
        self.state.mkdir(parents=True, exist_ok=True)
        self._begin({"CAUSEWAY_CRASH_AT": crash_at} if crash_at else {})
        self._guardian = threading.Thread(target=self._guard, daemon=True)
        self._guardian.start()

    def _begin(self, env: dict[str, str]) -> None:
        self.pid = self.nursery.start(
            state=str(self.state),
            port=self.port,
            store=self.store,
            log=str(self.log),
            env=ENVIRONMENT | env,
        )

    def _guard(self) -> None:
        while not self._over.wait(0.005):
            if not self.alive():
                self.deaths += 1
                if self.deaths > 5:
                    return
                self._begin({})

    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """End it for good, the hard way."""
        self._over.set()
        assert self._guardian is not None
        self._guardian.join()
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        deadline = time.monotonic() + 10
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.005)


@dataclass(slots=True, kw_only=True)
class Client:
    """A client that repeats every request until it is answered, with the same idempotency key."""

    centre: Centre
    repeats: int = 0
    _http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30.0))

    def insist(
        self, method: str, path: str, *, body: object = None, key: str = ""
    ) -> httpx.Response:
        """Return the first answer that is one; 4xx is a defect of the test."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                headers = {"authorization": f"Bearer {self.centre.token}"}
                if key:
                    headers["idempotency-key"] = key
                answer = self._http.request(
                    method, self.centre.url + path, json=body, headers=headers
                )
            except (httpx.TransportError, FileNotFoundError):
                answer = None
            if answer is not None and answer.status_code < 400:
                return answer
            early = answer is not None and answer.status_code in (401, 503)
            if answer is not None and not early:
                raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
            self.repeats += 1
            time.sleep(0.01)
        log = self.centre.log.read_text() if self.centre.log.exists() else "no log"
        raise Unavailable(f"{method} {path} was not answered in {PATIENCE_S:.0f} s; {log[-2000:]}")

    def close(self) -> None:
        self._http.close()
