"""One command or shell of a session, as a login through OpenSSH would run it.

Without a terminal, the command's three streams are pipes of the channel, which closes when the
command has ended and its output is taken: what a command leaves running in the background may keep
a pipe open, and does not keep the session. With a terminal it is a process group of its own in a
pseudo-terminal, and the end of the connection hangs it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Mapping
from typing import Any

import asyncssh

PIECE_BYTES = 32 * 1024
LAST_WORDS_S = 1.0
TOLD_S = 0.005
TAKEN = frozenset({"LANG", "LANGUAGE", "TZ", "COLORTERM", "NO_COLOR"})
"""Variables that a client may set, besides LC_* and TERM."""
SHELL = "/bin/bash"


def environment(
    base: Mapping[str, str], wished: Mapping[str, str], terminal: str
) -> dict[str, str]:
    """Return a command's environment: the job's own, and what a client may set."""
    own = {name: text for name, text in wished.items() if name in TAKEN or name[:3] == "LC_"}
    made = {**base, **own, "SHELL": SHELL}
    made["SSH_CONNECTION"] = "127.0.0.1 0 127.0.0.1 0"
    if terminal:
        made["TERM"] = terminal
    return made


def line_of(command: str | None, *, terminal: bool) -> list[str]:
    """Return what is executed for a command, or for none.

    >>> line_of("ls", terminal=False), line_of(None, terminal=True)
    (['/bin/bash', '-c', 'ls'], ['/bin/bash', '-i'])
    """
    if command is not None:
        return [SHELL, "-c", command]
    return [SHELL, "-i"] if terminal else [SHELL]


async def run(process: asyncssh.SSHServerProcess[bytes], base: Mapping[str, str]) -> None:
    """Run what a client asked for, until it ends or the client is gone."""
    wished = {_text(k): _text(v) for k, v in process.env.items()}
    terminal = process.term_type or ""
    env = environment(base, wished, terminal)
    line = line_of(process.command, terminal=bool(terminal))
    try:
        if terminal:
            await _in_terminal(process, line, env)
        else:
            await _in_pipes(process, line, env)
    except OSError as error:
        process.stderr.write(f"this command could not be started: {error}\n".encode())
        process.exit(127)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _end(process: asyncssh.SSHServerProcess[bytes], code: int) -> None:
    """Tell the client how it ended."""
    if code >= 0:
        process.exit(code)
        return
    with contextlib.suppress(ValueError):
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        return
    process.exit(128 - code)


# --- without a terminal --------------------------------------------------------------------------


async def _in_pipes(
    process: asyncssh.SSHServerProcess[bytes], line: list[str], env: Mapping[str, str]
) -> None:
    child = await asyncio.create_subprocess_exec(
        *line,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        start_new_session=True,
        limit=PIECE_BYTES,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    typing = asyncio.create_task(_into(process, child))
    pumps = [Pump(child.stdout, process.stdout), Pump(child.stderr, process.stderr)]
    showing = [asyncio.create_task(pump.run()) for pump in pumps]
    try:
        code = await _ended(child)
        # All that was said is passed on. A process left in the background may hold the pipes open
        # for good, so silence, with everything taken, is an end too.
        seen = -1
        while (pending := [t for t in showing if not t.done()]) and (
            any(pump.waits for pump in pumps) or seen != sum(pump.moved for pump in pumps)
        ):
            seen = sum(pump.moved for pump in pumps)
            await asyncio.wait(pending, timeout=LAST_WORDS_S)
    finally:
        for task in (typing, *showing):
            task.cancel()
        await asyncio.gather(typing, *showing, return_exceptions=True)
    _end(process, code)


class Pump:
    """Passes one output on, as fast as the client takes it."""

    def __init__(self, source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
        self._source = source
        self._sink = sink
        self.moved = 0
        self.waits = False
        """Whether the client has not taken what it was sent."""

    async def run(self) -> None:
        """Pass everything on until the output's end, or until nobody takes it."""
        while data := await self._source.read(PIECE_BYTES):
            self.moved += len(data)
            self._sink.write(data)
            self.waits = True
            await self._sink.drain()
            self.waits = False


