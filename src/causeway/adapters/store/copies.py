"""Backup and restore, while the store is in use.

Two kinds of copy. SQLite's own online backup is a database file again: quick, and opened as it is.
The *dump* is gzipped JSON lines read in one transaction; either dialect writes and reads it, so it
also moves a store from SQLite to PostgreSQL and back. `backup` makes the first kind for SQLite (the
second when asked) and the second for PostgreSQL; `restore` tells them apart by their first bytes.

A dump begins with a header (schema number, columns by table) and ends with the number of rows by
table, so that one that was cut short is not taken for whole. `restore` writes into an empty place
only, in one transaction. A dump of an older schema is loaded into that schema and then migrated.

Sealed secrets are in the copy, sealed as they are in the store; the key that opens them is not.

A copy is of the past, and islands may have been given higher fences since. So a restore raises
the fence of every unfinished job beyond any that can have been given out: what an island holds
from after the copy is not mistaken for a new attempt, nor a new attempt passed over for an old one.
Attempts that were under way when the copy was made keep their fence, and go on if they still run.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import cast

from sqlalchemy import (
    Connection,
    LargeBinary,
    MetaData,
    Table,
    bindparam,
    func,
    select,
    text,
    update,
)

from causeway.adapters.store.faults import told
from causeway.adapters.store.files import settle
from causeway.adapters.store.opening import engine_of, open_store, parse, schema_number, upgrade
from causeway.adapters.store.rows import JOB
from causeway.adapters.store.schema import JOBS, METADATA, SCHEMA_NUMBER
from causeway.adapters.store.sql import SqlStore
from causeway.model.errors import Conflict, InvalidInput, Unavailable
from causeway.model.jobs import TERMINAL, JobKind

FORMAT = "causeway-dump"
_SQLITE_MAGIC = b"SQLite format 3\0"
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_ROWS = 1000
FENCES_SKIPPED = 1_000_000
"""How far a restore raises the fences: more than any job is placed between two backups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What one backup or restore copied."""

    kind: str
    """`sqlite` or `dump`."""
    bytes: int
    """Size of the copy."""


def backup(store: SqlStore, path: Path, *, dump: bool = False) -> Copied:
    """Write a consistent copy of a store in use to a new file."""
    if path.exists():
        raise InvalidInput(f"{path} exists", hint="choose a new name", where="path")
    aside = path.with_name(f".{path.name}.part")
    kind = "dump" if dump or store.writer.dialect.name != "sqlite" else "sqlite"
    try:
        if kind == "sqlite":
            _copy_sqlite(store, aside)
        else:
            _write_dump(store, aside)
        settle(aside, path)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error
    finally:
        aside.unlink(missing_ok=True)
    return Copied(kind=kind, bytes=path.stat().st_size)


def restore(path: Path, url: str) -> Copied:
    """Fill an empty place with a copy. Nothing is written unless all of it can be."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_SQLITE_MAGIC))
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}", where="path") from error
    if magic == _SQLITE_MAGIC:
        _restore_sqlite(path, url)
        kind = "sqlite"
    elif magic.startswith(_GZIP_MAGIC):
        _restore_dump(path, url)
        kind = "dump"
    else:
        raise InvalidInput(f"{path} is neither a SQLite file nor a dump", where="path")
    return Copied(kind=kind, bytes=path.stat().st_size)


def _copy_sqlite(store: SqlStore, aside: Path) -> None:
    aside.unlink(missing_ok=True)
    with (
        told("backing up"),
        store.reader.connect() as connection,
        closing(sqlite3.connect(aside)) as copy,
    ):
        source = cast(sqlite3.Connection, connection.connection.driver_connection)
        # All pages in one step: the source is read in one transaction, which in WAL mode
        # holds no commit up, and the copy is of one instant.
        source.backup(copy, pages=-1)
        _refuse_damaged(copy, aside)


def _restore_sqlite(path: Path, url: str) -> None:
    target = parse(url)
    if target.get_backend_name() != "sqlite":
        raise InvalidInput(
            "a SQLite file can only be restored as SQLite",
            hint="restore it to a file, open that, and make a dump of it",
            where="url",
        )
    final = Path(str(target.database))
    for suffix in ("", "-wal", "-shm"):
        if Path(f"{final}{suffix}").exists():
            raise Conflict(f"{final}{suffix} exists", hint="restore to a new file")
    aside = final.with_name(f".{final.name}.part")
    try:
        shutil.copyfile(path, aside)
        with told("restoring"), closing(sqlite3.connect(aside)) as copy:
            _refuse_damaged(copy, path)
        _ready(f"sqlite:///{aside}")
        settle(aside, final)
    except OSError as error:
        raise Unavailable(f"cannot write {final}: {error.strerror}") from error
    finally:
        for suffix in ("", "-wal", "-shm", ".leader"):
            Path(f"{aside}{suffix}").unlink(missing_ok=True)
    open_store(url).close()


def _ready(url: str) -> None:
    """Make a copy ready to be led: its schema is this one's, its fences are beyond the past's."""
    store = open_store(url)
    try:
        with told("restoring"), store.writer.begin() as connection:
            _raise_fences(connection)
    finally:
        # The last connection writes the log back into the file, which is then complete by itself.
        store.close()


