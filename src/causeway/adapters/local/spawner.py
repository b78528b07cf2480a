"""The engine's end of a fork server: starts it, sends it orders, hears what became of them.

Everything here is called from the engine's own thread and never blocks: orders wait in a buffer
until the socket takes them, and what arrives is handed over as plain messages.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causeway.adapters.local.fork_server import pack, unpack

PROGRAM = Path(__file__).with_name("fork_server.py")
EXIT_WAIT_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmProgram:
    """A Python program that a warm process can become: a script or a module."""

    argv: tuple[str, ...]
    script: str = ""
    module: str = ""
    threads: int = 1
    """Threads that torch may use unless OMP_NUM_THREADS says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One process to fork."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    stdout: Path
    stderr: Path
    join: Sequence[str] = ()
    """`cgroup.procs` files that it writes itself into."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Resource limit by name without `RLIMIT_`."""
    marks: Sequence[str] = ()
    """`NAME=value` lines of its environment by which its orphans are known."""
    program: WarmProgram | None = None
    view: Mapping[str, Any] | None = None
    """The private view of the system that a warm process makes itself."""
    seal: bool = False
    """The command is bubblewrap's: the environment is for what it runs, never for itself."""
    terminal: Mapping[str, Any] | None = None
    """Where its pseudo-terminal is served, and how long it may be idle; None: it has none."""


class ForkServer:
    """One running fork server."""

    def __init__(self, modules: Sequence[str] = (), *, closed: Sequence[Path] = ()) -> None:
        """`modules` are imported first; `closed` is what nothing that it forks may read."""
        self.modules = tuple(modules)
        self.ready = False
        self.views = False
        """Whether its children can make their own sandbox."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        flags = () if modules else ("-I", "-S")
        extra = (",".join(modules), *map(str, closed))
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, *flags, str(PROGRAM), str(theirs.fileno()), *extra],
                pass_fds=[theirs.fileno()],
                env=_bare_environment(),
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        self.link = ours
        self._outbox = bytearray()
        self._inbox = bytearray()

    @property
    def wants_write(self) -> bool:
        """Say whether orders wait for the socket."""
        return bool(self._outbox)

    def spawn(self, number: int, order: Order) -> None:
        """Ask for a process; `spawned` or `refused` answers, `exit` follows."""
        program = order.program
        self._send(
            {
                "op": "spawn",
                "id": number,
                "argv": list(order.argv),
                "env": dict(order.env),
                "cwd": str(order.cwd),
                "stdout": str(order.stdout),
                "stderr": str(order.stderr),
                "join": list(order.join),
                "limits": dict(order.limits),
                "marks": list(order.marks),
                "seal": order.seal,
                "view": None if order.view is None else dict(order.view),
                "terminal": None if order.terminal is None else dict(order.terminal),
                "program": program
                and {
                    "argv": program.argv,
                    "script": program.script,
                    "module": program.module,
                    "threads": program.threads,
                },
            }
        )

    def signal(self, number: int, sent: signal.Signals, *, skip: int) -> None:
        """Signal a process and its descendants, sparing the first `skip` levels."""
        self._send({"op": "signal", "id": number, "signal": int(sent), "skip": skip})

    def flush(self) -> None:
        """Send what the socket takes now."""
        while self._outbox:
            try:
                sent = self.link.send(self._outbox)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                return
            del self._outbox[:sent]

    def receive(self) -> list[dict[str, Any]] | None:
        """Return what arrived; None when the server is gone."""
        while True:
            try:
                data = self.link.recv(1 << 16)
            except BlockingIOError:
                return list(unpack(self._inbox))
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._inbox += data

    def close(self) -> None:
        """Let go: the server kills all its descendants and ends."""
        self.link.close()
        try:
            self.process.wait(EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(EXIT_WAIT_S)

    def _send(self, message: dict[str, Any]) -> None:
        self._outbox += pack(message)
        self.flush()


def _bare_environment() -> dict[str, str]:
    """Return the little that the server may know. One thread each, or a fork would lose them."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    single = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **kept, **single}
