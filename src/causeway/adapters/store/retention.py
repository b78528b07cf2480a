"""Retention: old facts move out of the store into checked files, and only then are deleted.

What moves: events older than the limit (but for those about a job that has not ended), the usage
ticks and progress of jobs that ended before it, and idempotency keys older than it; finished jobs
themselves only when asked, since a page may still show them. What never moves: the journal, and
anything that the control plane's image is made of.

Rows move in bounded chunks. A chunk is written to `<table>-<first>-<last>.<sha256>.jsonl.gz`,
flushed with its folder, read back and compared with its name, and then its rows are deleted in one
transaction. A crash in between leaves them in both places, never in neither; a reader of archives
goes by the primary key. Numbers of archived events are never given out again (`meta.last_event`).

Content is collected by what the rows say: `in_use` names every artefact that must stay.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    or_,
    select,
)

from causeway.adapters.store.faults import told
from causeway.adapters.store.files import settle, sha256_of
from causeway.adapters.store.rows import JOB
from causeway.adapters.store.schema import ARTIFACTS, EVENTS, JOBS, KEYS, PROGRESS, TICKS
from causeway.adapters.store.sql import SqlStore
from causeway.model.errors import Conflict, InvalidInput, Unavailable
from causeway.model.jobs import TERMINAL, CheckpointPolicy, Job

CHUNK_ROWS = 5_000
"""Most rows of one file and of one deleting transaction, which commits have to wait for."""
_ENDED = tuple(sorted(state.value for state in TERMINAL))
_KEPT_KINDS = ("model", "dataset", "output")
"""Results: they stay until a person removes them, however old they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """What one run of `archive` moved."""

    rows: Mapping[str, int]
    """By table."""
    files: tuple[Path, ...]