async def _into(
    process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process
) -> None:
    """Pass on what the client sends, signals too; the end of it is the end of the input. A client
    that is gone hangs up."""
    assert child.stdin is not None
    while True:
        try:
            data = await process.stdin.read(PIECE_BYTES)
            if not data:
                break
            child.stdin.write(data)
            await child.stdin.drain()
        except asyncssh.SignalReceived as error:
            _signal(child.pid, error.signal)
        except asyncssh.BreakReceived:
            _signal(child.pid, "INT")
        except asyncssh.TerminalSizeChanged:
            continue
        except (ConnectionError, OSError):
            # The command takes no more; the rest is read and dropped, as by a pipe nobody reads.
            continue
    child.stdin.close()
    await process.wait_closed()
    _signal(child.pid, "HUP")


def _signal(pid: int, name: str) -> None:
    """Send a signal to a command and all that it started in its session."""
    number = getattr(signal, f"SIG{name}", None)
    if isinstance(number, signal.Signals):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


# --- with a terminal -----------------------------------------------------------------------------


async def _in_terminal(
    process: asyncssh.SSHServerProcess[bytes], line: list[str], env: Mapping[str, str]
) -> None:
    master, slave = os.openpty()
    _resize(master, process.term_size)
    try:
        child = await asyncio.create_subprocess_exec(
            *line,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(env),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    typing = asyncio.create_task(_type(process, master, child.pid))
    showing = asyncio.create_task(_show(process, master))
    try:
        ending = asyncio.create_task(_ended(child))
        # Without its terminal, a client that is gone leaves nothing to wait for but the hang-up.
        await asyncio.wait({ending, typing}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            _signal(child.pid, "HUP")
        code = await ending
        await asyncio.wait({showing}, timeout=LAST_WORDS_S)
    finally:
        for task in (typing, showing):
            task.cancel()
        await asyncio.gather(typing, showing, return_exceptions=True)
        os.close(master)
    _end(process, code)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _resize(master: int, size: tuple[int, int, int, int]) -> None:
    columns, rows, wide, high = size
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, wide, high))


async def _type(process: asyncssh.SSHServerProcess[bytes], master: int, pid: int) -> None:
    """Pass on what is typed, and the window's size, until the client is gone."""
    while True:
        try:
            data = await process.stdin.read(PIECE_BYTES)
        except asyncssh.TerminalSizeChanged as error:
            _resize(master, error.term_size)
            continue
        except asyncssh.SignalReceived as error:
            _signal(pid, error.signal)
            continue
        except asyncssh.BreakReceived:
            continue
        if not data:
            # The client closed its half: in a terminal that is the end-of-file key.
            if not process.channel.is_closing():
                await _written(master, b"\x04")
            await process.wait_closed()
            return
        await _written(master, data)


async def _show(process: asyncssh.SSHServerProcess[bytes], master: int) -> None:
    """Pass on what is shown until no process has the terminal open any more."""
    while True:
        await _ready(master, write=False)
        try:
            data = os.read(master, PIECE_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            return
        if not data:
            return
        process.stdout.write(data)
        await process.stdout.drain()


async def _written(master: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(master, left) :]
        except BlockingIOError:
            await _ready(master, write=True)
        except OSError:
            return


async def _ended(child: asyncio.subprocess.Process) -> int:
    """Wait for the process itself; asyncio's own `wait` waits for its pipes too, which a process
    in the background may hold."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(child.pid)
        try:
            await _ready(handle, write=False)
        finally:
            os.close(handle)
    while child.returncode is None:  # noqa: ASYNC110
        # Another thread takes the exit code, and is about to say it.
        await asyncio.sleep(TOLD_S)
    return child.returncode


async def _ready(handle: int, *, write: bool) -> None:
    """Wait until the handle can be read or written."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    begin, end = (
        (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    )
    begin(handle, ready.set)
    try:
        await ready.wait()
    finally:
        end(handle)
