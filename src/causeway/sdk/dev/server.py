"""`python -m causeway.sdk.dev.server`: the program of a development session's job.

An SSH server on loopback, for one key. It has the host key that the person's side made and pinned,
so that the machine's name means the same session wherever it was placed; both come as a secret of
the job. It ends well when nobody was connected for its idle limit, after saving. On SIGTERM, which
is what a stop, a drain and a preemption send, it saves at once.

    DEV_SECRET      name of the variable with {"host_key", "jupyter_token"}
    DEV_KEY         public key that may come in
    DEV_PORT        first port to try; the next nine are tried where it is taken
    DEV_IDLE_S      end after so long without a connection; 0: never
    DEV_PATH        PATH of the session's commands, where the job file sets one
    DEV_SAVE_S      how often the working folder is looked at; 0: never
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from causeway.model.errors import CausewayError
from causeway.sdk.dev import saving, shells
from causeway.sdk.dev.notebook import Notebook

PORTS = 10
LOOK_S = 1.0
SAVE_COMMAND = "causeway-save"
NOTEBOOK_COMMAND = "causeway-notebook"
JUPYTER_HOST = "jupyter"
BEFORE = ".before"
"""In the working folder: the last checkpoint of an earlier session of the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the job's environment says."""

    host_key: str
    jupyter_token: str
    key: str
    port: int
    idle_s: float
    save_s: float
    work: Path
    checkpoints: Path
    resume: Path | None


def read_settings(env: dict[str, str]) -> Settings:
    """Take the settings out of the environment: a session's commands do not see them."""
    secret = json.loads(env.pop(env.pop("DEV_SECRET")))
    resume = env.get("CAUSEWAY_RESUME_DIR")
    # A job file's own PATH is for the session; this program was found by the island's.
    env["PATH"] = env.pop("DEV_PATH", "") or env["PATH"]
    return Settings(
        host_key=secret["host_key"],
        jupyter_token=secret["jupyter_token"],
        key=env.pop("DEV_KEY"),
        port=int(env.pop("DEV_PORT")),
        idle_s=float(env.pop("DEV_IDLE_S")),
        save_s=float(env.pop("DEV_SAVE_S")),
        work=Path(env["CAUSEWAY_OUTPUT_DIR"]),
        checkpoints=Path(env["CAUSEWAY_CHECKPOINT_DIR"]),
        resume=Path(resume) if resume else None,
    )


class Saver:
    """Saves the working folder when it has changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last: saving.Tree | None = None
        self._turn = asyncio.Lock()
        self.step = _newest(settings.checkpoints, settings.resume)
        self._before = -1

    async def save(self) -> str:
        """Save now where anything changed; return what was done, in a sentence."""
        async with self._turn:
            return await asyncio.to_thread(self._save)

    def _save(self) -> str:
        try:
            tree = saving.look(self._settings.work)
            if tree == self._last:
                return f"nothing changed since checkpoint {self.step}"
            step = self.step + 1
            saving.save(
                self._settings.work, self._settings.checkpoints, step, tree, before=self._before
            )
        except CausewayError as error:
            return f"not saved: {error.message}; {error.hint}"
        except OSError as error:
            return f"not saved: {error}"
        self._last, self.step, self._before = tree, step, step
        more = f", {tree.left_out} left out" if tree.left_out else ""
        return f"checkpoint {step}: {len(tree.files)} files{more}"


def _newest(*folders: Path | None) -> int:
    """Return the highest step that is in these folders; -1 for none."""
    found = [-1]
    for folder in folders:
        if folder is None or not folder.is_dir():
            continue
        for marker in (folder / "COMPLETE", *folder.glob("step-*/COMPLETE")):
            with contextlib.suppress(OSError, ValueError):
                found.append(int(json.loads(marker.read_text())["step"]))
    return max(found)


class Session:
    """Everything that connections share."""

    def __init__(
        self, settings: Settings, env: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.env = dict(env)
        self.say = say
        self.saver = Saver(settings)
        self.notebook = Notebook(settings.work, env, settings.jupyter_token)
        self.over = asyncio.Event()
        self._connected = 0
        self._idle_since_s = time.monotonic()

    def came(self) -> None:
        """A client is connected."""
        self._connected += 1

    def went(self) -> None:
        """A client is gone."""
        self._connected -= 1
        self._idle_since_s = time.monotonic()

    async def watch_idle(self) -> None:
        """Return when nobody was connected for the idle limit."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._connected or not self.settings.idle_s:
                continue
            if time.monotonic() - self._idle_since_s > self.settings.idle_s:
                self.say(f"nobody was connected for {self.settings.idle_s:.0f} s: the end")
                return

    async def save_now_and_then(self) -> None:
        """Save, as often as asked for."""
        while True:
            await asyncio.sleep(self.settings.save_s or 3600.0)
            if self.settings.save_s:
                self.say(await self.saver.save())

    async def serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run one command; two of them are this server's own, and answer in JSON."""
        if process.command == SAVE_COMMAND:
            said = await self.saver.save()
            _answer(process, {"said": said, "step": self.saver.step})
        elif process.command == NOTEBOOK_COMMAND:
            try:
                await self.notebook.port()
            except CausewayError as error:
                _answer(process, error.as_dict())
            else:
                _answer(process, {})
        else:
            await shells.run(process, self.env)


