"""A rented Ray as Ray's own programs on this machine reach it.

    ~/.ssh/causeway/<name>.token   what the Ray asks for; it came over the rental's SSH
    ~/.ssh/causeway/<name>.env     for a shell: where it is, and that it asks for the token

The way there is a forward of `ssh`, since only the renter's key opens that: to the ports 10001 and
8265 of a host that the rental's SSH server calls `ray`, which stay the same wherever the rental is.
The token does not: each hand-over makes its own, and the same `causeway rent` fetches it.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from causeway.cli import dev_line, sessions
from causeway.cli.sessions import Session
from causeway.model.errors import InvalidInput
from causeway.sdk.settings import replace_private

HOST, CLIENT_PORT, DASHBOARD_PORT = "ray", 10001, 8265
"""As `sdk.rent.ray` has them; they are the ones that Ray's own manuals name."""
TELL = "cat .rental/ray.json"
PORT_TRIES = 100


def new_ports() -> tuple[int, int]:
    """Return two ports of this machine that are free and no other session's: Ray's own, or the next
    ones."""
    taken = {port for one in sessions.every() for port in (one.client_port, one.dashboard_port)}
    return _free(CLIENT_PORT, taken), _free(DASHBOARD_PORT, taken)


def _free(first: int, taken: set[int]) -> int:
    for port in range(first, first + PORT_TRIES):
        with socket.socket() as probe:
            # What a forward that has just ended leaves behind keeps nobody from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in taken:
            return port
    raise InvalidInput(f"no port of this machine is free from {first} on")


def fetched(session: Session) -> Mapping[str, Any]:
    """Fetch what the Ray tells its renter, and write this machine's files; return it."""
    about = dev_line.asked(session, TELL)
    place = sessions.folder()
    replace_private(place / f"{session.name}.token", str(about["token"]))
    replace_private(env_file(session), environment(session, place / f"{session.name}.token"))
    return about


def env_file(session: Session) -> Path:
    """Return the file that a shell reads."""
    return sessions.folder() / f"{session.name}.env"


def environment(session: Session, token: Path) -> str:
    """Return the lines that lead a shell's Ray programs to a rented Ray."""
    said = {
        "RAY_ADDRESS": f"ray://127.0.0.1:{session.client_port}",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{session.dashboard_port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }
    lines = ["# Written by `causeway rent`; changes are lost."]
    return "\n".join([*lines, *(f"export {key}={shlex.quote(said[key])}" for key in said), ""])


def lines(session: Session, about: Mapping[str, Any], *, ssh: str) -> Iterator[str]:
    """Yield how it is used; `ssh` is the command that leads there."""
    ways = " ".join(
        f"-L {local}:{HOST}:{port}"
        for local, port in (
            (session.client_port, CLIENT_PORT),
            (session.dashboard_port, DASHBOARD_PORT),
        )
    )
    program, _, rest = ssh.partition(" ")
    yield f"On it: {ssh} ray status; python there has Ray {about['ray']}."
    yield f"From here, with Ray {about['ray']} and Python {about['python']}, a way and what to say:"
    yield f"  {program} -fN {ways} {rest}"
    yield f"  . {env_file(session)}"
    yield "and ray.init() is on it; so are `ray job submit` and the dashboard,"
    yield f"http://127.0.0.1:{session.dashboard_port}, which asks for the token."
