"""The tables at which jobs over several islands meet: who sits there, the bytes, and the waiting.

Who may come is said by a token that an attempt finds in its environment. It names the job and the
fence, is sealed with the centre's key, and is good exactly as long as that attempt is the job's
current one: who lost its lease writes nothing here, as nowhere else. What a round is, is decided in
`control/exchange.py`. The bytes lie in files without a name, so that nothing is left behind
whatever ends the process; nothing of it is durable. One event loop; bounded.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cryptography.fernet import InvalidToken

from causeway.control.exchange import Meeting
from causeway.control.state import State
from causeway.model.errors import (
    InvalidInput,
    NotFound,
    StaleFence,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

if TYPE_CHECKING:
    # The door holds the exchange.
    from causeway.api.door import Door

T = TypeVar("T")
TOKEN = "CAUSEWAY_EXCHANGE_TOKEN"
PURPOSE = "exchange"
PIECE_BYTES_MAX = 8 * 1024**2
BLOB_BYTES_MAX = 16 * 1024**3
HELD_BYTES_MAX = 64 * 1024**3
"""Of all groups together, what is being brought included."""
GROUPS_MAX = 256
HOLD_S = 10.0
LOOK_S = 0.25
"""How often a held request looks whether a lease has run out or a deadline has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """The attempt that asks."""

    group: str
    job: str
    member: int
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """How far an attempt's state is."""

    have: int
    """Rounds that it has behind it; -1: none to go by."""
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """Where a piece by piece upload stands."""

    next: int
    """The offset that is expected next."""
    whole: bool


class Blob:
    """Bytes in a file that has no name: gone with the last who holds it."""

    def __init__(self, folder: Path | None, size: int) -> None:
        descriptor, name = tempfile.mkstemp(prefix="exchange-", dir=folder)
        Path(name).unlink()
        self.size = size
        self.next = 0
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def write(self, data: bytes, offset: int) -> None:
        try:
            os.pwrite(self._descriptor, data, offset)
        except OSError as error:
            raise Unavailable(f"the exchange cannot keep it: {error}") from error

    def read(self, offset: int) -> bytes:
        return os.pread(self._descriptor, min(PIECE_BYTES_MAX, self.size - offset), offset)


