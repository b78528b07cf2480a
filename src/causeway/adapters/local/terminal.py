"""The pseudo-terminal of an interactive attempt, and who is attached to it. Standard library only.

A fork of the fork server becomes the *keeper*: it opens a pseudo-terminal, starts the shell inside
it (and inside the attempt's sandbox), and serves it on a unix socket that only the agent can see.
The keeper itself executes nothing, so the job's environment never reaches a process outside the
sandbox. It lives as long as the shell and ends with the shell's exit code.

What is shown goes to everyone who is attached and to the attempt's log, and the last 64 KiB are
kept, so that who attaches later sees the screen. Everything is bounded: while somebody attached
does not keep up, the shell waits, as it would for a slow screen; who takes nothing for ten seconds
is let go. A terminal that nobody is attached to and that shows nothing for its idle limit hangs up.

On the socket: a kind (one byte), a length (four bytes) and as many bytes. `d` is data in both
directions, `r` (from the person) is the window's size, `x` (to the person) is the exit code.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

SCREEN_BYTES = 64 * 1024
"""What is kept of the screen for who attaches later."""
LOG_BYTES_MAX = 16 * 1024**2
PIECE_BYTES = 16 * 1024
FRAME_BYTES_MAX = 64 * 1024
BEHIND_BYTES = 64 * 1024
"""The shell waits while somebody attached is further behind than this."""
STALLED_S = 10.0
ATTACHED_MAX = 16
HANG_UP_S = 5.0
LAST_WORDS_S = 2.0
POLL_MS = 1_000
HEAD = struct.Struct("!cI")
SIZE = struct.Struct("!HH")
CODE = struct.Struct("!i")


def frame(kind: bytes, body: bytes) -> bytes:
    """Return one message as it goes over the socket."""
    return HEAD.pack(kind, len(body)) + body


def frames(buffer: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take every whole message off the front; `ValueError` for one that is too long."""
    while len(buffer) >= HEAD.size:
        kind, size = HEAD.unpack_from(buffer)
        if size > FRAME_BYTES_MAX:
            raise ValueError(f"a message of {size} bytes")
        if len(buffer) < HEAD.size + size:
            return
        body = bytes(buffer[HEAD.size : HEAD.size + size])
        del buffer[: HEAD.size + size]
        yield kind, body


def keep(
    place: Mapping[str, Any],
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    die_with: Callable[[int], None],
) -> NoReturn:
    """Start the shell in a new terminal and serve it until it ends. Never returns; `OSError` where
    it cannot be begun."""
    for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    listener = _listen(place["path"])
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    keeper = os.getpid()
    shell = os.fork()
    if shell == 0:
        _become(argv, env, slave, lambda: die_with(keeper))
    os.close(slave)
    code = 125
    try:
        code = Keeper(listener, master, shell, idle_s=float(place["idle_s"])).run()
    finally:
        with contextlib.suppress(OSError):
            os.unlink(place["path"])  # noqa: PTH108 - pathlib is not imported here
        os._exit(code)


