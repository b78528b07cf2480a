"""What the pages need to know. Every answer is already limited to what the caller may see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from causeway.model.events import Event
from causeway.model.fleet import Candidate, PoolView
from causeway.model.islands import Island
from causeway.model.jobs import Job
from causeway.model.money import Transaction
from causeway.model.parties import Caller, Tenant
from causeway.ports.store import ProgressRow


class Explanation(Protocol):
    """Why a job is where it is, and how every offer looks to it."""

    @property
    def headline(self) -> str:
        """One sentence."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """The placement table: as it is now while the job waits, else as it was decided."""

    @property
    def decided_ms(self) -> int:
        """When the table was decided; 0: it is of now."""


class Reader(Protocol):
    """Reads for one caller. `NotFound` when the thing is absent or another tenant's."""

    def now_ms(self) -> int:
        """Return the centre's clock."""

    async def jobs(
        self, caller: Caller, *, states: Sequence[str], before: str, limit: int
    ) -> list[Job]:
        """Return jobs, newest first, with ids below `before`; no states: all."""

    async def job(self, caller: Caller, job: str) -> Job:
        """Return one job."""

    async def children(self, caller: Caller, job: str) -> list[Job]:
        """Return the members of a group."""

    async def counts(self, caller: Caller) -> Mapping[str, int]:
        """Return how many jobs are in each state."""

    async def islands(self, caller: Caller) -> list[Island]:
        """Return every island, in a stable order."""

    async def pools(
        self, caller: Caller, *, where: str = "", sort: str = ""
    ) -> tuple[PoolView, ...]:
        """Return offers; `InvalidInput` when the filter cannot be understood."""

    async def tenants(self, caller: Caller) -> list[Tenant]:
        """Return the caller's tenant, or all of them for an operator."""

    async def events(
        self, caller: Caller, *, subject: str, after: int, limit: int, newest: bool
    ) -> list[Event]:
        """Return events with `seq > after`, oldest first (newest first when asked)."""

    async def progress(self, caller: Caller, job: str) -> list[ProgressRow]:
        """Return what the job reported of itself, in the order of arrival."""

    async def log_streams(self, caller: Caller, job: str) -> list[tuple[int, str, int]]:
        """Return (fence, stream, bytes) of every kept log."""

    async def log(
        self, caller: Caller, job: str, *, fence: int, stream: str, offset: int, limit: int
    ) -> bytes:
        """Return a piece of one log."""

    async def log_since(
        self, caller: Caller, job: str, *, fence: int, stream: str, at_ms: int
    ) -> int:
        """Return the offset from which on a log arrived at that instant or later."""

    async def explain(self, caller: Caller, job: str) -> Explanation:
        """Return why the job is where it is."""

    async def transactions(self, caller: Caller, *, subject: str) -> list[Transaction]:
        """Return journal transactions in order, of one subject or (empty) of all."""

    async def balances(self, caller: Caller) -> Mapping[tuple[str, str], int]:
        """Return the sum of entries in micro-units by (account, currency)."""

    def subscribe(self, caller: Caller) -> AsyncIterator[int]:
        """Yield the newest event's number whenever something changed; ends when closing down."""
