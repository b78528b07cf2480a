"""The way from this machine to a session: its greeting, one connection of `ssh`, its notebook.

A session's server listens on the first free one of ten ports of its island's loopback; which one is
found by its greeting. While the session is being placed again, `ssh` is kept waiting.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable
from typing import Any

from causeway.cli import exits, sessions, talk
from causeway.cli.sessions import Session
from causeway.model.errors import CausewayError, Conflict, NotFound, Unavailable
from causeway.sdk.calls import part
from causeway.sdk.client import ENDED, Client

POLL_S = 0.3
GREETING = b"SSH-2.0-Causeway"
ANSWER_S = 60.0
SAVED_S = 120.0
WAIT_S = 90.0
"""How long `ssh` is kept waiting while the session is being placed again."""
AGAIN_S = 2.0
PIECE_BYTES = 64 * 1024


async def _greets(client: Client, session: Session, port: int) -> None:
    """Return when the session's server greets at this port; `Unavailable` when it does not."""
    from causeway.sdk.relayed import dialled, greeted

    path = f"/v1/jobs/{part(session.job)}/forward?port={port}"
    async with dialled(client, path) as wire:
        if not await greeted(wire, GREETING):
            raise Unavailable(f"port {port} is another program's")


async def _first(session: Session, act: Callable[[int], Awaitable[None]]) -> None:
    """Do it at the first port of the session where it succeeds."""
    last = Unavailable(f"{session.name} does not answer")
    for port in range(session.port, session.port + sessions.PORTS):
        try:
            return await act(port)
        except Unavailable as error:
            last = error
            if "listens" not in error.message and "another program" not in error.message:
                break
    raise last


async def answering(client: Client, session: Session) -> None:
    """Wait until the server greets: it has just begun."""
    give_up_s = time.monotonic() + ANSWER_S
    while True:
        try:
            return await _first(session, lambda port: _greets(client, session, port))
        except (Unavailable, Conflict):
            state = client.job(session.job).get("state")
            if state in ENDED or time.monotonic() > give_up_s:
                raise
        await asyncio.sleep(POLL_S)


async def carried(client: Client, session: Session) -> None:
    """Join standard input and output to the server, waiting while the session is placed again."""
    from causeway.sdk.relayed import through

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=PIECE_BYTES)
    # Copies, which are closed at the end; the program's own streams are not asyncio's to close.
    given, taken = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), given)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), taken
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)

    async def carry(port: int) -> None:
        await through(
            client, session.job, remote_port=port, greeting=GREETING, reader=reader, writer=writer
        )

    give_up_s = time.monotonic() + WAIT_S
    told = ""
    while True:
        try:
            return await _first(session, carry)
        except (Unavailable, Conflict) as error:
            said = _waiting_for(client, session, error)
            if time.monotonic() > give_up_s:
                raise
            if said != told:
                talk.say(talk.clean(f"{session.name}: {said}"))
                told = said
        await asyncio.sleep(POLL_S)


def _waiting_for(client: Client, session: Session, error: CausewayError) -> str:
    """Return what a connection waits for, or raise `Conflict` when it would wait for good."""
    job = client.job(session.job)
    if job.get("state") in ENDED:
        raise Conflict(
            f"{session.name} {job.get('state')}: {job.get('headline', '')}",
            hint=f"causeway dev --name {session.name}",
        )
    return error.message if job.get("state") == "running" else str(job.get("headline", ""))


def _ssh(session: Session, *words: str) -> list[str]:
    program = shutil.which("ssh")
    if program is None:
        raise NotFound("there is no ssh here", hint="install OpenSSH's client")
    return [program, "-F", str(sessions.folder() / "config"), *words]


def asked(session: Session, command: str) -> dict[str, Any]:
    """Return the answer to one of the server's own commands; `Unavailable` without one."""
    try:
        done = subprocess.run(
            _ssh(session, "-T", session.host, command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SAVED_S,
            check=False,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{session.name} did not answer within {SAVED_S:.0f} s") from None
    except ValueError:
        raise Unavailable(talk.clean(done.stderr).strip()[-300:] or "ssh broke off") from None
    return answer


def saved(client: Client, session: Session) -> tuple[bool, str]:
    """Have the working folder saved, and wait until the centre has it; return whether that is so,
    and a sentence."""
    if client.job(session.job).get("state") != "running":
        return False, "not saved: it does not run now"
    try:
        answer = asked(session, "causeway-save")
    except Unavailable as error:
        return False, f"not saved: {error.message}"
    said = str(answer["said"])
    if said.startswith("not saved"):
        return False, said
    give_up_s = time.monotonic() + SAVED_S
    while time.monotonic() < give_up_s:
        point = client.job(session.job).get("checkpoint") or {}
        if int(point.get("step", -1)) >= int(answer["step"]):
            return True, f"saved at the centre: {said}"
        time.sleep(POLL_S)
    return False, "not saved: it is still on its way to the centre"


def notebook(session: Session, port: int) -> int:
    """Lead a local port to Jupyter in the session until Ctrl-C, also across moves."""
    problem = asked(session, "causeway-notebook")
    if problem:
        raise NotFound(str(problem.get("message")), hint=str(problem.get("hint", "")))
    local = _free(port)
    forward = f"127.0.0.1:{local}:jupyter:80"
    line = _ssh(session, "-N", "-T", "-o", "ExitOnForwardFailure=yes", "-L", forward, session.host)
    talk.out(f"http://127.0.0.1:{local}/lab?token={session.jupyter_token}")
    talk.say(f"leads to Jupyter in {session.name} until Ctrl-C")
    while True:
        code = subprocess.run(line, stdin=subprocess.DEVNULL, check=False).returncode
        with Client.from_settings() as client:
            if client.job(session.job).get("state") in ENDED:
                talk.say(f"{session.name} has ended (ssh: {code})")
                return exits.SAID_NO
        time.sleep(AGAIN_S)


def _free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
    return found
