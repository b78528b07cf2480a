"""One host, through the system's own `ssh`.

Nothing of SSH is done here: ~/.ssh/config, jump hosts, agents, security keys and prompts are all
OpenSSH's. Where the operator has no connection sharing of their own, one is kept for the length of
this program, so that a passphrase or a touch is asked for once. What crosses it that is secret goes
over standard input: an argument could be read by anybody on the host.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from causeway.adapters.ssh.trouble import OWN_FAILURE, trouble
from causeway.model.errors import InvalidInput, NotFound, Unavailable

CONNECT_S = 15
ALIVE = ("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3")
ASK_S = 180.0
"""How long a person may take for a passphrase or a touch."""
LOOK_S = 1.0
OUT_BYTES_MAX = 4 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a command at the host ended."""

    code: int
    out: str
    err: str


class Line:
    """The way to one host. Use it from one thread at a time."""

    def __init__(
        self,
        host: str,
        *,
        folder: Path,
        config: Path | None = None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """`folder` is for connections that are shared, `config` another file than ~/.ssh/config,
        `say` hears what `ssh` wants of the person."""
        if not host or host.startswith("-") or any(c.isspace() or c < " " for c in host):
            raise InvalidInput(f"{host!r} is not a host", hint="name or user@name, as ssh takes it")
        self.host = host
        self._ssh = ["ssh", *(("-F", str(config)) if config is not None else ())]
        self._folder = folder
        self._say = say
        self._own: list[str] = []
        self._told: set[str] = set()

    def connect(self) -> None:
        """Log in, asking the person whatever `ssh` asks; raise what is wrong."""
        settings = self._call([*self._ssh, "-G", "--", self.host], b"", limit_s=CONNECT_S)
        if settings.code != 0:
            raise trouble(self.host, settings.err)
        shared = dict(line.partition(" ")[::2] for line in settings.out.splitlines())
        if shared.get("controlpath", "none") == "none" or shared.get("controlmaster") == "false":
            self._own = ["-S", str(self._folder / "%C")]
        wish = ["-o", "ControlMaster=yes", "-N", "-f"] if self._own else []
        line = [*self._begin(), *wish, "--", self.host, *([] if self._own else ["true"])]
        done = self._call(line, b"", limit_s=ASK_S, heard=self._heard)
        if done.code == OWN_FAILURE:
            raise trouble(self.host, done.err)

    def run(self, command: str, data: bytes = b"", *, limit_s: float) -> Done:
        """Run one command line at the host; raise when the connection fails."""
        done = self._call([*self._begin(), "--", self.host, command], data, limit_s=limit_s)
        if done.code == OWN_FAILURE:
            raise trouble(self.host, done.err)
        return done

    def close(self) -> None:
        """Let go of the connection that was kept."""
        if self._own:
            self._call([*self._ssh, *self._own, "-O", "exit", "--", self.host], b"", limit_s=10.0)

    def _begin(self) -> list[str]:
        return [*self._ssh, "-T", "-o", f"ConnectTimeout={CONNECT_S}", *ALIVE, *self._own]

    def _heard(self, said: str) -> None:
        """Pass on, once, that a security key waits to be touched."""
        for line in said.splitlines():
            if "user presence" in line and line not in self._told:
                self._told.add(line)
                self._say(f"{self.host}: {line.strip()}")

    def _call(
        self,
        line: Sequence[str],
        data: bytes,
        *,
        limit_s: float,
        heard: Callable[[str], None] = lambda _said: None,
    ) -> Done:
        """Run `ssh`. What goes in and out are files: one that stays behind to share the connection
        would keep a pipe open."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out:
            given.write(data)
            given.seek(0)
            with tempfile.TemporaryFile() as err:
                try:
                    process = subprocess.Popen(line, stdin=given, stdout=out, stderr=err)
                except FileNotFoundError:
                    raise NotFound(
                        "there is no ssh here", hint="install OpenSSH's client"
                    ) from None
                self._wait(process, limit_s, lambda: heard(_text(err)))
                return Done(code=process.returncode, out=_text(out), err=_text(err))

    def _wait(
        self, process: subprocess.Popen[bytes], limit_s: float, look: Callable[[], None]
    ) -> None:
        waited_s = 0.0
        while True:
            try:
                process.wait(LOOK_S)
                return
            except subprocess.TimeoutExpired:
                waited_s += LOOK_S
                look()
            if waited_s >= limit_s:
                process.kill()
                process.wait()
                raise Unavailable(
                    f"{self.host} did not answer within {limit_s:.0f} s",
                    hint=f"try: ssh {self.host} true; then the same again",
                )


def far_command(python: str, size: int) -> str:
    """Return the command line that runs a program of so many bytes from standard input, in any
    login shell.

    >>> far_command("/usr/bin/python3", 5)
    'exec /usr/bin/python3 -IBc "import sys;exec(sys.stdin.buffer.read(5))"'
    """
    return f'exec {shlex.quote(python)} -IBc "import sys;exec(sys.stdin.buffer.read({size}))"'


def probe_command(*arguments: str) -> str:
    """Return the command line that runs a shell script from standard input."""
    return " ".join(["exec /bin/sh -s --", *map(shlex.quote, arguments)])


def _text(file: IO[bytes]) -> str:
    """Return what a file holds now, without moving the place where others write."""
    return os.pread(file.fileno(), OUT_BYTES_MAX, 0).decode(errors="replace")
