"""Calls that wait for an island: a person is at the centre's door, the island dials in.

Islands only call out, so whoever wants to reach a process there waits here: the call is told to
the island with its next sync (a held one is answered at once), the island dials the centre, and
the two connections are joined (`relay`). Nothing of this is durable: who waits, waits with an open
connection, and asks again when it is lost. One event loop; bounded.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field

from starlette.websockets import WebSocket

from causeway.model.errors import Conflict, NotFound, StaleFence, Unavailable
from causeway.model.protocol import CallCommand

CALLS_MAX = 1_024
CALLS_PER_JOB_MAX = 64
TOLD_MAX = 64
"""Calls in one reply to an island."""


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One person's wish to reach one attempt."""

    command: CallCommand
    island: str
    far: asyncio.Future[WebSocket]
    """The island's connection, once it has dialled and reached its end."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    told: bool = False
    taken: bool = False


class Switchboard:
    """All calls of one control plane."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}

    def open(self, *, island: str, job: str, fence: int, kind: str, port: int) -> Call:
        """Begin to wait for an island. The caller must `close` it whatever comes."""
        mine = sum(call.command.job == job for call in self._calls.values())
        if len(self._calls) >= CALLS_MAX or mine >= CALLS_PER_JOB_MAX:
            raise Unavailable(
                f"too many connections are open ({mine} to this job, {len(self._calls)} in all)",
                hint=f"close some; a job has at most {CALLS_PER_JOB_MAX}",
            )
        command = CallCommand(
            call=secrets.token_urlsafe(18), job=job, fence=fence, kind=kind, port=port
        )
        far: asyncio.Future[WebSocket] = asyncio.get_running_loop().create_future()
        call = self._calls[command.call] = Call(command=command, island=island, far=far)
        return call

    def close(self, call: Call) -> None:
        """The person is gone or the connection is over: let the island's end go."""
        self._calls.pop(call.command.call, None)
        call.far.cancel()
        call.over.set()

    def has_news(self, island: str) -> bool:
        """Say whether a call waits that the island has not been told of."""
        return any(c.island == island and not c.told and not c.taken for c in self._calls.values())

    def tell(self, island: str) -> tuple[CallCommand, ...]:
        """Return the island's calls that are not answered yet."""
        waiting = [c for c in self._calls.values() if c.island == island and not c.taken]
        for call in waiting[:TOLD_MAX]:
            call.told = True
        return tuple(call.command for call in waiting[:TOLD_MAX])

    def take(self, name: str, *, island: str, job: str, fence: int) -> Call:
        """Return the call that an island answers, once."""
        call = self._calls.get(name)
        if call is None:
            raise NotFound("nobody waits for this call any more")
        if (call.island, call.command.job, call.command.fence) != (island, job, fence):
            raise StaleFence(
                f"attempt {fence} of {job} on this island is not the one that is meant"
            )
        if call.taken:
            raise Conflict("this call was answered already")
        call.taken = True
        return call
