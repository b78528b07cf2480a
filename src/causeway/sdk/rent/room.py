"""A rented room as its program finds it, and what a product makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from causeway.model.errors import InvalidInput, Unavailable
from causeway.model.jobs import Product

READY_S = 300.0
"""How long a product may take to become ready; then the attempt fails, and says why."""
LOOK_S = 0.05
PORT_LOWEST, PORT_HIGHEST = 10_000, 20_000
"""Below what Linux hands out by itself, and below where the rentals' SSH servers listen."""
PORT_TRIES = 200
LAST_WORDS_CHARS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is rented."""

    product: Product
    key: str
    """Public key that may come in."""
    port: int
    """First of ten ports for SSH; 0: any."""
    host_key: str
    """Private key of the SSH server; empty: make one."""
    cpus: int
    """Of one node."""
    memory_bytes: int
    """Of one node."""
    accelerators: int
    """Of one node."""
    rank: int
    ranks: int
    work: Path
    """The renter's home; every rank sees the same one."""
    progress: Path

    @property
    def shared(self) -> Path:
        """Where the ranks find what they have to know of each other."""
        return self.work / ".rental"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A product that is ready."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Variables of every command of the renter."""
    ways: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """Hosts and ports of names that only its renter's forwards know, and the real ports."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """What its hand-over tells beside the port of its SSH server."""


def read_room(env: dict[str, str]) -> Room:
    """Take the room out of the environment: the renter's commands do not see it."""
    said = json.loads(env.pop("CAUSEWAY_RENTAL"))
    secret = said["host_key"]
    return Room(
        product=Product(said["product"]),
        key=said["key"],
        port=said["port"],
        host_key=env.pop(secret) if secret else "",
        cpus=said["cpus"],
        memory_bytes=said["memory_bytes"],
        accelerators=said["accelerators"],
        rank=int(env["CAUSEWAY_NODE_RANK"]),
        ranks=int(env["CAUSEWAY_NUM_NODES"]),
        work=Path(env["CAUSEWAY_OUTPUT_DIR"]),
        progress=Path(env["CAUSEWAY_PROGRESS_FILE"]),
    )


async def there(path: Path) -> bool:
    """Say whether a file is there."""
    return await asyncio.to_thread(path.exists)


async def until(
    what: str, true: Callable[[], Awaitable[bool]], *, within_s: float = READY_S
) -> None:
    """Wait until something is so; `Unavailable` when it does not become so."""
    give_up_s = time.monotonic() + within_s
    while not await true():
        if time.monotonic() > give_up_s:
            raise Unavailable(f"after {within_s:.0f} s this was not so: {what}")
        await asyncio.sleep(LOOK_S)


async def run(*words: str, env: Mapping[str, str]) -> str:
    """Run a program to its end and return what it said; `InvalidInput` when it ends badly."""
    child = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(env),
    )
    out, _ = await child.communicate()
    said = out.decode(errors="replace")
    if child.returncode:
        raise InvalidInput(f"{words[0]} ended with {child.returncode}: {said.strip()[-500:]}")
    return said


async def daemon(*words: str, env: Mapping[str, str], log: Path | None = None) -> None:
    """Run a program that puts itself into the background. It keeps its output open, so that is the
    log of the job, or a file."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else None
        child = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=dict(env)
        )
        code = await child.wait()
    if code:
        where = f": {_last_words(log)}" if log else "; its words are in the job's log"
        raise InvalidInput(f"{words[0]} ended with {code}{where}")


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace").strip()[-LAST_WORDS_CHARS:]


def free_ports(count: int) -> list[int]:
    """Return that many ports in a row that are free now."""
    for _ in range(PORT_TRIES):
        first = PORT_LOWEST + secrets.randbelow(PORT_HIGHEST - PORT_LOWEST - count)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return list(range(first, first + count))
    raise InvalidInput(f"no {count} ports in a row are free on this island")


def put(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that others wait for, whole or not at all."""
    half = path.with_name(f".{path.name}.half")
    half.write_bytes(data)
    half.chmod(mode)
    os.replace(half, path)  # noqa: PTH105
