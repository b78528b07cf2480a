"""`python -m causeway.adapters.ssh.keeper <island folder>`: what stays at a host.

It starts the island's agent and starts it again when it ends: after 1, 2, 4, ... seconds, at most a
minute, and from the beginning once a run has lasted a minute. The agent's words go to `agent.log`,
which holds at most 10 MiB in two files. A lock makes sure that each island has one keeper; SIGTERM
ends the agent cleanly, then the keeper. When the keeper is killed, the agent is told to leave by
the kernel, so that no agent runs which nobody would start again.

The join token lies in a file of its own until the island has joined, and is then removed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from causeway.adapters.ssh.far import joined, read_json, write

WAIT_S_MAX = 60.0
SETTLED_S = 60.0
LEAVE_S = 35.0
LOG_BYTES_MAX = 5 * 1024**2
PIECE_BYTES = 64 * 1024
PR_SET_PDEATHSIG = 1


def next_wait_s(before_s: float, lived_s: float) -> float:
    """Return how long to wait after a run that lasted so long.

    >>> next_wait_s(0.0, 3.0), next_wait_s(1.0, 3.0), next_wait_s(60.0, 90.0)
    (1.0, 2.0, 1.0)
    """
    if lived_s >= SETTLED_S or before_s <= 0:
        return 1.0
    return min(WAIT_S_MAX, 2 * before_s)


def agent_line(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return the agent's command line; nothing secret is in it."""
    place = ["--root", str(folder / "root"), "--profile", str(folder / "profile.toml")]
    return [sys.executable, "-P", "-m", "causeway.cli", "join", str(settings["url"]), *place]


def agent_environment(
    folder: Path, settings: Mapping[str, Any], base: Mapping[str, str]
) -> dict[str, str]:
    """Return the agent's environment: the authority, and the join token while it is of use."""
    env = {name: value for name, value in base.items() if not name.startswith("CAUSEWAY_")}
    env["PYTHONUNBUFFERED"] = "1"
    if settings.get("ca"):
        env["CAUSEWAY_CA"] = str(folder / "ca.pem")
    token = folder / "join-token"
    if token.exists():
        env["CAUSEWAY_JOIN_TOKEN"] = token.read_text().strip()
    return env


class Log:
    """`agent.log` and the one before it, each of bounded size."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append; begin a new file when this one is full. A full disk loses words only."""
        try:
            if self._file.tell() + len(data) > LOG_BYTES_MAX:
                self._file.close()
                self._path.replace(self._path.with_suffix(".log.1"))
                self._file = self._path.open("ab", buffering=0)
            self._file.write(data)
        except OSError:
            # There is no other place to say it; `causeway bootstrap --status` shows the disk.
            return


class Keeper:
    """Keeps one island's agent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = Log(folder / "agent.log")
        self.over = False
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.state: dict[str, Any] = {"pid": os.getpid(), "starts": 0, "since_s": time.time()}

    def keep(self) -> None:
        """Start the agent, again and again, until told to end."""
        # A signal is a byte in a pipe, so that everything that waits can wait for it too.
        signal.set_wakeup_fd(self._waker)
        wait_s = 0.0
        while not self.over:
            began_s = time.monotonic()
            code = self._one_life()
            wait_s = next_wait_s(wait_s, time.monotonic() - began_s)
            self._note(agent_pid=0, last_exit=code, last_exit_s=time.time())
            if not self.over:
                self._say(f"the agent ended with {code}; it starts again in {wait_s:.0f} s")
                select.select([self._woken], [], [], wait_s)

    def leave(self) -> None:
        """End the agent, and then this process."""
        self.over = True

    def _one_life(self) -> int:
        """Run the agent once; return its exit code."""
        settings = read_json(self.folder / "settings.json")
        agent = subprocess.Popen(
            agent_line(self.folder, settings),
            env=agent_environment(self.folder, settings, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            preexec_fn=_die_with(os.getpid()),
        )
        self._note(starts=self.state["starts"] + 1, agent_pid=agent.pid, started_s=time.time())
        assert agent.stdout is not None
        pump = threading.Thread(target=self._pump, args=(agent.stdout,), daemon=True)
        pump.start()
        code = self._watch(agent)
        pump.join(2.0)
        return code

    def _watch(self, agent: subprocess.Popen[bytes]) -> int:
        """Wait for the agent's end, and end it when told to."""
        end = os.pidfd_open(agent.pid)
        try:
            while not self.over and agent.poll() is None:
                # Looked after once a second only until the token is spent.
                limit_s = 1.0 if self._token_left() else None
                select.select([end, self._woken], [], [], limit_s)
            if agent.poll() is None:
                agent.terminate()
                if not select.select([end], [], [], LEAVE_S)[0]:
                    agent.kill()
            return agent.wait()
        finally:
            os.close(end)

    def _token_left(self) -> bool:
        """Remove the join token once it is spent; say whether it is still there."""
        token = self.folder / "join-token"
        if not token.exists():
            return False
        if joined(self.folder):
            token.unlink()
            return False
        return True

    def _pump(self, source: IO[bytes]) -> None:
        while data := os.read(source.fileno(), PIECE_BYTES):
            self.log.write(data)

    def _say(self, text: str) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        self.log.write(f"{now} keeper: {text}\n".encode())

    def _note(self, **known: Any) -> None:
        self.state |= known
        try:
            write(self.folder / "keeper.json", json.dumps(self.state))
        except OSError as error:
            self._say(f"keeper.json cannot be written: {error}")


def _die_with(keeper: int) -> Callable[[], None]:
    """Return what the agent's process does first: ask the kernel to end it with the keeper."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def first() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)

    return first


def main() -> int:
    """Keep the island whose folder is named; another keeper's island is left to it."""
    folder = Path(sys.argv[1])
    os.umask(0o077)
    lock = os.open(folder / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 0
    keeper = Keeper(folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: keeper.leave())
    # A hang-up is what a connection that breaks off leaves behind.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    keeper.keep()
    return 0


if __name__ == "__main__":
    sys.exit(main())