def archive(store: SqlStore, *, before_ms: int, folder: Path, with_jobs: bool = False) -> Archived:
    """Move what is older than an instant into files in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    moved: dict[str, int] = {}
    files: list[Path] = []
    for table, old in _rules(before_ms, with_jobs=with_jobs):
        moved[table.name] = 0
        while chunk := _chunk(store, table, old):
            files.append(_write(table, chunk, folder))
            _delete(store, table, chunk)
            moved[table.name] += len(chunk)
            if len(chunk) < CHUNK_ROWS:
                break
    return Archived(rows=moved, files=tuple(files))


def in_use(store: SqlStore, *, since_ms: int) -> frozenset[str]:
    """Return every artefact whose content must stay.

    These are: whatever has a name in the library; models, data sets and outputs; whatever a job
    that has not ended, or ended after the instant, was given or has made (its working folder,
    inputs, outputs, the checkpoint it would resume from and the one it did resume from); of a job
    that has not ended, its newest checkpoints, as many as it asked to keep; and everything else
    that arrived after the instant, but for checkpoints, which are large and soon overtaken.

    All is read in one transaction. What was collected once may still have its row: lineage stays.
    """
    keep: set[str] = set()
    needed: set[str] = set()
    room: dict[str, int] = {}
    recent = or_(JOBS.c.state.not_in(_ENDED), JOBS.c.ended_ms >= since_ms)
    jobs = select(JOBS.c.body).where(recent)
    columns = (ARTIFACTS.c.id, ARTIFACTS.c.kind, ARTIFACTS.c.name, ARTIFACTS.c.job)
    rows = select(*columns, ARTIFACTS.c.made_ms).order_by(ARTIFACTS.c.made_ms.desc())
    held: set[str] = set()
    with (
        told("looking for what is in use"),
        store.reader.connect() as connection,
        connection.begin(),
    ):
        for (body,) in connection.execute(jobs).yield_per(CHUNK_ROWS):
            job = JOB.decode(body)
            needed.update(_needed(job))
            if job.state not in TERMINAL:
                policy = job.spec.checkpoint or CheckpointPolicy()
                room[job.id] = max(1, policy.keep)
        for row in connection.execute(rows).yield_per(CHUNK_ROWS):
            held.add(row.id)
            if row.kind == "checkpoint" and row.job and not row.name:
                if room.get(row.job, 0) > 0:
                    room[row.job] -= 1
                    keep.add(row.id)
            elif row.name or row.kind in _KEPT_KINDS or row.made_ms >= since_ms:
                keep.add(row.id)
    # A job may name what never arrived; only what was whole here once can be kept.
    return frozenset(keep | (needed & held))


def _needed(job: Job) -> Iterator[str]:
    """Yield the artefacts that a job names."""
    yield job.spec.workdir
    yield from job.spec.inputs.values()
    yield from job.outputs.values()
    if job.checkpoint is not None:
        yield job.checkpoint.artifact
    for attempt in job.attempts[-1:]:
        yield attempt.resumed_from


def read_archive(path: Path) -> Iterator[dict[str, object]]:
    """Yield the rows of an archive file; `Unavailable` when it is not what its name says."""
    if sha256_of(path) != _named_digest(path):
        raise Unavailable(f"{path} is damaged: its content does not match its name")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _rules(before_ms: int, *, with_jobs: bool) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    open_subject = exists().where(JOBS.c.id == EVENTS.c.subject, JOBS.c.state.not_in(_ENDED))
    over = and_(JOBS.c.state.in_(_ENDED), JOBS.c.ended_ms > 0, JOBS.c.ended_ms < before_ms)
    long_over = select(JOBS.c.id).where(over)
    yield EVENTS, and_(EVENTS.c.at_ms < before_ms, ~open_subject)
    yield TICKS, TICKS.c.job.in_(long_over)
    yield PROGRESS, PROGRESS.c.job.in_(long_over)
    yield KEYS, KEYS.c.at_ms < before_ms
    if with_jobs:
        # A family leaves together: neither a parent nor a child goes before all have ended.
        kin = JOBS.alias("kin")
        family = (kin.c.group == JOBS.c.id) | (
            (JOBS.c.group != "") & ((kin.c.group == JOBS.c.group) | (kin.c.id == JOBS.c.group))
        )
        yield JOBS, and_(over, ~exists().where(family, kin.c.state.not_in(_ENDED)))


def _chunk(store: SqlStore, table: Table, old: ColumnElement[bool]) -> list[dict[str, object]]:
    query = select(table).where(old).order_by(*table.primary_key).limit(CHUNK_ROWS)
    with told("archiving"), store.reader.connect() as connection, connection.begin():
        return [dict(row._mapping) for row in connection.execute(query)]


def _write(table: Table, chunk: list[dict[str, object]], folder: Path) -> Path:
    first, last = (_label(table, chunk[place]) for place in (0, -1))
    aside = folder / f".{table.name}.part"
    try:
        with aside.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            for row in chunk:
                line = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
                packed.write(line.encode() + b"\n")
        final = folder / f"{table.name}-{first}-{last}.{sha256_of(aside)}.jsonl.gz"
        settle(aside, final)
        if sha256_of(final) != _named_digest(final):
            raise Unavailable(f"{final} was not written as it should be", hint="check the disk")
    except OSError as error:
        raise Unavailable(f"cannot write to {folder}: {error.strerror}") from error
    return final


def _delete(store: SqlStore, table: Table, chunk: list[dict[str, object]]) -> None:
    keys = [column.name for column in table.primary_key]
    mine = and_(*(table.c[name] == bindparam(f"key_{name}") for name in keys))
    rows = [{f"key_{name}": row[name] for name in keys} for row in chunk]
    with store.write_lock, told("archiving"), store.writer.begin() as connection:
        gone = connection.execute(delete(table).where(mine), rows).rowcount
        if gone != len(chunk):
            raise Conflict(
                f"{len(chunk) - gone} rows of {table.name} were deleted by someone else",
                hint="let one process archive at a time",
            )


def _label(table: Table, row: dict[str, object]) -> str:
    """Return the row's place in the table's order, short and fit for a file name."""
    key = next(iter(table.primary_key)).name
    return re.sub(r"[^A-Za-z0-9]+", "_", str(row[key]))[-26:]


def _named_digest(path: Path) -> str:
    parts = path.name.split(".")
    if len(parts) != 4 or parts[2:] != ["jsonl", "gz"]:
        raise InvalidInput(f"{path.name} is not the name of an archive file")
    return parts[1]