def _answer(process: asyncssh.SSHServerProcess[bytes], body: Mapping[str, object]) -> None:
    process.stdout.write(json.dumps(body).encode() + b"\n")
    process.exit(0)


class Door(asyncssh.SSHServer):
    """One connection: who it is was decided by its key; what it may forward is what the job itself
    may reach."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection: asyncssh.SSHServerConnection | None = None
        self._in = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def auth_completed(self) -> None:
        # Other jobs there can knock at this port too; who is not let in keeps nothing awake.
        self._in = True
        self._session.came()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._in:
            self._session.went()

    def begin_auth(self, username: str) -> bool:
        return True

    def connection_requested(self, dest_host: str, dest_port: int, *_: Any) -> Any:
        return self._to_notebook() if dest_host == JUPYTER_HOST else True

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return True

    def unix_server_requested(self, listen_path: str) -> bool:
        return True

    async def _to_notebook(self) -> Any:
        """Lead a forward to Jupyter, where it is; else say in the client's own terminal why not."""
        assert self._connection is not None
        try:
            port = await self._session.notebook.port()
        except (CausewayError, OSError) as error:
            hint = getattr(error, "hint", "")
            text = f"{error}" + (f"; {hint}" if hint else "")
            self._session.say(text)
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, text) from None
        return await self._connection.forward_connection("127.0.0.1", port)


class Files(asyncssh.SFTPServer):
    """The job's files, as its own programs see them."""

    def exit(self) -> None:
        """Say that it went well: without a word, `scp` takes it for a failure."""
        self.channel.exit(0)


async def listen(session: Session) -> asyncssh.SSHAcceptor:
    """Listen for a session."""
    return await listening(
        session.settings.port,
        functools.partial(Door, session),
        session.serve,
        host_key=session.settings.host_key,
        key=session.settings.key,
    )


async def listening(
    first: int,
    door: Callable[[], asyncssh.SSHServer],
    serve: Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]],
    *,
    host_key: str,
    key: str,
) -> asyncssh.SSHAcceptor:
    """Listen on the first free port of those that the person's side will try; 0: on any."""
    for port in range(first, first + PORTS):
        try:
            return await asyncssh.create_server(
                door,
                "127.0.0.1",
                port,
                server_host_keys=[asyncssh.import_private_key(host_key)],
                authorized_client_keys=asyncssh.import_authorized_keys(key),
                password_auth=False,
                kbdint_auth=False,
                host_based_auth=False,
                gss_host=None,
                process_factory=serve,
                encoding=None,
                sftp_factory=Files,
                allow_scp=True,
                agent_forwarding=False,
                x11_forwarding=False,
                server_version="Causeway",
                keepalive_interval=30,
                keepalive_count_max=4,
                line_editor=False,
            )
        except OSError:
            continue
    raise OSError(f"ports {first} to {first + PORTS - 1} are all taken here")


async def session_of(settings: Settings, env: Mapping[str, str], say: Callable[[str], None]) -> int:
    """Serve until it is over; return the exit code."""
    before = settings.resume or settings.work / BEFORE
    if before.is_dir():
        say(f"{saving.restore(before, settings.work)} files came back from the last checkpoint")
    session = Session(settings, env, say)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    server = await listen(session)
    say(f"listening on port {server.get_port()} of this island's loopback")
    saving_task = asyncio.create_task(session.save_now_and_then())
    ends = [asyncio.create_task(stopped.wait()), asyncio.create_task(session.watch_idle())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if settings.save_s:
            say(await session.saver.save())
    finally:
        for task in (saving_task, *ends):
            task.cancel()
        server.close()
    return 128 + signal.SIGTERM if stopped.is_set() else 0


def main() -> int:
    """Run as the job's program."""
    env = dict(os.environ)
    settings = read_settings(env)
    # What the server itself is asked for relative to nothing is relative to the working folder.
    os.chdir(settings.work)
    os.environ.clear()
    os.environ.update(env)

    def say(text: str) -> None:
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stdout.flush()

    return asyncio.run(session_of(settings, env, say))


if __name__ == "__main__":
    sys.exit(main())
