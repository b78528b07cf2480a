"""What is read from the tables: the image at the start, and the pages that doors ask for.

Every answer is read in one transaction on a reader connection, so it is consistent in itself and
never waits for a commit nor holds one up. Queries are bounded by their limit and follow an index.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Select, func, literal, literal_column, or_, select

from causeway.adapters.store import rows
from causeway.adapters.store.faults import told
from causeway.adapters.store.schema import (
    ARTIFACTS,
    ENTRIES,
    EVENTS,
    ISLANDS,
    JOBS,
    KEYS,
    META,
    PROGRESS,
    SECRETS,
    TENANTS,
    TICKS,
    TOKENS,
    TRANSACTIONS,
)
from causeway.model.artifacts import Artifact
from causeway.model.events import Event
from causeway.model.jobs import TERMINAL, Job, JobState
from causeway.model.money import Transaction
from causeway.model.usage import UsageTick
from causeway.ports.store import Image, ProgressRow

_KEYS_AT_ONCE = 1_000
"""Keys in one question; SQLite takes at most 32,766 parameters."""
_UNFINISHED = tuple(sorted(state.value for state in JobState if state not in TERMINAL))
_SPLIT = 1_000_000


class Reading:
    """The queries, over an engine whose connections only read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with told("reading"), self._engine.connect() as connection, connection.begin():
            yield connection

    def image(self) -> Image:
        """Read all that is not finished."""
        with self._snapshot() as connection, _no_collection():
            image = Image()
            unfinished = JOBS.c.state.in_(_UNFINISHED)
            parents = select(JOBS.c.group).where(unfinished, JOBS.c.group != "")
            wanted = or_(unfinished, JOBS.c.id.in_(parents))
            for (body,) in connection.execute(select(JOBS.c.body).where(wanted)):
                job = rows.JOB.decode(body)
                image.jobs[job.id] = job
            for (body,) in connection.execute(select(ISLANDS.c.body)):
                island = rows.ISLAND.decode(body)
                image.islands[island.id] = island
            for (body,) in connection.execute(select(TENANTS.c.body)):
                tenant = rows.TENANT.decode(body)
                image.tenants[tenant.name] = tenant
            for (body,) in connection.execute(select(TOKENS.c.body)):
                token = rows.TOKEN.decode(body)
                image.tokens[token.id] = token
            for tenant_name, name, sealed in connection.execute(select(SECRETS)):
                image.secrets[(tenant_name, name)] = bytes(sealed)
            image.next_event = connection.execute(select(META.c.last_event)).scalar_one() + 1
            return image

    def key(self, tenant: str, key: str) -> tuple[str, str] | None:
        query = select(KEYS.c.digest, KEYS.c.result).where(
            KEYS.c.tenant == tenant, KEYS.c.key == key
        )
        with self._snapshot() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row[0], row[1])

    def keys(self, tenant: str, keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        query = select(KEYS.c.key, KEYS.c.digest, KEYS.c.result).where(KEYS.c.tenant == tenant)
        with self._snapshot() as connection:
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                asked = KEYS.c.key.in_(keys[start : start + _KEYS_AT_ONCE])
                for key, digest, result in connection.execute(query.where(asked)):
                    found[key] = (digest, result)
        return found

    def job(self, job: str) -> Job | None:
        with self._snapshot() as connection:
            body = connection.execute(
                select(JOBS.c.body).where(JOBS.c.id == job)
            ).scalar_one_or_none()
        return None if body is None else rows.JOB.decode(body)

    def jobs(
        self,
        *,
        tenant: str | None,
        states: Sequence[str],
        group: str | None,
        before: str,
        limit: int,
    ) -> list[Job]:
        query = select(JOBS.c.body).order_by(JOBS.c.id.desc()).limit(limit)
        if tenant is not None:
            query = query.where(JOBS.c.tenant == tenant)
        if states:
            query = query.where(JOBS.c.state.in_([str(state) for state in states]))
        if group is not None:
            query = query.where(JOBS.c.group == group)
            if group:
                # The planner uses the partial index only when the query repeats its condition.
                query = query.where(literal_column('"group"') != literal_column("''"))
        if before:
            query = query.where(JOBS.c.id < before)
        return [rows.JOB.decode(body) for body in self._column(query)]

    def job_counts(self, tenant: str | None) -> Mapping[str, int]:
        query = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
        if tenant is not None:
            query = query.where(JOBS.c.tenant == tenant)
        with self._snapshot() as connection:
            return {state: count for state, count in connection.execute(query)}

    def events(
        self, *, after: int, subject: str, tenant: str | None, newest: bool, limit: int
    ) -> list[Event]:
        order = EVENTS.c.seq.desc() if newest else EVENTS.c.seq
        query = select(EVENTS).where(EVENTS.c.seq > after).order_by(order).limit(limit)
        if subject:
            query = query.where(EVENTS.c.subject == subject)
        if tenant is not None:
            # Beside a subject, which has few events, the index on the tenant must not be taken.
            whose = func.coalesce(EVENTS.c.tenant, "") if subject else EVENTS.c.tenant
            query = query.where(whose == tenant)
        with self._snapshot() as connection:
            return [
                Event(
                    seq=seq,
                    at_ms=at_ms,
                    kind=kind,
                    subject=about,
                    tenant=owner,
                    data=rows.DATA.decode(data),
                )
                for seq, at_ms, kind, about, owner, data in connection.execute(query)
            ]

    def progress(self, job: str, *, limit: int) -> list[ProgressRow]:
        mine = PROGRESS.c.job == job
        with self._snapshot() as connection:
            total = connection.execute(
                select(func.count()).select_from(PROGRESS).where(mine)
            ).scalar_one()
            return [
                ProgressRow(
                    job=job, fence=fence, step=step, at_ms=at_ms, values=rows.figures(figures)
                )
                for fence, step, at_ms, figures in connection.execute(_thinned(job, total, limit))
            ]

    def ticks(self, job: str) -> list[UsageTick]:
        query = select(TICKS.c.body).where(TICKS.c.job == job).order_by(TICKS.c.fence, TICKS.c.seq)
        return [rows.TICK.decode(body) for body in self._column(query)]

    def transactions(
        self, *, subject: str, party: str, after: str, limit: int
    ) -> list[Transaction]:
        query = select(TRANSACTIONS.c.body).order_by(TRANSACTIONS.c.id).limit(limit)
        if subject:
            query = query.where(TRANSACTIONS.c.subject == subject)
        if party:
            mine = select(ENTRIES.c.transaction).where(ENTRIES.c.party == party)
            query = query.where(TRANSACTIONS.c.id.in_(mine))
        if after:
            query = query.where(TRANSACTIONS.c.id > after)
        return [rows.TRANSACTION.decode(body) for body in self._column(query)]

    def balances(self) -> Mapping[tuple[str, str], int]:
        # Millions and the rest are summed apart: a sum of 64-bit amounts may not fit into 64 bits,
        # and SQLite would then give up. Both dialects divide towards zero, so the parts add up.
        millions = func.sum(ENTRIES.c.micros // literal_column(str(_SPLIT)))
        rest = func.sum(ENTRIES.c.micros % literal_column(str(_SPLIT)))
        query = select(ENTRIES.c.account, ENTRIES.c.currency, millions, rest).group_by(
            ENTRIES.c.account, ENTRIES.c.currency
        )
        with self._snapshot() as connection:
            return {
                (account, currency): int(whole) * _SPLIT + int(part)
                for account, currency, whole, part in connection.execute(query)
            }

    def artifact(self, tenant: str, artifact: str) -> Artifact | None:
        mine = select(ARTIFACTS.c.body).where(ARTIFACTS.c.tenant == tenant)
        by_name = (
            mine.where(ARTIFACTS.c.name == artifact)
            .order_by(ARTIFACTS.c.made_ms.desc(), ARTIFACTS.c.id.desc())
            .limit(1)
        )
        found = self._column(mine.where(ARTIFACTS.c.id == artifact))
        if not found and artifact:
            found = self._column(by_name)
        return rows.ARTIFACT.decode(found[0]) if found else None

    def artifacts(self, *, tenant: str | None, kind: str, job: str, limit: int) -> list[Artifact]:
        newest_first = (
            ARTIFACTS.c.made_ms.desc(),
            ARTIFACTS.c.id.desc(),
            ARTIFACTS.c.tenant.desc(),
        )
        query = select(ARTIFACTS.c.body).order_by(*newest_first).limit(limit)
        if tenant is not None:
            query = query.where(ARTIFACTS.c.tenant == tenant)
        if kind:
            query = query.where(ARTIFACTS.c.kind == kind)
        if job:
            query = query.where(ARTIFACTS.c.job == job)
        return [rows.ARTIFACT.decode(body) for body in self._column(query)]

    def _column(self, query: Select[str]) -> list[str]:
        with self._snapshot() as connection:
            return [body for (body,) in connection.execute(query)]


def _thinned(job: str, total: int, limit: int) -> Select[int, int, int, str]:
    """Select a job's points, thinned by the rule of `rows.picked`."""
    rank = (func.row_number().over(order_by=PROGRESS.c.arrival) - 1).label("rank")
    ranked = select(PROGRESS, rank).where(PROGRESS.c.job == job).subquery()
    columns = (ranked.c.fence, ranked.c.step, ranked.c.at_ms, ranked.c.figures)
    query: Select[int, int, int, str] = select(*columns).order_by(ranked.c.arrival)
    if total <= limit:
        return query
    steps, span = literal(limit - 1), literal(total - 1)
    moved_on = (ranked.c.rank * steps).op("/")(span) > ((ranked.c.rank - 1) * steps).op("/")(span)
    return query.where(or_(ranked.c.rank == 0, moved_on))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the cyclic collector from walking a growing image again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