def _raise_fences(connection: Connection) -> None:
    skipped = FENCES_SKIPPED
    unfinished = JOBS.c.state.not_in([state.value for state in TERMINAL])
    bodies = connection.execute(select(JOBS.c.body).where(unfinished)).scalars().all()
    jobs = [JOB.decode(body) for body in bodies]
    raised = [
        {"which": job.id, "raised": JOB.encode(replace(job, fence=job.fence + skipped), job.id)}
        for job in jobs
        if job.spec.kind is not JobKind.GROUP
    ]
    if raised:
        change = update(JOBS).where(JOBS.c.id == bindparam("which"))
        connection.execute(change.values(body=bindparam("raised")), raised)


def _refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise Unavailable(f"{path} is damaged: {verdict}")


def _write_dump(store: SqlStore, aside: Path) -> None:
    counts: Counter[str] = Counter()
    with (
        told("backing up"),
        store.reader.connect().execution_options(stream_results=True) as connection,
        connection.begin(),
        gzip.open(aside, "wt", encoding="utf-8", compresslevel=6) as out,
    ):
        number = schema_number(connection)
        if number != SCHEMA_NUMBER:
            raise Unavailable(
                f"the store has schema {number}, and this code dumps schema {SCHEMA_NUMBER}",
                hint="make the dump with the newer version",
            )
        tables = METADATA.sorted_tables
        columns = {table.name: [c.name for c in table.columns] for table in tables}
        out.write(_line({"format": FORMAT, "schema": number, "columns": columns}))
        for table in tables:
            query = select(table).order_by(*table.primary_key)
            for row in connection.execute(query).yield_per(_PIECE_ROWS):
                plain = [base64.b64encode(v).decode() if isinstance(v, bytes) else v for v in row]
                out.write(_line([table.name, plain]))
                counts[table.name] += 1
        out.write(_line({"end": counts}))


def _restore_dump(path: Path, url: str) -> None:
    with _lines(path) as lines:
        header = next(lines, None)
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise InvalidInput(f"{path} is not a dump of a store", where="path")
        number = int(header["schema"])
        if number > SCHEMA_NUMBER:
            raise InvalidInput(
                f"the dump has schema {number}; this code knows {SCHEMA_NUMBER}",
                hint="upgrade causeway on this machine",
                where="path",
            )
        engine = engine_of(url)
        try:
            with told("restoring"), engine.begin() as connection:
                _prepare(connection, number)
                _fill(connection, header["columns"], lines)
                upgrade(connection)
                _raise_fences(connection)
        finally:
            engine.dispose()
    open_store(url).close()


def _prepare(connection: Connection, number: int) -> None:
    """Make the tables as they were when the dump was made, in an empty place."""
    present = schema_number(connection)
    if present == 0:
        upgrade(connection, f"{number:04d}")
        present = number
    used = connection.execute(text("SELECT epoch + last_event FROM meta")).scalar_one()
    if used or present != number:
        raise Conflict("the store is not empty", hint="restore to a new file or database")
    connection.execute(text("DELETE FROM meta"))


def _fill(connection: Connection, columns: dict[str, list[str]], lines: Iterator[object]) -> None:
    """Insert every row of the dump; its last line says how many there must be."""
    there = MetaData()
    there.reflect(connection)
    counts: Counter[str] = Counter()
    ended: object = None
    while piece := list(islice(lines, _PIECE_ROWS)):
        rows: dict[str, list[dict[str, object]]] = {}
        for line in piece:
            if isinstance(line, dict):
                ended = line.get("end")
                continue
            name, values = cast(tuple[str, list[object]], line)
            if name not in columns or name not in there.tables:
                raise InvalidInput(f"the dump names an unknown table {name!r}", where="path")
            rows.setdefault(name, []).append(dict(zip(columns[name], values, strict=True)))
        for name, batch in rows.items():
            table = there.tables[name]
            connection.execute(table.insert(), _with_bytes(table, batch))
            counts[name] += len(batch)
    if ended != dict(counts):
        raise InvalidInput("the dump was cut short", hint="use another copy", where="path")
    if connection.dialect.name == "postgresql":
        _resume_serial(connection, there.tables["progress"])


def _with_bytes(table: Table, batch: list[dict[str, object]]) -> list[dict[str, object]]:
    for column in table.columns:
        if isinstance(column.type, LargeBinary):
            for row in batch:
                row[column.name] = base64.b64decode(str(row[column.name]))
    return batch


def _resume_serial(connection: Connection, progress: Table) -> None:
    newest = connection.execute(select(func.max(progress.c.arrival))).scalar_one()
    if newest is not None:
        sequence = text("SELECT setval(pg_get_serial_sequence('progress', 'arrival'), :newest)")
        connection.execute(sequence, {"newest": newest})


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[object]]:
    """Read a dump line by line; `InvalidInput` when it is cut short or damaged."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield map(json.loads, file)
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise InvalidInput(f"{path} is damaged: {error}", where="path") from error


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"
