"""Commands that reach into running jobs: shell, attach, forward."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from causeway.cli import exits, sheets, talk
from causeway.cli.figures import local_id
from causeway.cli.options import Named
from causeway.model.errors import CausewayError, Conflict, InvalidInput
from causeway.sdk.client import ENDED, Client

if TYPE_CHECKING:
    from causeway.sdk.relayed import Left

POLL_S = 0.3
TYPED_BYTES = 32 * 1024
PORTS_MAX = 65_535


def shell(
    *,
    cpus: str = "1",
    memory: str = "1GiB",
    accelerators: str = "",
    where: str = "",
    workdir: str = "",
    isolation: str = "",
    time_limit: str = "",
    idle_limit: str = "",
    name: str = "shell",
) -> int:
    """Start a shell on an island and attach to it. `exit` ends it; Ctrl-] detaches.

    The exit code is the shell's own. A detached shell goes on until it is stopped, its time limit
    is over, or nobody is attached and nothing is shown for its idle limit.

    Parameters
    ----------
    cpus
        Cores, e.g. 2 or 500m.
    memory
        Memory, e.g. 4GiB.
    accelerators
        Accelerators, e.g. 1 or A100:2.
    where
        Filter over offers, e.g. "site.jurisdiction in EU".
    workdir
        Artefact that becomes the working folder.
    isolation
        Least isolation: process, limits or sandbox.
    time_limit
        End it after this long, e.g. 8h.
    idle_limit
        Hang up when nobody is attached and nothing is shown for so long; 1h unless given.
    name
        Name of the job.
    """
    resources = {"cpus": cpus, "memory": memory, "accelerators": accelerators}
    asked: dict[str, Any] = {
        "name": name,
        "kind": "interactive",
        "resources": {field: value for field, value in resources.items() if value},
        "envs": {"TERM": os.environ.get("TERM") or "xterm-256color"},
    }
    given = {
        "where": where,
        "workdir": workdir,
        "isolation": isolation,
        "time_limit": time_limit,
        "idle_limit": idle_limit,
    }
    asked |= {field: value for field, value in given.items() if value}
    with Client.from_settings() as client:
        text = json.dumps(asked)
        for line in sheets.plan(client.plan(text)):
            talk.say(line)
        made = client.submit(text, key=uuid.uuid4().hex)
        job = str(made.get("id", ""))
        talk.say(f"{local_id(job)} is submitted; Ctrl-C takes it back")
        try:
            _until_running(client, job)
        except KeyboardInterrupt:
            client.cancel(job)
            raise
        return _attached(client, job)


def attach(job: Named, /) -> int:
    """Attach to the shell of an interactive job; Ctrl-] detaches, the shell goes on.

    Exit code: the shell's own when it ends, 0 when detached.
    """
    with Client.from_settings() as client:
        return _attached(client, job)


def forward(job: Named, ports: str, /) -> int:
    """Let a port of this machine lead to a port that a job's own processes listen on.

    Stays until Ctrl-C. Every connection finds the job where it runs then.

    Parameters
    ----------
    ports
        LOCAL or LOCAL:REMOTE; without REMOTE, the port in the job file's `service`.
    """
    from causeway.sdk.relayed import forward as carry

    local, remote = _ports(ports)
    said: set[str] = set()

    def ready(port: int) -> None:
        to = f"port {remote}" if remote else "its port"
        talk.say(f"http://127.0.0.1:{port} leads to {to} of {job}  (Ctrl-C ends)")

    def told(error: CausewayError) -> None:
        if error.message not in said:
            said.add(error.message)
            talk.complain(error)

    with Client.from_settings() as client:
        # A job that is not there is said now, not at the first connection.
        client.job(job)
        asyncio.run(
            carry(client, job, local_port=local, remote_port=remote, ready=ready, told=told)
        )
    return exits.OK


def _ports(text: str) -> tuple[int, int]:
    local, _, remote = text.partition(":")
    found = []
    for one in (local, remote or "0"):
        if not one.isdigit() or int(one[:6]) > PORTS_MAX:
            raise InvalidInput(f"{text!r} is not LOCAL or LOCAL:REMOTE", hint="e.g. 8080:80")
        found.append(int(one))
    return found[0], found[1]


def _until_running(client: Client, job: str) -> None:
    """Wait, telling what it waits for."""
    told = ""
    while True:
        found = client.job(job)
        state, headline = str(found.get("state", "")), str(found.get("headline", ""))
        if state == "running":
            return
        if state in ENDED:
            raise Conflict(f"it {state}: {headline}", hint=f"causeway explain {local_id(job)}")
        if headline != told:
            talk.say(talk.clean(headline))
            told = headline
        time.sleep(POLL_S)


def _attached(client: Client, job: str) -> int:
    from causeway.sdk.relayed import attach as converse

    talk.say(f"Attached to {local_id(job)}: Ctrl-] detaches, exit ends it")

    async def whole() -> Left:
        return await converse(client, job, Keyboard())

    with _raw():
        left = asyncio.run(whole())
    if left.detached:
        talk.say(f"\nDetached; it goes on. causeway attach {local_id(job)}, or causeway stop")
        return exits.OK
    return left.exit_code or 0


@contextmanager
def _raw() -> Iterator[None]:
    """Have every key go to the far shell, Ctrl-C too, when standard input is a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    # What was typed ahead is kept: the default would throw it away.
    tty.setraw(0, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


class Keyboard:
    """The person before this process's own terminal."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._resized = asyncio.Event()
        self._loop.add_signal_handler(signal.SIGWINCH, self._resized.set)

    async def typed(self) -> bytes:
        """Wait until there is something to read; a file always has."""
        ready = asyncio.Event()
        try:
            self._loop.add_reader(0, ready.set)
        except PermissionError:
            return os.read(0, TYPED_BYTES)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(0)
        return os.read(0, TYPED_BYTES)

    def show(self, data: bytes) -> None:
        """Write everything; a slow terminal slows the far end."""
        left = memoryview(data)
        while left:
            left = left[os.write(1, left) :]

    def size(self) -> tuple[int, int]:
        """Return rows and columns."""
        columns, rows = _terminal_size()
        return rows, columns

    async def resized(self) -> None:
        """Wait for the next change."""
        await self._resized.wait()
        self._resized.clear()


def _terminal_size() -> tuple[int, int]:
    """Return (columns, rows) of the terminal itself. `COLUMNS` and `LINES` may be left over from
    another one, so they only count where there is no terminal to ask."""
    try:
        size = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        size = shutil.get_terminal_size()
    return size.columns, size.lines
