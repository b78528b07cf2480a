"""`python -m causeway.sdk.rent.program`: the program of a rental's job, on each of its ranks.

Rank 0 makes the product ready with the other ranks' help, listens for SSH, and says READY. It ends
on SIGTERM, which is what a return is; everything that it started ends with its sandbox.

    CAUSEWAY_RENTAL  what the room is, as JSON (`agent.environment`)
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncssh

from causeway.model.errors import CausewayError
from causeway.model.jobs import Product
from causeway.sdk.dev import shells
from causeway.sdk.dev.server import listening
from causeway.sdk.rent.room import Made, Room, read_room

Maker = Callable[[Room, Mapping[str, str]], Awaitable[Made]]


class Door(asyncssh.SSHServer):
    """One connection. Its key decides who it is; it may go wherever the room itself may go, and by
    the product's own names (`Made.ways`)."""

    def __init__(self, ways: Mapping[tuple[str, int], int]) -> None:
        self._ways = ways
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        return True

    def connection_requested(self, dest_host: str, dest_port: int, *_: Any) -> Any:
        port = self._ways.get((dest_host, dest_port))
        if port is None:
            return True
        assert self._connection is not None
        return self._connection.forward_connection("127.0.0.1", port)

    def unix_connection_requested(self, dest_path: str) -> bool:
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return True

    def unix_server_requested(self, listen_path: str) -> bool:
        return True


async def shell(room: Room, env: Mapping[str, str]) -> Made:
    """A shell is ready when its door is open."""
    return Made()


def maker_of(product: Product) -> Maker:
    """Return what makes a product ready."""
    if product is Product.SLURM:
        from causeway.sdk.rent import slurm

        return slurm.made
    if product is Product.RAY:
        from causeway.sdk.rent import ray

        return ray.made
    return shell


async def hand_over(room: Room, env: Mapping[str, str]) -> asyncssh.SSHAcceptor | None:
    """Make this rank's part; on rank 0, open the door and say that all is ready."""
    made = await maker_of(room.product)(room, env)
    if room.rank:
        return None
    host_key = room.host_key or new_host_key()
    inside = {**env, **made.env}
    server = await listening(
        room.port,
        functools.partial(Door, made.ways),
        functools.partial(_serve, inside),
        host_key=host_key,
        key=room.key,
    )
    if not room.host_key:
        # Read through the centre, by whoever may read this job's log: so it can be pinned.
        public = asyncssh.import_private_key(host_key).export_public_key()
        say(f"host key: {public.decode().strip()}")
    port = server.get_port()
    say(f"READY: {room.product.value}, ssh on port {port}")
    with room.progress.open("a") as file:
        file.write(json.dumps({"step": 0, "ssh_port": port, **made.ports}) + "\n")
    return server


async def _serve(env: Mapping[str, str], process: asyncssh.SSHServerProcess[bytes]) -> None:
    await shells.run(process, env)


def new_host_key() -> str:
    """Return a private key for an SSH server."""
    key: bytes = asyncssh.generate_private_key("ssh-ed25519").export_private_key()
    return key.decode()


def say(text: str) -> None:
    """Say something in the job's log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def rented(room: Room, env: Mapping[str, str]) -> int:
    """Be this rank until the return; return the exit code."""
    returned = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, returned.set)
    making = asyncio.create_task(hand_over(room, env))
    told = asyncio.create_task(returned.wait())
    await asyncio.wait({making, told}, return_when=asyncio.FIRST_COMPLETED)
    if making.done():
        try:
            making.result()
        except (CausewayError, OSError, ValueError, asyncssh.Error) as error:
            say(f"it could not be made ready: {error}")
            return 1
        await told
    return 128 + signal.SIGTERM


def main() -> int:
    """Run as the job's program."""
    # That the attempt is itself something like a Slurm job would mislead the commands of a Slurm.
    env = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
    room = read_room(env)
    os.chdir(room.work)
    os.environ.clear()
    os.environ.update(env)
    room.shared.mkdir(mode=0o700, exist_ok=True)
    return asyncio.run(rented(room, env))


if __name__ == "__main__":
    sys.exit(main())
