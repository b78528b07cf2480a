"""What the pages read, limited to what the caller may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from causeway import schedule
from causeway.api.door import Door
from causeway.api.fleet import pools_of
from causeway.api.jobs import picture_of
from causeway.api.placement import decided
from causeway.api.views import headline
from causeway.control.state import State
from causeway.discover import Catalogue, compile_filter
from causeway.model.events import Event
from causeway.model.fleet import Candidate, PoolView
from causeway.model.islands import Island
from causeway.model.jobs import Job, JobState
from causeway.model.money import Transaction
from causeway.model.parties import AccessRole, Caller, Tenant
from causeway.ports.store import ProgressRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Why a job is where it is, and its placement table."""

    headline: str
    candidates: tuple[Candidate, ...] = ()
    decided_ms: int = 0


def _scope(caller: Caller) -> str | None:
    return None if caller.role is AccessRole.OPERATOR else caller.tenant


class PageReader:
    """Implements the pages' `Reader` over the door."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def now_ms(self) -> int:
        return self.door.clock.now_ms()

    async def jobs(
        self, caller: Caller, *, states: Sequence[str], before: str, limit: int
    ) -> list[Job]:
        return await self.door.jobs(caller, states=tuple(states), before=before, limit=limit)

    async def job(self, caller: Caller, job: str) -> Job:
        return await self.door.job(caller, job)

    async def children(self, caller: Caller, job: str) -> list[Job]:
        parent = await self.door.job(caller, job)
        return await self.door.stored(
            lambda s: s.jobs(tenant=parent.tenant, group=parent.id, limit=1_000)
        )

    async def counts(self, caller: Caller) -> Mapping[str, int]:
        return await self.door.stored(lambda s: s.job_counts(_scope(caller)))

    async def islands(self, caller: Caller) -> list[Island]:
        found = await self.door.service.read(lambda s: list(s.islands.values()))
        return sorted(found, key=lambda island: island.id)

    async def pools(
        self, caller: Caller, *, where: str = "", sort: str = ""
    ) -> tuple[PoolView, ...]:
        wanted = compile_filter(where)
        pools = await self.door.service.read(lambda state: pools_of(self.door, state))
        rows = Catalogue(pools).search(wanted, sort=sort or "price_usd_per_device_h", limit=1_000)
        return tuple(pools[row] for row in rows)

    async def tenants(self, caller: Caller) -> list[Tenant]:
        scope = _scope(caller)
        return await self.door.service.read(
            lambda s: [t for t in s.tenants.values() if scope in (None, t.name)]
        )

    async def events(
        self, caller: Caller, *, subject: str, after: int, limit: int, newest: bool
    ) -> list[Event]:
        tenant = None if subject else _scope(caller)
        return await self.door.stored(
            lambda s: s.events(
                subject=subject, after=after, limit=limit, newest=newest, tenant=tenant
            )
        )

    async def progress(self, caller: Caller, job: str) -> list[ProgressRow]:
        found = await self.door.job(caller, job)
        return await self.door.stored(lambda s: s.progress(found.id, limit=2_000))

    async def log_streams(self, caller: Caller, job: str) -> list[tuple[int, str, int]]:
        found = await self.door.job(caller, job)
        return [(s.fence, s.stream, s.bytes) for s in self.door.logs.streams(found.id)]

    async def log(
        self, caller: Caller, job: str, *, fence: int, stream: str, offset: int, limit: int
    ) -> bytes:
        found = await self.door.job(caller, job)
        return self.door.logs.read(found.id, fence, stream, offset=offset, limit=limit)

    async def log_since(
        self, caller: Caller, job: str, *, fence: int, stream: str, at_ms: int
    ) -> int:
        found = await self.door.job(caller, job)
        return self.door.logs.since(found.id, fence, stream, at_ms=at_ms)

    async def explain(self, caller: Caller, job: str) -> Story:
        found = await self.door.job(caller, job)
        if found.state is not JobState.QUEUED:
            made_then = await decided(self.door, found.id)
            return Story(
                headline=headline(found),
                candidates=made_then.candidates,
                decided_ms=made_then.at_ms,
            )
        picture = await self.door.service.read(lambda state: picture_of(self.door, state))
        made = await asyncio.to_thread(
            schedule.explain, picture, found.id, matches=self.door.plane.matches
        )
        return Story(headline=made.headline, candidates=tuple(made.candidates))

    async def transactions(self, caller: Caller, *, subject: str) -> list[Transaction]:
        scope = _scope(caller)
        party = f"receivable:{scope}" if scope and not subject else ""
        return await self.door.stored(lambda s: s.transactions(subject=subject, party=party))

    async def balances(self, caller: Caller) -> Mapping[tuple[str, str], int]:
        everything = await self.door.stored(lambda s: s.balances())
        scope = _scope(caller)
        if scope is None:
            return everything
        own = f"receivable:{scope}"
        return {key: micros for key, micros in everything.items() if key[0] == own}

    async def subscribe(self, caller: Caller) -> AsyncIterator[int]:
        async for seq in self.door.service.changes():
            yield seq


def unfinished(state: State) -> int:
    """Count the jobs that have not ended."""
    return len(state.jobs)
