"""The SQL store: one class, two dialects.

A commit is one transaction on the one writer connection. Its first statement moves `meta` on, and
only when the epoch is still the caller's and the batch's first event comes right after the last one
written; with PostgreSQL that row also makes commits of two processes take turns, so a leader whose
time is over is refused however late its commit arrives. Reads use connections of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Literal, cast

from sqlalchemy import Connection, Dialect, Engine, Table, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.default import DefaultDialect

from causeway.adapters.store import rows
from causeway.adapters.store.faults import told
from causeway.adapters.store.leadership import Leadership
from causeway.adapters.store.reading import Reading
from causeway.adapters.store.schema import META, METADATA, SECRETS
from causeway.model.artifacts import Artifact
from causeway.model.errors import CausewayError, Conflict, Unavailable
from causeway.model.events import Event
from causeway.model.jobs import Job
from causeway.model.money import Transaction
from causeway.model.usage import UsageTick
from causeway.ports.store import Batch, Image, ProgressRow

_REPLACED = ("jobs", "islands", "tenants", "tokens", "artifacts", "secrets")
_APPENDED = ("events", "ticks", "transactions", "entries", "progress", "keys")
_Paramstyle = Literal["format", "qmark"]


class SqlStore:
    """`ports.store.Store` over SQLite or PostgreSQL; made by `open_store`."""

    def __init__(self, writer: Engine, reader: Engine, leadership: Leadership) -> None:
        self.writer = writer
        """One connection; who uses it holds `write_lock`."""
        self.reader = reader
        self.write_lock = threading.Lock()
        self._leadership = leadership
        self._reading = Reading(reader)
        self._closed = False
        self._writes = {
            name: _Write(METADATA.tables[name], writer.dialect, replace=name in _REPLACED)
            for name in (*_REPLACED, *_APPENDED)
        }

    def lead(self) -> int | None:
        """Take the leadership and raise the epoch, or return None while another leads."""
        self._refuse_closed()
        with self.write_lock:
            if not self._leadership.take():
                return None
            try:
                with told("raising the epoch"), self.writer.begin() as connection:
                    raised = update(META).values(epoch=META.c.epoch + 1).returning(META.c.epoch)
                    epoch: int = connection.execute(raised).scalar_one()
            except CausewayError:
                # A lock without an epoch would keep others from leading and let nobody write.
                self._leadership.release()
                raise
            return epoch

    def leading(self) -> bool:
        """Say whether the lock is still held."""
        return not self._closed and self._leadership.held()

    def load(self) -> Image:
        """Read the image in one consistent snapshot."""
        self._refuse_closed()
        return self._reading.image()

    def commit(self, epoch: int, batch: Batch) -> None:
        """Write the batch in one durable transaction, whole or not at all."""
        self._refuse_closed()
        replaced = rows.replaced(batch)
        appended = rows.appended(batch, _written_ms(batch))
        gone = [
            {"of": tenant, "called": name}
            for (tenant, name), sealed in batch.secrets.items()
            if sealed is None
        ]
        with (
            self.write_lock,
            told("committing"),
            self.writer.begin() as connection,
        ):
            _advance(connection, epoch, batch)
            for name, values in (*replaced.items(), *appended.items()):
                if values:
                    self._writes[name].run(connection, values)
            if gone:
                connection.execute(_FORGET_SECRET, gone)

    def key(self, tenant: str, key: str) -> tuple[str, str] | None:
        """Return (request digest, result) of an idempotency key."""
        return self._open().key(tenant, key)

    def keys(self, tenant: str, keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Return (request digest, result) of those keys that were used."""
        return self._open().keys(tenant, keys)

    def job(self, job: str) -> Job | None:
        """Return a job, finished or not."""
        return self._open().job(job)

    def jobs(
        self,
        *,
        tenant: str | None,
        states: Sequence[str] = (),
        group: str | None = None,
        before: str = "",
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, newest first, with ids below `before`."""
        return self._open().jobs(
            tenant=tenant, states=states, group=group, before=before, limit=limit
        )

    def job_counts(self, tenant: str | None) -> Mapping[str, int]:
        """Return how many jobs are in each state."""
        return self._open().job_counts(tenant)

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
        return self._open().events(
            after=after, subject=subject, tenant=tenant, newest=newest, limit=limit
        )

    def progress(self, job: str, *, limit: int = 5000) -> list[ProgressRow]:
        """Return a job's progress in the order of arrival, thinned evenly to the limit."""
        return self._open().progress(job, limit=limit)

    def ticks(self, job: str) -> list[UsageTick]:
        """Return a job's accepted usage ticks in order."""
        return self._open().ticks(job)

    def transactions(
        self, *, subject: str = "", party: str = "", after: str = "", limit: int = 1000
    ) -> list[Transaction]:
        """Return journal transactions in id order."""
        return self._open().transactions(subject=subject, party=party, after=after, limit=limit)

    def balances(self) -> Mapping[tuple[str, str], int]:
        """Return the sum of entries in micro-units by (account, currency)."""
        return self._open().balances()

    def artifact(self, tenant: str, artifact: str) -> Artifact | None:
        """Return one artefact of a tenant by id, or the newest by library name."""
        return self._open().artifact(tenant, artifact)

    def artifacts(
        self, *, tenant: str | None, kind: str = "", job: str = "", limit: int = 100
    ) -> list[Artifact]:
        """Return artefacts, newest first."""
        return self._open().artifacts(tenant=tenant, kind=kind, job=job, limit=limit)

    def close(self) -> None:
        """Let go of files and connections, and of the leadership."""
        self._closed = True
        with self.write_lock:
            # The leadership goes last: what this process began to write must be over by then.
            self.reader.dispose()
            self.writer.dispose()
            self._leadership.release()

    def _open(self) -> Reading:
        self._refuse_closed()
        return self._reading

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")


_FORGET_SECRET = delete(SECRETS).where(
    SECRETS.c.tenant == bindparam("of"), SECRETS.c.name == bindparam("called")
)


class _Write:
    """One insert or upsert, compiled once.

    Rows go to the driver as tuples: building each row's parameters from a statement, as a plain
    `execute` does, costs more than SQLite needs to write the row.
    """

    def __init__(self, table: Table, dialect: Dialect, *, replace: bool) -> None:
        names = [c.name for c in table.columns if c.autoincrement is not True]
        build = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        insert = build(table).values({name: bindparam(name) for name in names})
        if replace:
            fresh = {c.name: insert.excluded[c.name] for c in table.columns if not c.primary_key}
            insert = insert.on_conflict_do_update(
                index_elements=list(table.primary_key.columns), set_=fresh
            )
        style: _Paramstyle = "format" if dialect.name == "postgresql" else "qmark"
        compiled = insert.compile(
            dialect=cast(type[DefaultDialect], type(dialect))(paramstyle=style)
        )
        self._sql = str(compiled)
        self._pick = itemgetter(*names)
        if compiled.positiontup != names:
            raise RuntimeError(f"{table.name}: parameters {compiled.positiontup}, not {names}")

    def run(self, connection: Connection, values: list[rows.Row]) -> None:
        connection.exec_driver_sql(self._sql, [self._pick(row) for row in values])


def _advance(connection: Connection, epoch: int, batch: Batch) -> None:
    """Move `meta` past the batch's events, or raise `Conflict` when that is not ours to do."""
    moved = update(META).where(META.c.epoch == epoch).values(last_event=META.c.last_event)
    if batch.events:
        first, last = batch.events[0].seq, batch.events[-1].seq
        problem = rows.gap(batch, first - 1)
        if problem:
            raise Conflict(problem)
        moved = moved.where(META.c.last_event == first - 1).values(last_event=last)
    if connection.execute(moved).rowcount == 1:
        return
    row = connection.execute(select(META.c.epoch, META.c.last_event)).one()
    if row.epoch != epoch:
        raise Conflict(f"epoch {epoch} is over; the current one is {row.epoch}")
    raise Conflict(
        rows.gap(batch, row.last_event),
        hint="another control plane may have written; load again",
    )


def _written_ms(batch: Batch) -> int:
    """Return the instant of the batch: its newest event's, or the wall clock's without events."""
    if batch.events:
        return max(event.at_ms for event in batch.events)
    return time.time_ns() // 1_000_000