@dataclass(slots=True)
class Table:
    """One group's meeting with what it waits for."""

    members: Mapping[int, str]
    """Member -> job."""
    meeting: Meeting = field(default_factory=Meeting)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    blobs: dict[int, Blob] = field(default_factory=dict)
    """What is whole, by number."""
    coming: dict[int, tuple[str, Blob]] = field(default_factory=dict)
    """Member -> what it is bringing now, and under which name."""

    def tell(self) -> None:
        """Something changed: whoever waits looks again."""
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def bytes(self) -> int:
        """How much is kept here, or has room kept for it."""
        coming = (blob for _, blob in self.coming.values())
        return sum(blob.size for blob in (*self.blobs.values(), *coming))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of what a member brings."""

    name: str
    """What it is a piece of."""
    offset: int
    total: int
    data: bytes


class Exchange:
    """All meetings of one control plane."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self._numbers = count(1)

    async def who(self, door: Door, secret: str) -> tuple[Who, Table]:
        """Return which current attempt asks, and its group's table."""
        job_id, fence = _said(door, secret)
        found = await door.service.read(lambda state: _member(state, job_id, fence))
        table = self.tables.get(found.group)
        if table is None:
            table = await self._open(door, found.group)
        return found, table

    async def _open(self, door: Door, group: str) -> Table:
        members = await door.service.read(lambda state: _members(state, group))
        for name, table in list(self.tables.items()):
            if not any((await _unfinished(door, table)).values()):
                self.tables.pop(name, None)
        if group not in self.tables and len(self.tables) >= GROUPS_MAX:
            raise Unavailable(
                f"{GROUPS_MAX} jobs over several islands meet here already", hint="try again later"
            )
        return self.tables.setdefault(group, Table(members))

    async def settle(self, door: Door, table: Table) -> None:
        """Draw the consequences of whatever happened, time included, and tell whoever waits."""
        meeting = table.meeting
        unfinished = await _unfinished(door, table)
        before = _seen(meeting)
        meeting.settle(unfinished, door.clock.monotonic_ms())
        for number in meeting.dropped:
            table.blobs.pop(number, None)
        meeting.dropped.clear()
        for member in table.coming.keys() - meeting.seats.keys():
            del table.coming[member]
        if before != _seen(meeting):
            table.tell()

    async def held(
        self, door: Door, table: Table, *, look: Callable[[], T | None], last: Callable[[], T]
    ) -> T:
        """Return what `look` sees once it sees something, or what `last` says when time is up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + HOLD_S
        while True:
            await self.settle(door, table)
            changed = table.changed
            found = look()
            if found is not None or loop.time() >= until:
                return last() if found is None else found
            try:
                async with asyncio.timeout(min(LOOK_S, until - loop.time())):
                    await changed.wait()
            except TimeoutError:
                continue

    async def bring(self, door: Door, table: Table, member: int, piece: Piece) -> Brought:
        """Take one piece in. Pieces come in order; one that came before changes nothing."""
        if not 1 <= piece.total <= BLOB_BYTES_MAX:
            raise TooLarge(f"a member gives 1 to {BLOB_BYTES_MAX:,} bytes", where="query.total")
        if piece.offset + len(piece.data) > piece.total:
            raise InvalidInput("the piece reaches beyond the end", where="query.offset")
        under_way = table.coming.get(member)
        if under_way is None or (under_way[0], under_way[1].size) != (piece.name, piece.total):
            under_way = self._begin(door, table, member, piece)
        blob = under_way[1]
        if piece.offset == blob.next and piece.data:
            await asyncio.to_thread(blob.write, piece.data, piece.offset)
            blob.next = max(blob.next, piece.offset + len(piece.data))
        return Brought(next=blob.next, whole=blob.next == blob.size)

    def _begin(self, door: Door, table: Table, member: int, piece: Piece) -> tuple[str, Blob]:
        table.coming.pop(member, None)
        held = sum(other.bytes for other in self.tables.values())
        if held + piece.total > HELD_BYTES_MAX:
            raise TooLarge(f"the exchange holds {held:,} bytes already", hint="try again later")
        made = table.coming[member] = (piece.name, Blob(door.scratch, piece.total))
        return made

    def keep(self, table: Table, member: int) -> int:
        """Keep what a member has brought whole; return the number that it is known by."""
        number = next(self._numbers)
        table.blobs[number] = table.coming.pop(member)[1]
        return number


def _seen(meeting: Meeting) -> tuple[object, ...]:
    """Return what those who wait can tell apart."""
    return meeting.round, meeting.state, [seat.ready for seat in meeting.seats.values()]


async def _unfinished(door: Door, table: Table) -> Mapping[int, int]:
    return await door.service.read(lambda state: _fences(state, table.members))


def _said(door: Door, secret: str) -> tuple[str, int]:
    """Return the job and fence that a token names."""
    try:
        said = json.loads(door.unseal(secret.encode()))
    except (InvalidToken, ValueError):
        said = None
    if not isinstance(said, dict) or said.get("for") != PURPOSE:
        raise Unauthenticated(
            "this is no attempt's token for the exchange",
            hint=f"an attempt of a job with `islands` finds it in {TOKEN}",
        )
    return str(said["job"]), int(said["fence"])


def token(door: Door, job: str, fence: int) -> str:
    """Return the token with which an attempt comes to its group's meeting."""
    return door.seal(json.dumps({"for": PURPOSE, "job": job, "fence": fence}).encode()).decode()


def _member(state: State, job_id: str, fence: int) -> Who:
    job = state.job(job_id)
    current = job.current if job is not None else None
    if job is None or current is None or current.fence != fence:
        raise StaleFence(
            f"attempt {fence} of {job_id} is not its current one", hint="stop: another goes on"
        )
    if not job.group:
        raise NotFound(f"{job_id} is one job on one island: nobody meets it")
    return Who(group=job.group, job=job_id, member=job.spec.array_index, fence=fence)


def _members(state: State, group: str) -> Mapping[int, str]:
    """Return a group's members that are not over. This looks at every job, once per meeting."""
    return {job.spec.array_index: job.id for job in state.jobs.values() if job.group == group}


def _fences(state: State, members: Mapping[int, str]) -> Mapping[int, int]:
    found: dict[int, int] = {}
    for member, job_id in members.items():
        job = state.jobs.get(job_id)
        if job is not None:
            found[member] = job.current.fence if job.current is not None else 0
    return found
