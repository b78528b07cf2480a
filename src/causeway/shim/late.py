"""Files that a program writes into its folder after it has submitted, sent to the jobs that run.

On a shared file system a job sees them by itself, and programs count on that: submitit learns a
job's number and then renames its input to it. Where the folder was carried along, files that are
written within the first `WINDOW_S` are sent through the centre's relay to `inside/late.py`, which
runs beside the job's script. What this machine itself has delivered is left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from causeway.model.errors import CausewayError, Unavailable
from causeway.sdk.manifests import IGNORED_ALWAYS
from causeway.shim.centre import Centre
from causeway.shim.folder import FILES_MAX, MARK
from causeway.shim.spool import Debt

WINDOW_S = 30.0
BYTES_MAX = 32 * 1024**2
"""Of one delivery; a file that does not fit is left out."""
LATE_MAX = 1_000
TRIES = 60
"""How often one attempt is offered them in vain: for two minutes or more. A job that works in a
shared folder never takes any."""
PIECE_BYTES = 32 * 1024
ANSWER_S = 30.0


def seen(debt: Debt, *, now_ns: int, own: Container[str]) -> list[str]:
    """Return the files that were written since the folder was carried along, and are not known.

    The last look is made once the window is over, however long the one before took."""
    until_ns = debt.began_ns + round(WINDOW_S * 1e9)
    if not debt.key or debt.looked_ns > until_ns or len(debt.late) >= LATE_MAX:
        return []
    debt.looked_ns = now_ns
    known = set(debt.late)
    found = []
    for count, path in enumerate(_files(debt.folder)):
        if count > FILES_MAX:
            break
        below = os.path.relpath(path, debt.folder)
        if below in known or str(path) in own or below == MARK:
            continue
        try:
            entry = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(entry.st_mode) and debt.began_ns < entry.st_ctime_ns <= until_ns:
            found.append(below)
    return sorted(found)[: LATE_MAX - len(debt.late)]


def _files(folder: str) -> Iterator[Path]:
    for at, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if name not in IGNORED_ALWAYS and not name.startswith(".causeway-")
        ]
        yield from (Path(at, name) for name in names)


def send(debt: Debt, paths: Sequence[str], *, job: str, number: int, centre: Centre) -> bool:
    """Send files to a running job; say whether it took them."""
    text = b"".join([debt.key.encode() + b"\n", *_entries(Path(debt.folder), paths), b"{}\n"])
    first = 20_000 + number % 10_000
    for port in (first, first + 10_000, first + 20_000):
        try:
            return asyncio.run(_sent(centre, job, port=port, text=text))
        except (CausewayError, TimeoutError):
            # Nothing of the job listens there (yet).
            continue
    return False


def _entries(folder: Path, paths: Sequence[str]) -> Iterator[bytes]:
    left = BYTES_MAX
    for path in paths:
        try:
            data = (folder / path).read_bytes()
        except OSError:
            # It went away again, as a file does that is renamed.
            continue
        if len(data) <= left:
            left -= len(data)
            yield json.dumps({"path": path, "bytes": len(data)}).encode() + b"\n" + data


async def _sent(centre: Centre, job: str, *, port: int, text: bytes) -> bool:
    from websockets.exceptions import ConnectionClosed

    from causeway.sdk.client import Client
    from causeway.sdk.relayed import dialled

    settings = centre.settings
    client = Client(settings.url, settings.token, ca=settings.ca)
    answer = b""
    async with (
        asyncio.timeout(ANSWER_S),
        dialled(client, f"/v1/jobs/{job}/forward?port={port}") as wire,
    ):
        try:
            for start in range(0, len(text), PIECE_BYTES):
                await wire.send(text[start : start + PIECE_BYTES])
            async for message in wire:
                if isinstance(message, bytes):
                    answer += message
                if b"ok\n" in answer or not isinstance(message, bytes):
                    break
        except ConnectionClosed as error:
            raise Unavailable(f"the connection to {job} broke off") from error
    return b"ok\n" in answer
