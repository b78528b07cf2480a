"""The store: one transaction in, one image out. The same tests run against every adapter.

The control plane works on an image in memory and hands every change over as one `Batch`, which is
applied whole or not at all. When a commit fails or its outcome is unknown, the control plane drops
its image and loads again: what the store holds is the truth. `epoch` fences leaders: a batch of an
older epoch is refused with `Conflict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from causeway.model.artifacts import Artifact
from causeway.model.events import Event
from causeway.model.islands import Island
from causeway.model.jobs import Job
from causeway.model.money import Transaction
from causeway.model.parties import AccessToken, Tenant
from causeway.model.usage import UsageTick


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressRow:
    """One progress point of one attempt, as stored."""

    job: str
    fence: int
    step: int
    at_ms: int
    """Since the attempt started."""
    values: Mapping[str, float]


@dataclass(slots=True, kw_only=True)
class Batch:
    """Everything that one transaction writes. Upserts by id; events and ticks only append."""

    jobs: dict[str, Job] = field(default_factory=dict)
    islands: dict[str, Island] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    tokens: dict[str, AccessToken] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], Artifact] = field(default_factory=dict)
    """By (tenant, id)."""
    secrets: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    """(tenant, name) -> sealed value; None removes it."""
    events: list[Event] = field(default_factory=list)
    ticks: list[UsageTick] = field(default_factory=list)
    """Unique by (job, fence, seq); a repeat is an error, since the plane already refused it."""
    transactions: list[Transaction] = field(default_factory=list)
    """Unique by id."""
    progress: list[ProgressRow] = field(default_factory=list)
    keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """Idempotency: (tenant, key) -> (digest of the request, id of the result)."""

    def __bool__(self) -> bool:
        """Say whether there is anything to write."""
        return bool(
            self.jobs
            or self.islands
            or self.tenants
            or self.tokens
            or self.artifacts
            or self.secrets
            or self.events
            or self.ticks
            or self.transactions
            or self.progress
            or self.keys
        )


@dataclass(slots=True, kw_only=True)
class Image:
    """What the control plane needs in memory: all that is not finished."""

    jobs: dict[str, Job] = field(default_factory=dict)
    """Every job that has not ended, and groups with children that have not."""
    islands: dict[str, Island] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    tokens: dict[str, AccessToken] = field(default_factory=dict)
    secrets: dict[tuple[str, str], bytes] = field(default_factory=dict)
    next_event: int = 1


class Store(Protocol):
    """The durable truth. Calls block; the shell makes them from its own thread."""

    def lead(self) -> int | None:
        """Try to become the leader. Return the new, higher epoch, or None while another leads."""

    def leading(self) -> bool:
        """Say whether this process still holds the leadership (a cheap check)."""

    def load(self) -> Image:
        """Read the image."""

    def commit(self, epoch: int, batch: Batch) -> None:
        """Write the batch durably, whole or not at all. `Conflict` when the epoch is not current,
        `Unavailable` when the store cannot be reached (the outcome may then be unknown)."""

    def key(self, tenant: str, key: str) -> tuple[str, str] | None:
        """Return (request digest, result) of an idempotency key."""

    def keys(self, tenant: str, keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return (request digest, result) of those keys that were used, in one look: a batch
        brings thousands."""

    def job(self, job: str) -> Job | None:
        """Return a job, finished or not."""

    def jobs(
        self,
        *,
        tenant: str | None,
        states: Sequence[str] = (),
        group: str | None = None,
        before: str = "",
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, newest first, with ids below `before` (keyset page). `tenant` None: all."""

    def job_counts(self, tenant: str | None) -> Mapping[str, int]:
        """Return how many jobs are in each state."""

    def events(
        self,
        *,
        after: int = 0,
        subject: str = "",
        tenant: str | None = None,
        newest: bool = False,
        limit: int = 500,
    ) -> list[Event]:
        """Return events with `seq > after`, oldest first (newest first when asked)."""

    def progress(self, job: str, *, limit: int = 5000) -> list[ProgressRow]:
        """Return a job's progress in the order of arrival, thinned evenly to the limit."""

    def ticks(self, job: str) -> list[UsageTick]:
        """Return a job's accepted usage ticks in order."""

    def transactions(
        self, *, subject: str = "", party: str = "", after: str = "", limit: int = 1000
    ) -> list[Transaction]:
        """Return journal transactions in id order, optionally of one subject or one party."""

    def balances(self) -> Mapping[tuple[str, str], int]:
        """Return the sum of entries in micro-units by (account, currency)."""

    def artifact(self, tenant: str, artifact: str) -> Artifact | None:
        """Return one artefact of a tenant by id, or the newest by library name."""

    def artifacts(
        self, *, tenant: str | None, kind: str = "", job: str = "", limit: int = 100
    ) -> list[Artifact]:
        """Return artefacts, newest first."""

    def close(self) -> None:
        """Let go of files and connections, and of the leadership."""
