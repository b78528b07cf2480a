"""A store that kills its own process at a chosen write, so that crash tests need no luck.

`CAUSEWAY_CRASH_AT="<n>[:before|after]"` makes a control plane die by SIGKILL at its n-th durable
write: `before` the write has happened, or `after` (the default) it is durable and nobody has been
told yet. Taking the leadership raises the epoch, so it counts as a write as well. Nothing is
flushed, closed or answered: to the rest of the world this is a power switch for one process.

Wiring puts it around the real store when the variable is set, and only then; both the arming and
the death are said on stderr.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from causeway.model.artifacts import Artifact
from causeway.model.errors import InvalidInput
from causeway.model.events import Event
from causeway.model.jobs import Job
from causeway.model.money import Transaction
from causeway.model.usage import UsageTick
from causeway.ports.store import Batch, Image, ProgressRow, Store

VARIABLE = "CAUSEWAY_CRASH_AT"
_FORM = re.compile(r"([1-9]\d{0,8})(?::(before|after))?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPoint:
    """The write at which the process dies."""

    write: int
    """1 is the first one."""
    after: bool = True
    """Whether the write is durable when the process dies."""

    @classmethod
    def parse(cls, text: str) -> CrashPoint:
        """Read `<n>`, `<n>:before` or `<n>:after`.

        >>> CrashPoint.parse("7:before")
        CrashPoint(write=7, after=False)
        """
        found = _FORM.match(text)
        if found is None:
            raise InvalidInput(
                f"{VARIABLE}={text!r} is not a crash point",
                hint="write the number of a store write, e.g. 7, 7:before or 7:after",
                where=VARIABLE,
            )
        return cls(write=int(found[1]), after=found[2] != "before")

    def __str__(self) -> str:
        return f"{self.write}:{'after' if self.after else 'before'}"


class CrashingStore:
    """`ports.store.Store` around another one, up to a crash point."""

    def __init__(self, store: Store, point: CrashPoint) -> None:
        self._store = store
        self._point = point
        self._writes = 0
        _say(f"{VARIABLE} is set: this process kills itself at store write {point}")

    def lead(self) -> int | None:
        """Take the leadership; a write, when it is taken."""
        self._writes += 1
        self._die_if(after=False)
        epoch = self._store.lead()
        if epoch is None:
            self._writes -= 1
            return None
        self._die_if(after=True)
        return epoch

    def leading(self) -> bool:
        """Ask the store."""
        return self._store.leading()

    def load(self) -> Image:
        """Ask the store."""
        return self._store.load()

    def commit(self, epoch: int, batch: Batch) -> None:
        """Write durably, or die before or after it."""
        self._writes += 1
        self._die_if(after=False)
        self._store.commit(epoch, batch)
        self._die_if(after=True)

    def _die_if(self, *, after: bool) -> None:
        if (self._writes, after) == (self._point.write, self._point.after):
            _say(f"crash point {self._point} reached: killing this process")
            os.kill(os.getpid(), signal.SIGKILL)

    def key(self, tenant: str, key: str) -> tuple[str, str] | None:
        """Ask the store."""
        return self._store.key(tenant, key)

    def keys(self, tenant: str, keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Ask the store."""
        return self._store.keys(tenant, keys)

    def job(self, job: str) -> Job | None:
        """Ask the store."""
        return self._store.job(job)

    def jobs(
        self,
        *,
        tenant: str | None,
        states: Sequence[str] = (),
        group: str | None = None,
        before: str = "",
        limit: int = 100,
    ) -> list[Job]:
        """Ask the store."""
        return self._store.jobs(
            tenant=tenant, states=states, group=group, before=before, limit=limit
        )

    def job_counts(self, tenant: str | None) -> Mapping[str, int]:
        """Ask the store."""
        return self._store.job_counts(tenant)

    def events(
        self,
        *,
        after: int = 0,
        subject: str = "",
        tenant: str | None = None,
        newest: bool = False,
        limit: int = 500,
    ) -> list[Event]:
        """Ask the store."""
        return self._store.events(
            after=after, subject=subject, tenant=tenant, newest=newest, limit=limit
        )

    def progress(self, job: str, *, limit: int = 5000) -> list[ProgressRow]:
        """Ask the store."""
        return self._store.progress(job, limit=limit)

    def ticks(self, job: str) -> list[UsageTick]:
        """Ask the store."""
        return self._store.ticks(job)

    def transactions(
        self, *, subject: str = "", party: str = "", after: str = "", limit: int = 1000
    ) -> list[Transaction]:
        """Ask the store."""
        return self._store.transactions(subject=subject, party=party, after=after, limit=limit)

    def balances(self) -> Mapping[tuple[str, str], int]:
        """Ask the store."""
        return self._store.balances()

    def artifact(self, tenant: str, artifact: str) -> Artifact | None:
        """Ask the store."""
        return self._store.artifact(tenant, artifact)

    def artifacts(
        self, *, tenant: str | None, kind: str = "", job: str = "", limit: int = 100
    ) -> list[Artifact]:
        """Ask the store."""
        return self._store.artifacts(tenant=tenant, kind=kind, job=job, limit=limit)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _say(text: str) -> None:
    """Write at once: a killed process flushes nothing."""
    os.write(sys.stderr.fileno(), f"{text}\n".encode())