def _listen(path: str) -> socket.socket:
    """Listen at a path of any length: the address itself may have a hundred bytes only."""
    folder, name = os.path.split(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{held}/{name}")
    finally:
        os.close(held)
    os.chmod(path, 0o600)  # noqa: PTH101
    listener.listen(ATTACHED_MAX)
    listener.setblocking(False)
    return listener


def _become(
    argv: Sequence[str], env: Mapping[str, str], slave: int, die_with_keeper: Callable[[], None]
) -> NoReturn:
    """Turn the fork into the shell, with the terminal as its own."""
    try:
        die_with_keeper()
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for place in (0, 1, 2):
            os.dup2(slave, place)
        os.execve(argv[0], list(argv), dict(env))
    except BaseException as error:
        os.write(2, f"the shell could not be started: {error}\r\n".encode())
    os._exit(127)


class Attached:
    """One connection of the agent's for one person."""

    def __init__(self, link: socket.socket, screen: bytes, now_s: float) -> None:
        link.setblocking(False)
        self.link = link
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.moved_s = now_s
        """When it last took something, or had nothing to take."""
        for start in range(0, len(screen), FRAME_BYTES_MAX):
            self.outbox += frame(b"d", screen[start : start + FRAME_BYTES_MAX])

    def flush(self, now_s: float) -> None:
        """Send what the socket takes now."""
        try:
            sent = self.link.send(self.outbox) if self.outbox else 0
        except BlockingIOError:
            return
        del self.outbox[:sent]
        if sent or not self.outbox:
            self.moved_s = now_s


class Keeper:
    """One loop between a terminal and those who are attached to it."""

    def __init__(self, listener: socket.socket, master: int, shell: int, *, idle_s: float) -> None:
        self.listener = listener
        self.master = master
        self.shell = shell
        self.idle_s = idle_s
        self.shell_end = os.pidfd_open(shell)
        self.attached: dict[int, Attached] = {}
        self.typed = bytearray()
        """What the terminal has not taken yet."""
        self.screen = bytearray()
        self.logged_bytes = 0
        self.active_s = time.monotonic()
        self.hung_up_s = 0.0
        os.set_blocking(master, False)

    def run(self) -> int:
        """Serve until the shell ends; return its exit code."""
        while True:
            ready = self.wait()
            now_s = time.monotonic()
            if self.listener.fileno() in ready:
                self.welcome(now_s)
            for number, one in list(self.attached.items()):
                self.serve(one, ready.get(number, 0), now_s)
            if self.master in ready:
                self.show()
                self.type()
            if self.shell_end in ready:
                return self.end()
            self.watch_idle(now_s)

    def wait(self) -> dict[int, int]:
        """Wait for whatever may go on now."""
        poller = select.poll()
        poller.register(self.shell_end, select.POLLIN)
        poller.register(self.listener.fileno(), select.POLLIN)
        listening = len(self.typed) < BEHIND_BYTES
        for number, one in self.attached.items():
            wanted = select.POLLIN if listening else 0
            poller.register(number, wanted | (select.POLLOUT if one.outbox else 0))
        behind = any(len(one.outbox) > BEHIND_BYTES for one in self.attached.values())
        wanted = (0 if behind else select.POLLIN) | (select.POLLOUT if self.typed else 0)
        if self.master >= 0 and wanted:
            poller.register(self.master, wanted)
        return dict(poller.poll(POLL_MS))

    def welcome(self, now_s: float) -> None:
        """Let one more in, who first sees the screen as it was kept; too many are turned away."""
        try:
            link, _ = self.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        if len(self.attached) >= ATTACHED_MAX:
            link.close()
            return
        self.attached[link.fileno()] = Attached(link, self.kept(), now_s)

    def kept(self) -> bytes:
        """Return the screen; a cut one begins with a whole line."""
        if len(self.screen) < SCREEN_BYTES:
            return bytes(self.screen)
        return bytes(self.screen[self.screen.find(b"\n") + 1 :])

    def serve(self, one: Attached, seen: int, now_s: float) -> None:
        """Take what one person typed and send what is theirs; let them go when they are gone."""
        try:
            one.flush(now_s)
            if now_s - one.moved_s > STALLED_S:
                raise ConnectionAbortedError("it takes nothing")
            if seen & (select.POLLIN | select.POLLHUP | select.POLLERR):
                data = one.link.recv(PIECE_BYTES)
                if not data:
                    raise ConnectionAbortedError("it is gone")
                one.inbox += data
                for kind, body in frames(one.inbox):
                    self.take(kind, body)
        except BlockingIOError:
            return
        except (OSError, ValueError, struct.error):
            del self.attached[one.link.fileno()]
            one.link.close()
            self.active_s = now_s

    def take(self, kind: bytes, body: bytes) -> None:
        """Do what one message of a person asks."""
        if kind == b"d":
            self.typed += body
            self.type()
        elif kind == b"r" and self.master >= 0:
            rows, columns = SIZE.unpack(body)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self) -> None:
        """Give the terminal what it takes now."""
        if self.master < 0:
            self.typed.clear()
        while self.typed:
            try:
                sent = os.write(self.master, self.typed[:PIECE_BYTES])
            except BlockingIOError:
                return
            except OSError:
                self.typed.clear()
                return
            del self.typed[:sent]

    def show(self) -> bool:
        """Pass on what the terminal shows; False when there is nothing now."""
        if self.master < 0:
            return False
        try:
            data = os.read(self.master, PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            # No process has the terminal open any more.
            os.close(self.master)
            self.master = -1
            return False
        self.active_s = time.monotonic()
        self.screen += data
        del self.screen[:-SCREEN_BYTES]
        if self.logged_bytes < LOG_BYTES_MAX:
            self.logged_bytes += os.write(1, data)
        for one in self.attached.values():
            one.outbox += frame(b"d", data)
        return True

    def watch_idle(self, now_s: float) -> None:
        """Hang up when nobody is attached and nothing happens for too long."""
        if self.attached:
            self.active_s = now_s
        if self.hung_up_s:
            if now_s - self.hung_up_s > HANG_UP_S:
                os.kill(self.shell, signal.SIGKILL)
        elif self.idle_s and now_s - self.active_s > self.idle_s:
            self.hung_up_s = now_s
            note = f"\r\nhung up: idle and nobody attached for {self.idle_s:g} s\r\n"
            os.write(1, note.encode())
            if self.master >= 0:
                os.close(self.master)
                self.master = -1

    def end(self) -> int:
        """The shell has ended: show the last of it, say how, and let everyone go."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.shell, 0)[1])
        code = 128 - code if code < 0 else code
        while self.show():
            pass
        until_s = time.monotonic() + LAST_WORDS_S
        for one in self.attached.values():
            one.outbox += frame(b"x", CODE.pack(code))
            one.link.settimeout(max(0.01, until_s - time.monotonic()))
            with contextlib.suppress(OSError):
                one.link.sendall(one.outbox)
                one.link.shutdown(socket.SHUT_WR)
        sys.stdout.flush()
        return code
