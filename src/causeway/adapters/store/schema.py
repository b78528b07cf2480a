"""The tables, the same in SQLite and PostgreSQL.

An entity is kept as one JSON body, which is the truth, and beside it the few columns that queries
filter and order by. A body may hold fields that this version does not know; they are ignored, so
that a version ahead or behind can read the same store. Keys compare byte by byte in both dialects
(PostgreSQL would otherwise order text by the locale, and pages by key would lose rows).

`meta` has one row. `epoch` fences leaders; `last_event` is the sequence number of the newest event
ever written, which outlives the events themselves when they go to the archive; `oldest_reader` is
the oldest schema number whose code may still open this store.

This module states what the newest migration leads to; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

SCHEMA_NUMBER = 1
"""The number of the newest migration in this package."""

METADATA = MetaData()
_KEY = Text().with_variant(Text(collation="C"), "postgresql")
_SERIAL = BigInteger().with_variant(Integer, "sqlite")


def _key(name: str, *, primary: bool = False) -> Column[str]:
    return Column(name, _KEY, primary_key=primary, nullable=False)


def _count(name: str, *, primary: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=primary, nullable=False, autoincrement=False)


def _body(name: str = "body") -> Column[str]:
    return Column(name, Text, nullable=False)


META = Table(
    "meta",
    METADATA,
    Column("one", Integer, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    _count("epoch"),
    _count("last_event"),
    Column("oldest_reader", Integer, nullable=False),
)

JOBS = Table(
    "jobs",
    METADATA,
    _key("id", primary=True),
    _key("tenant"),
    _key("state"),
    _key("group"),
    _key("name"),
    _count("submitted_ms"),
    _count("ended_ms"),
    _body(),
    # Each index ends in what makes it cover its query: pages and counts by tenant, counts and
    # loading by state, the children of a group.
    Index("jobs_by_tenant", "tenant", "id", "state"),
    Index("jobs_by_state", "state", "id"),
    Index(
        "jobs_by_group",
        "group",
        "id",
        sqlite_where=text("\"group\" <> ''"),
        postgresql_where=text("\"group\" <> ''"),
    ),
)

ISLANDS = Table("islands", METADATA, _key("id", primary=True), _body())
TENANTS = Table("tenants", METADATA, _key("name", primary=True), _body())
TOKENS = Table("tokens", METADATA, _key("id", primary=True), _key("tenant"), _body())

ARTIFACTS = Table(
    "artifacts",
    METADATA,
    _key("tenant", primary=True),
    _key("id", primary=True),
    _key("kind"),
    _key("job"),
    _key("name"),
    _count("made_ms"),
    _body(),
    Index("artifacts_by_age", "made_ms", "id"),
    Index("artifacts_by_name", "tenant", "name", "made_ms"),
    Index("artifacts_by_job", "job", "made_ms"),
)

SECRETS = Table(
    "secrets",
    METADATA,
    _key("tenant", primary=True),
    _key("name", primary=True),
    Column("sealed", LargeBinary, nullable=False),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("seq", _SERIAL, primary_key=True, autoincrement=False),
    _count("at_ms"),
    _key("kind"),
    _key("subject"),
    _key("tenant"),
    _body("data"),
    Index("events_by_subject", "subject", "seq"),
    Index("events_by_tenant", "tenant", "seq"),
)

TICKS = Table(
    "ticks",
    METADATA,
    _key("job", primary=True),
    _count("fence", primary=True),
    _count("seq", primary=True),
    _body(),
)

TRANSACTIONS = Table(
    "transactions",
    METADATA,
    _key("id", primary=True),
    _count("at_ms"),
    _key("subject"),
    _body(),
    Index("transactions_by_subject", "subject", "id"),
)

ENTRIES = Table(
    "entries",
    METADATA,
    _key("transaction", primary=True),
    _count("leg", primary=True),
    _key("account"),
    _key("party"),
    _key("currency"),
    _count("micros"),
    Index("entries_by_account", "account", "currency", "micros"),
    Index("entries_by_party", "party", "transaction"),
)

PROGRESS = Table(
    "progress",
    METADATA,
    Column("arrival", _SERIAL, primary_key=True, autoincrement=True),
    _key("job"),
    _count("fence"),
    _count("step"),
    _count("at_ms"),
    _body("figures"),
    Index("progress_by_job", "job", "arrival"),
)

KEYS = Table(
    "keys",
    METADATA,
    _key("tenant", primary=True),
    _key("key", primary=True),
    _key("digest"),
    _key("result"),
    _count("at_ms"),
    Index("keys_by_age", "at_ms"),
)
