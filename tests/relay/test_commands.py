"""`causeway shell`, `attach` and `forward` as people use them: in a terminal of their own."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl

import pytest

from .conftest import WAIT_S, System, until
from .test_forward import free_port, service

pytestmark = pytest.mark.engines


class Screen:
    """A command in a pseudo-terminal."""

    def __init__(self, system: System, *words: str) -> None:
        self.shown = b""
        self.master, slave = pty.openpty()
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "causeway.cli", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env=os.environ | {"CAUSEWAY_URL": system.url, "CAUSEWAY_TOKEN": system.token},
        )
        os.close(slave)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, wanted: bytes) -> None:
        """Read until the text is shown."""
        give_up = time.monotonic() + WAIT_S
        while wanted not in self.shown:
            left_s = give_up - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0.0, left_s))
            assert ready, f"never shown: {wanted!r} in {self.shown!r}"
            self.shown += os.read(self.master, 65536)

    def end(self) -> int:
        """Wait for the command's end; return its exit code."""
        give_up = time.monotonic() + WAIT_S
        while True:
            left_s = give_up - time.monotonic()
            ready, _, _ = select.select([self.master], [], [], max(0.0, left_s))
            assert ready, f"it does not end; it showed {self.shown!r}"
            try:
                data = os.read(self.master, 65536)
            except OSError:
                # Linux says so when the last holder of a terminal is gone.
                break
            self.shown += data
        return self.process.wait(WAIT_S)


@contextmanager
def screen(system: System, *words: str) -> Iterator[Screen]:
    made = Screen(system, *words)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        os.close(made.master)


@pytest.fixture(scope="module")
def island(system: System) -> System:
    system.join("alba")
    return system


def test_shell_detach_attach_and_exit(island: System) -> None:
    with screen(island, "shell", "--cpus", "100m", "--memory", "64MiB", "--name", "mine") as here:
        here.until(b"Attached to")
        here.type("echo a$((20+1))b; stty size; echo $TERM\n")
        here.until(b"a21b")
        here.until(b"31 97")
        here.type("\x1d")
        assert here.end() == 0
        assert b"Detached; it goes on" in here.shown
    job = island.client.job("mine")
    assert job["state"] == "running"
    with screen(island, "attach", "mine") as again:
        again.until(b"a21b")
        again.type("exit 7\n")
        assert again.end() == 7
    until(lambda: island.client.job(job["id"])["state"] == "succeeded")


def test_forward_leads_to_a_service_until_ctrl_c(island: System) -> None:
    job = island.run(service(free_port()))
    port = free_port()

    def page() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=120) as answer:
                body: bytes = answer.read()
                return body
        except OSError:
            return b""

    with screen(island, "forward", job, str(port)) as here:
        here.until(b"leads to its port")
        assert until(page).startswith(b"hello from")
        here.process.send_signal(signal.SIGINT)
        assert here.end() == 130
    island.client.cancel(job)


@pytest.mark.parametrize("ports", ["x", "80:x", "70000", "1:70000", ":80", ""])
def test_ports_that_are_none_are_refused(island: System, ports: str) -> None:
    with screen(island, "forward", "any", ports) as here:
        assert here.end() == 2
