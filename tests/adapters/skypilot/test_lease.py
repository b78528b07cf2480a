"""The watchman of a rented machine as a real process, with the real agent; power is a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.engines
WAIT_S = 120.0
"""Only a hang takes this long; nothing is asserted about time."""
NEVER_MS = 10**9
PROFILE = 'name = "burst-1"\nprovider = "cloud"\njurisdiction = "NO"\n'


def lease(folder: Path, url: str, **limits: int) -> subprocess.Popen[str]:
    """Start a watchman; what its limits do not say is never reached."""
    given = {
        **{"until_ms": 2 * 10**15, "lease_ms": NEVER_MS, "drain_ms": 0},
        **{"idle_ms": NEVER_MS, "unreachable_ms": NEVER_MS},
        **limits,
    }
    poweroff = ["sh", "-c", f"echo 'off in {{minutes}} min' >> {folder}/power"]
    told = {"url": url, "name": "burst-1", "poweroff": poweroff, "limits": given}
    (folder / "lease.json").write_text(json.dumps(told))
    (folder / "island.toml").write_text(PROFILE)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "causeway.adapters.skypilot.lease", str(folder)],
        env={**os.environ, "CAUSEWAY_JOIN_TOKEN": "cw_0000000000000000_0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str], folder: Path) -> str:
    """Wait for its end; return what it said. Its agent and all of it must be gone."""
    try:
        said, _ = process.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        for one in psutil.Process(process.pid).children(recursive=True):
            one.kill()
        process.kill()
        raise
    assert process.returncode == 0, said
    left = [
        one.info["cmdline"]
        for one in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(one.info["cmdline"] or ())
    ]
    assert left == []
    return said


@contextmanager
def centre() -> Iterator[str]:
    """Answer `/healthz` and nothing else: a control plane that lets nobody join."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            well = self.path == "/healthz"
            body = b"{}"
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200 if well else 503)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _do

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_machine_whose_centre_is_gone_turns_itself_in(tmp_path: Path) -> None:
    said = ended(lease(tmp_path, "http://127.0.0.1:1", unreachable_ms=3_000), tmp_path)
    assert "the lease ends: no agent has had an answer from the centre" in said
    assert (tmp_path / "power").read_text() == "off in 15 min\n"


def test_an_idle_machine_turns_itself_in_though_its_centre_answers(tmp_path: Path) -> None:
    with centre() as url:
        said = ended(lease(tmp_path, url, idle_ms=3_000), tmp_path)
    assert "the lease ends: nothing has run here" in said
    assert (tmp_path / "power").exists()


def test_a_busy_machine_leaves_at_the_end_of_its_lease(tmp_path: Path) -> None:
    (tmp_path / "root" / "attempts" / "held-by-an-agent").mkdir(parents=True)
    with centre() as url:
        said = ended(lease(tmp_path, url, idle_ms=1, lease_ms=3_000), tmp_path)
    assert "the lease ends" in said
    assert (tmp_path / "power").exists()


def test_a_lease_that_is_over_already_ends_at_once(tmp_path: Path) -> None:
    said = ended(lease(tmp_path, "http://127.0.0.1:1", until_ms=1_000), tmp_path)
    assert "the lease ends in 0 s" in said


def test_a_watchman_that_is_told_to_go_lets_its_agent_leave(tmp_path: Path) -> None:
    with centre() as url:
        process = lease(tmp_path, url)
        watcher = psutil.Process(process.pid)
        while not watcher.children():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert "it was told to (SIGTERM)" in ended(process, tmp_path)
    assert (tmp_path / "power").exists()
