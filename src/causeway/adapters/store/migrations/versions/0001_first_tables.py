"""The first tables. Written out rather than taken from `schema`, so that it never changes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _key(name: str, *, primary: bool = False) -> sa.Column[str]:
    return sa.Column(name, _KEY, primary_key=primary, nullable=False)


def _count(name: str, *, primary: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=primary, nullable=False, autoincrement=False)


def _body(name: str = "body") -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def upgrade() -> None:
    _meta()
    _entities()
    _ledger()
    _journal()


def _meta() -> None:
    meta = op.create_table(
        "meta",
        sa.Column(
            "one", sa.Integer, sa.CheckConstraint("one = 1"), primary_key=True, autoincrement=False
        ),
        _count("epoch"),
        _count("last_event"),
        sa.Column("oldest_reader", sa.Integer, nullable=False),
    )
    op.bulk_insert(meta, [{"one": 1, "epoch": 0, "last_event": 0, "oldest_reader": 1}])


def _entities() -> None:
    op.create_table(
        "jobs",
        _key("id", primary=True),
        _key("tenant"),
        _key("state"),
        _key("group"),
        _key("name"),
        _count("submitted_ms"),
        _count("ended_ms"),
        _body(),
    )
    op.create_index("jobs_by_tenant", "jobs", ["tenant", "id", "state"])
    op.create_index("jobs_by_state", "jobs", ["state", "id"])
    grouped = sa.text("\"group\" <> ''")
    op.create_index(
        "jobs_by_group",
        "jobs",
        ["group", "id"],
        sqlite_where=grouped,
        postgresql_where=grouped,
    )
    op.create_table("islands", _key("id", primary=True), _body())
    op.create_table("tenants", _key("name", primary=True), _body())
    op.create_table("tokens", _key("id", primary=True), _key("tenant"), _body())
    op.create_table(
        "artifacts",
        _key("tenant", primary=True),
        _key("id", primary=True),
        _key("kind"),
        _key("job"),
        _key("name"),
        _count("made_ms"),
        _body(),
    )
    op.create_index("artifacts_by_age", "artifacts", ["made_ms", "id"])
    op.create_index("artifacts_by_name", "artifacts", ["tenant", "name", "made_ms"])
    op.create_index("artifacts_by_job", "artifacts", ["job", "made_ms"])
    op.create_table(
        "secrets",
        _key("tenant", primary=True),
        _key("name", primary=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )


def _ledger() -> None:
    op.create_table(
        "events",
        sa.Column("seq", _SERIAL, primary_key=True, autoincrement=False),
        _count("at_ms"),
        _key("kind"),
        _key("subject"),
        _key("tenant"),
        _body("data"),
    )
    op.create_index("events_by_subject", "events", ["subject", "seq"])
    op.create_index("events_by_tenant", "events", ["tenant", "seq"])
    op.create_table(
        "ticks",
        _key("job", primary=True),
        _count("fence", primary=True),
        _count("seq", primary=True),
        _body(),
    )
    op.create_table(
        "progress",
        sa.Column("arrival", _SERIAL, primary_key=True, autoincrement=True),
        _key("job"),
        _count("fence"),
        _count("step"),
        _count("at_ms"),
        _body("figures"),
    )
    op.create_index("progress_by_job", "progress", ["job", "arrival"])
    op.create_table(
        "keys",
        _key("tenant", primary=True),
        _key("key", primary=True),
        _key("digest"),
        _key("result"),
        _count("at_ms"),
    )
    op.create_index("keys_by_age", "keys", ["at_ms"])


def _journal() -> None:
    op.create_table(
        "transactions",
        _key("id", primary=True),
        _count("at_ms"),
        _key("subject"),
        _body(),
    )
    op.create_index("transactions_by_subject", "transactions", ["subject", "id"])
    op.create_table(
        "entries",
        _key("transaction", primary=True),
        _count("leg", primary=True),
        _key("account"),
        _key("party"),
        _key("currency"),
        _count("micros"),
    )
    op.create_index("entries_by_account", "entries", ["account", "currency", "micros"])
    op.create_index("entries_by_party", "entries", ["party", "transaction"])
