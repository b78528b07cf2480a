"""What every endpoint works with: the service, the store's reading side, and who is asking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.requests import HTTPConnection, Request

from causeway.api.ahead import Ahead
from causeway.api.http import bearer
from causeway.api.replicas import Replicas
from causeway.api.switchboard import Switchboard
from causeway.api.tables import Exchange
from causeway.control import tenancy
from causeway.control.agents import session_of
from causeway.control.parts import Parts
from causeway.control.state import Session, State
from causeway.model.errors import NotFound
from causeway.model.identifiers import Kind, Urn
from causeway.model.jobs import TERMINAL, Job, JobState
from causeway.model.parties import AccessRole, Caller
from causeway.ports.store import Store

T = TypeVar("T")
COOKIE = "causeway_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door(Parts):
    """The control plane as its HTTP doors see it."""

    switchboard: Switchboard = field(default_factory=Switchboard)
    """Who waits for an island to call back."""
    replicas: Replicas = field(default_factory=Replicas)
    """Which artefacts islands said that they hold."""
    ahead: Ahead = field(default_factory=Ahead)
    """Which artefacts islands should fetch for jobs that wait."""
    exchange: Exchange = field(default_factory=Exchange)
    """Where jobs over several islands meet."""

    async def caller(self, request: Request, role: AccessRole = AccessRole.VIEWER) -> Caller:
        """Return who is asking, with at least the role: by bearer token or, to read, by the page's
        cookie. What changes something never goes by the cookie alone, which a browser sends along
        for any page of the same site; the pages' own forms carry a key besides."""
        reads = request.method in ("GET", "HEAD") and "authorization" not in request.headers
        cookie = request.cookies.get(COOKIE, "") if reads else ""
        secret = cookie or bearer(request)
        caller = await self.known(secret)
        tenancy.need(caller, role)
        return caller

    async def known(self, secret: str) -> Caller:
        """Return whom a token stands for, or raise `Unauthenticated`."""
        now_ms = self.clock.now_ms()
        return await self.service.read(lambda s: tenancy.caller_of(s, secret, now_ms))

    async def session(self, request: HTTPConnection) -> Session:
        """Return the agent session of the request."""
        secret = bearer(request)
        return await self.service.read(lambda state: session_of(state, secret))

    async def stored(self, query: Callable[[Store], T]) -> T:
        """Ask the store, off the event loop."""
        return await asyncio.to_thread(query, self.store)

    async def job(self, caller: Caller, text: str, *, unfinished: bool = False) -> Job:
        """Find a job by URN, by the id inside it, or by name: the newest of that name, or of those
        that have not ended if `unfinished` ones are meant."""
        if len(text) > 255 or not text.isprintable():
            raise NotFound("there is no such job", hint="causeway ps")
        wanted = self.job_id(text)
        found = await self.service.read(lambda state: state.job(wanted))
        if found is None:
            found = await self.stored(lambda store: store.job(wanted))
        if found is None and not text.startswith("urn:"):
            found = await self._named(caller, text, unfinished=unfinished)
        foreign = found is not None and found.tenant != caller.tenant
        if found is None or (foreign and caller.role is not AccessRole.OPERATOR):
            raise NotFound(f"there is no job {text}", hint="causeway ps")
        return found

    async def _named(self, caller: Caller, name: str, *, unfinished: bool) -> Job | None:
        tenant = None if caller.role is AccessRole.OPERATOR else caller.tenant

        def newest(state: State) -> Job | None:
            jobs = [
                job
                for pool in (state.jobs, state.finished)
                for job in pool.values()
                if job.spec.name == name and tenant in (None, job.tenant)
            ]
            return max(
                jobs,
                key=lambda job: (unfinished and job.state not in TERMINAL, job.id),
                default=None,
            )

        found = await self.service.read(newest)
        if found is not None:
            return found
        # A new process holds what has not ended; what ended before it began is in the store.
        most = self.settings.finished_jobs_kept
        ended = await self.stored(lambda store: store.jobs(tenant=tenant, limit=most))
        return next((job for job in ended if job.spec.name == name), None)

    async def numbered(self, caller: Caller, numbers: Sequence[int]) -> list[Job]:
        """Return those jobs of the numbers that are there and that the caller may see."""
        scope = None if caller.role is AccessRole.OPERATOR else caller.tenant

        def look(store: Store) -> list[Job]:
            told = [event for n in numbers if n for event in store.events(after=n - 1, limit=1)]
            found = [store.job(event.subject) for event in told]
            # The event after a number that is none, or that went to the archive, tells of another.
            jobs = [job for job in found if job is not None and job.number in numbers]
            return [job for job in jobs if scope in (None, job.tenant)]

        stored = await self.stored(look)
        return await self.service.read(lambda state: [state.job(job.id) or job for job in stored])

    def job_id(self, text: str) -> str:
        """Return the URN for what a person typed."""
        if text.startswith("urn:"):
            return text
        return str(Urn(self.settings.issuer, Kind.JOB, text))

    async def jobs(
        self,
        caller: Caller,
        *,
        states: tuple[str, ...] = (),
        group: str = "",
        before: str = "",
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, newest first: those in memory are fresher than the store's."""
        tenant = None if caller.role is AccessRole.OPERATOR else caller.tenant
        stored = await self.stored(
            lambda store: store.jobs(
                tenant=tenant, states=states, group=group or None, before=before, limit=limit
            )
        )
        fresh = await self.service.read(lambda state: [state.job(job.id) or job for job in stored])
        return [job for job in fresh if not states or job.state.value in states]


def counts_of(state: State, tenant: str | None) -> Mapping[str, int]:
    """Count unfinished jobs by state."""
    tally: dict[str, int] = {s.value: 0 for s in JobState}
    for job in state.jobs.values():
        if tenant in (None, job.tenant):
            tally[job.state.value] += 1
    return tally
