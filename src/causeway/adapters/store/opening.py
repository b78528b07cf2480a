"""Opening a store: the URL, the connections and their settings, and the migrations.

SQLite runs in WAL mode with `synchronous=FULL`: with `NORMAL` a power cut loses commits that were
acknowledged. One connection writes, the others only read, and `query_only` holds them to it. Every
writing transaction begins with `BEGIN IMMEDIATE`, so that it never finds out half-way that another
process writes. PostgreSQL connections notice a dead peer within seconds at both ends, and nothing
waits for a row lock longer than five seconds.

A store of a newer schema is opened all the same while its `oldest_reader` allows it; then nothing
is migrated.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError

from causeway.adapters.store.faults import told
from causeway.adapters.store.forks import detach_in_child
from causeway.adapters.store.leadership import FileLeadership, Leadership, SessionLeadership
from causeway.adapters.store.schema import SCHEMA_NUMBER
from causeway.adapters.store.sql import SqlStore
from causeway.model.errors import InvalidInput, Unavailable

_READERS = 4
_BUSY_MS = 5000
_MIGRATION_LOCK = 0x43575953
_POSTGRES: Mapping[str, str | int] = {
    "connect_timeout": 5,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 4000,
    "application_name": "causeway",
    "options": " ".join(
        (
            "-c tcp_keepalives_idle=2",
            "-c tcp_keepalives_interval=1",
            "-c tcp_keepalives_count=2",
            "-c lock_timeout=5000",
            "-c idle_in_transaction_session_timeout=30000",
            "-c synchronous_commit=on",
        )
    ),
}


def open_store(url: str) -> SqlStore:
    """Open `sqlite:///path` or `postgresql://...`, bring its tables up to date, and return it."""
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(Path(str(parsed.database)))
    return _open_postgres(parsed)


def parse(url: str) -> URL:
    """Read a store URL, or raise `InvalidInput` saying what it should look like."""
    hint = "use sqlite:///relative/path, sqlite:////absolute/path or postgresql://host/database"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInput("the store URL cannot be read", hint=hint, where="store") from error
    if parsed.drivername == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise InvalidInput(
        f"{parsed.render_as_string(hide_password=True)!r} is not a store", hint=hint, where="store"
    )


def engine_of(url: str) -> Engine:
    """Return the writing engine of a store: one connection, and nothing migrated."""
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_writer(Path(str(parsed.database)))
    return create_engine(parsed, pool_size=1, max_overflow=0, connect_args=_arguments(parsed))


def _sqlite_writer(path: Path) -> Engine:
    if not path.parent.is_dir():
        raise InvalidInput(f"the folder {path.parent} does not exist", where="store")
    return _sqlite_engine(path, pool_size=1, begin="BEGIN IMMEDIATE", read_only=False)


def _open_sqlite(path: Path) -> SqlStore:
    writer = _sqlite_writer(path)
    try:
        migrate(writer)
        reader = _sqlite_engine(path, pool_size=_READERS, begin="BEGIN", read_only=True)
    except BaseException:
        writer.dispose()
        raise
    return SqlStore(writer, reader, FileLeadership(Path(f"{path}.leader")))


def _sqlite_engine(path: Path, *, pool_size: int, begin: str, read_only: bool) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        connect_args={"timeout": _BUSY_MS / 1000},
    )

    def on_connect(connection: object, _: object) -> None:
        # The driver's own transaction handling would begin a deferred transaction, and too late.
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.execute("PRAGMA wal_autocheckpoint = 2000")
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _arguments(url: URL) -> dict[str, str | int]:
    """Return the connection settings, less those that the URL gives itself."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise Unavailable(
            "PostgreSQL needs the psycopg package", hint="pip install 'causeway[postgres]'"
        ) from error
    return {name: value for name, value in _POSTGRES.items() if name not in url.query}


def _open_postgres(url: URL) -> SqlStore:
    arguments = _arguments(url)
    writer = create_engine(url, pool_size=1, max_overflow=0, connect_args=arguments)
    session = create_engine(url, poolclass=NullPool, connect_args=arguments)
    try:
        migrate(writer)
    except BaseException:
        writer.dispose()
        raise
    reader = create_engine(
        url,
        pool_size=_READERS,
        max_overflow=0,
        pool_pre_ping=True,
        isolation_level="REPEATABLE READ",
        connect_args=arguments,
    )
    for engine in (writer, reader, session):
        detach_in_child(engine)
    leadership: Leadership = SessionLeadership(session)
    return SqlStore(writer, reader, leadership)


def migrate(engine: Engine) -> None:
    """Bring the tables to `SCHEMA_NUMBER`; one process at a time, whole or not at all."""
    with told("opening"), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        number = schema_number(connection)
        if number == SCHEMA_NUMBER:
            return
        if number > SCHEMA_NUMBER:
            _refuse_unreadable(connection, number)
            return
        upgrade(connection)


def schema_number(connection: Connection) -> int:
    """Return the number of the newest migration that was applied; 0 for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return 0
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return int(version) if version else 0


def _refuse_unreadable(connection: Connection, number: int) -> None:
    oldest = connection.execute(text("SELECT oldest_reader FROM meta")).scalar_one()
    if oldest > SCHEMA_NUMBER:
        raise Unavailable(
            f"the store has schema {number}, which needs code that knows schema {oldest} or newer;"
            f" this one knows {SCHEMA_NUMBER}",
            hint="upgrade causeway on this machine",
        )


def upgrade(connection: Connection, to: str = "head") -> None:
    """Apply migrations up to a revision, inside the caller's transaction."""
    # Alembic takes a while to import, and most starts find nothing to migrate.
    from alembic import command
    from alembic.config import Config

    with as_file(files("causeway.adapters.store").joinpath("migrations")) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, to)
