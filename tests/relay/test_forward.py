"""A service's port from anywhere: a real `python -m http.server`, also after its island died."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from causeway.model.errors import CausewayError, InvalidInput
from causeway.sdk.relayed import forward

from .conftest import WAIT_S, System, until

pytestmark = pytest.mark.engines


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def service(port: int, where: str = "") -> str:
    return f"""
name: site
resources: {{cpus: 100m, memory: 64MiB}}
service: {{port: {port}}}
where: {where!r}
run: |
  echo "hello from $CAUSEWAY_ISLAND" > index.html
  head -c 3000000 /dev/zero | tr '\\0' z > large
  exec python -m http.server --bind 127.0.0.1 $PORT
"""


class Forwarding:
    """A forward in a thread of its own, as the command runs it."""

    def __init__(self, system: System, job: str, remote_port: int = 0) -> None:
        self.port = 0
        self.errors: list[CausewayError] = []
        self._begun = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(
            forward(
                system.client,
                job,
                local_port=0,
                remote_port=remote_port,
                ready=self._ready,
                told=self.errors.append,
            )
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._begun.wait(WAIT_S)

    def _run(self) -> None:
        self._loop.run_until_complete(asyncio.wait([self._task]))
        rest = asyncio.all_tasks(self._loop)
        for task in rest:
            task.cancel()
        if rest:
            # Without tasks, `gather` would look for an event loop of this thread, and find none.
            self._loop.run_until_complete(asyncio.wait(rest))
        self._loop.close()

    def _ready(self, port: int) -> None:
        self.port = port
        self._begun.set()

    def get(self, path: str = "/") -> bytes:
        """Return a page, or nothing while it cannot be had."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=120) as page:
                body: bytes = page.read()
                return body
        except (OSError, urllib.error.URLError):
            return b""

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(WAIT_S)


@contextmanager
def forwarding(system: System, job: str, remote_port: int = 0) -> Iterator[Forwarding]:
    made = Forwarding(system, job, remote_port)
    try:
        yield made
    finally:
        made.close()


def test_a_service_is_reached_and_reached_again_where_it_went(system: System) -> None:
    system.join("alba")
    job = system.run(service(free_port()))
    with forwarding(system, job) as way:
        assert until(way.get).startswith(b"hello from urn:cpi:")
        assert b"island:alba" in way.get()
        assert way.get("/large") == b"z" * 3_000_000
        together = [threading.Thread(target=way.get, args=("/large",)) for _ in range(8)]
        for one in together:
            one.start()
        for one in together:
            one.join(WAIT_S)
        assert not way.errors or all("listens" in e.message for e in way.errors)
        system.join("boreal")
        system.kill("alba")
        assert until(lambda: b"island:boreal" in way.get())
        system.client.cancel(job)
        until(lambda: system.client.job(job)["state"] == "cancelled")
        assert way.get() == b""


def test_only_what_the_job_itself_listens_on_is_reached(system: System) -> None:
    if "boreal" not in system.islands:
        system.join("boreal")
    job = system.run("run: sleep 600\nname: other\nresources: {cpus: 100m, memory: 64MiB}\n")
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        with forwarding(system, job, port) as way:
            assert way.get() == b""
            until(lambda: way.errors)
        assert f"listens on port {port}" in way.errors[0].message
    with forwarding(system, job) as way:
        assert way.get() == b""
        until(lambda: way.errors)
    assert isinstance(way.errors[0], InvalidInput)
    system.client.cancel(job)


def test_a_service_that_ends_is_started_again(system: System) -> None:
    if "boreal" not in system.islands:
        system.join("boreal")
    job = str(
        system.client.submit(
            "name: brief\nresources: {cpus: 100m, memory: 64MiB}\n"
            "service: {}\nretry: {backoff: 10ms}\nrun: exit 0\n"
        )["id"]
    )
    until(lambda: len(system.client.job(job)["attempts"]) >= 3)
    first = system.client.job(job)["attempts"][0]
    assert (first["state"], first["failure"]) == ("failed", "user")
    assert "a service runs until it is stopped" in first["message"]
    system.client.cancel(job)
    until(lambda: system.client.job(job)["state"] == "cancelled")
