"""What only the SQL stores have to show: atomicity in the database, opening, schema, upgrades."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from causeway.adapters.store.opening import open_store, schema_number
from causeway.adapters.store.schema import METADATA, SCHEMA_NUMBER
from causeway.adapters.store.sql import SqlStore
from causeway.model.artifacts import Artifact
from causeway.model.errors import CausewayError, Conflict, InvalidInput, Unavailable
from causeway.model.events import Event
from causeway.model.islands import Island, Profile
from causeway.model.jobs import Job, JobSpec
from causeway.model.money import Entry, Transaction
from causeway.model.parties import AccessRole, AccessToken, Tenant
from causeway.model.usage import UsageTick
from causeway.ports.store import Batch, Image, ProgressRow

JOB = Job(id="j", tenant="acme", spec=JobSpec(name="a", run=""))
ISLAND = Island(id="i", profile=Profile(name="i", provider="p", jurisdiction="SE"), public_key="k")


def full_batch() -> Batch:
    return Batch(
        jobs={"j": JOB},
        islands={"i": ISLAND},
        tenants={"acme": Tenant(name="acme")},
        tokens={
            "t": AccessToken(
                id="t", tenant="acme", role=AccessRole.VIEWER, secret_sha256="", created_ms=0
            )
        },
        artifacts={
            ("acme", "a"): Artifact(
                id="a", tenant="acme", kind="model", bytes=0, files=0, made_ms=0
            )
        },
        secrets={("acme", "s"): b"\x00\xff"},
        events=[Event(seq=1, at_ms=1, kind="k", subject="j")],
        ticks=[UsageTick(job="j", fence=1, seq=0, start_ms=0, end_ms=1, devices=1)],
        transactions=[
            Transaction(
                id="t",
                at_ms=1,
                subject="j",
                memo="",
                entries=(Entry(account="a:b", micros=0, currency="USD"),),
            )
        ],
        progress=[ProgressRow(job="j", fence=1, step=1, at_ms=1, values={})],
        keys={("acme", "k"): ("d", "r")},
    )


WRITTEN = sorted(set(METADATA.tables) - {"meta"})


def break_table(store: SqlStore, table: str) -> None:
    """Make the database refuse every row of a table."""
    with store.writer.begin() as connection:
        if store.writer.dialect.name == "sqlite":
            body = "BEGIN SELECT RAISE(ABORT, 'injected'); END"
            connection.execute(text(f"CREATE TRIGGER broken BEFORE INSERT ON {table} {body}"))
        else:
            connection.execute(
                text(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK (1 = 0) NOT VALID")
            )


@pytest.mark.parametrize("table", WRITTEN)
def test_a_batch_that_fails_at_any_table_leaves_nothing(url: str, table: str) -> None:
    store = open_store(url)
    epoch = store.lead()
    assert epoch is not None
    break_table(store, table)
    with pytest.raises(CausewayError, match=r"injected|broken"):
        store.commit(epoch, full_batch())
    assert store.load() == Image()
    with store.reader.connect() as connection:
        for name in WRITTEN:
            rows = connection.execute(METADATA.tables[name].select()).all()
            assert rows == [], name
    store.close()


def test_the_whole_batch_is_written_when_nothing_is_broken(url: str) -> None:
    store = open_store(url)
    store.commit(store.lead() or 0, full_batch())
    with store.reader.connect() as connection:
        for name in WRITTEN:
            assert len(connection.execute(METADATA.tables[name].select()).all()) == 1, name
    store.close()


def test_migrations_lead_to_the_schema_that_the_code_states(url: str) -> None:
    store = open_store(url)
    with store.writer.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        assert schema_number(connection) == SCHEMA_NUMBER
    store.close()


def test_opening_again_keeps_what_is_there(url: str) -> None:
    store = open_store(url)
    first = store.lead()
    store.commit(first or 0, full_batch())
    image = store.load()
    store.close()
    again = open_store(url)
    assert again.load() == image
    assert (again.lead() or 0) > (first or 0)
    again.close()


def test_a_newer_schema_is_opened_while_it_allows_this_reader(url: str) -> None:
    store = open_store(url)
    with store.writer.begin() as connection:
        connection.execute(
            text(f"UPDATE alembic_version SET version_num = '{SCHEMA_NUMBER + 1:04d}'")
        )
        connection.execute(text("ALTER TABLE jobs ADD COLUMN added TEXT"))
    store.close()
    store = open_store(url)
    store.commit(store.lead() or 0, full_batch())
    assert store.load().jobs == {"j": JOB}
    with store.writer.begin() as connection:
        connection.execute(text(f"UPDATE meta SET oldest_reader = {SCHEMA_NUMBER + 1}"))
    store.close()
    with pytest.raises(Unavailable, match="schema"):
        open_store(url)


def test_fields_that_are_not_known_are_ignored_and_missing_ones_take_their_default(
    url: str,
) -> None:
    store = open_store(url)
    store.commit(store.lead() or 0, full_batch())
    with store.writer.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET body = replace(body, :old, :new)"),
            {"old": '{"id":"j",', "new": '{"from_the_future":{"a":[1]},"id":"j",'},
        )
        connection.execute(
            text("UPDATE jobs SET body = replace(body, :old, :new)"),
            {"old": '"submitted_by":""', "new": '"sent_by":"x"'},
        )
        body = connection.execute(text("SELECT body FROM jobs")).scalar_one()
    assert "from_the_future" in body
    assert "submitted_by" not in body
    assert store.load().jobs == {"j": JOB}
    store.close()


def test_a_reader_neither_waits_for_a_commit_nor_holds_it_up(url: str) -> None:
    store = open_store(url)
    epoch = store.lead() or 0
    store.commit(epoch, full_batch())
    count = text("SELECT count(*) FROM events")
    with store.reader.connect() as connection, connection.begin():
        assert connection.execute(count).scalar_one() == 1
        store.commit(epoch, Batch(events=[Event(seq=2, at_ms=1, kind="k", subject="j")]))
        assert connection.execute(count).scalar_one() == 1
        with store.writer.begin() as writing:
            writing.execute(text("UPDATE meta SET epoch = epoch"))
            assert len(store.events()) == 2
    store.close()


def test_readers_cannot_write(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'a.db'}")
    with store.reader.connect() as connection, pytest.raises(Exception, match="readonly"):
        connection.execute(text("DELETE FROM meta"))
    store.close()


def test_sqlite_survives_a_power_cut_by_its_settings(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'a.db'}")
    with store.writer.connect() as connection:
        read = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert read == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }
    store.close()


def test_the_leader_file_taken_away_ends_the_leadership(tmp_path: Path) -> None:
    first = open_store(f"sqlite:///{tmp_path / 'a.db'}")
    second = open_store(f"sqlite:///{tmp_path / 'a.db'}")
    epoch = first.lead() or 0
    (tmp_path / "a.db.leader").unlink()
    assert not first.leading()
    assert (second.lead() or 0) > epoch
    with pytest.raises(Conflict, match="epoch"):
        first.commit(epoch, full_batch())
    first.close()
    assert second.leading()
    second.close()


@pytest.mark.parametrize(
    "bad", ["", "nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "redis://x"]
)
def test_other_urls_are_refused_with_a_hint(bad: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        open_store(bad)
    assert "sqlite:///" in refused.value.hint


def test_a_password_is_not_shown() -> None:
    with pytest.raises(InvalidInput) as refused:
        open_store("mysql://user:hunter2@host/d")
    assert "hunter2" not in str(refused.value)


def test_a_missing_folder_or_a_foreign_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="folder"):
        open_store(f"sqlite:///{tmp_path / 'no' / 'a.db'}")
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"this is not a database" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        open_store(f"sqlite:///{foreign}")


def test_a_full_or_read_only_disk_is_unavailable_and_nothing_is_half_written(
    tmp_path: Path,
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'a.db'}")
    epoch = store.lead() or 0
    with store.writer.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    jobs = {
        f"j{n}": Job(id=f"j{n}", tenant="acme", spec=JobSpec(name="a", run="x" * 5000))
        for n in range(50)
    }
    with pytest.raises(Unavailable, match="full"):
        store.commit(epoch, Batch(jobs=jobs))
    assert store.load() == Image()
    store.close()


def test_another_writer_is_waited_for_and_then_said(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = open_store(f"sqlite:///{path}")
    epoch = store.lead() or 0
    with store.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        store.commit(epoch, full_batch())
    other.execute("ROLLBACK")
    other.close()
    store.commit(epoch, full_batch())
    store.close()


def test_a_leader_that_cannot_raise_the_epoch_lets_another_try(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    first, second = open_store(url), open_store(url)
    with first.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        first.lead()
    other.execute("ROLLBACK")
    other.close()
    assert not first.leading()
    assert second.lead() == 1
    first.close()
    second.close()


@pytest.mark.engines
def test_a_lost_session_ends_the_leadership_and_the_old_leader_cannot_write(
    postgres_url: str,
) -> None:
    import psycopg

    first, second = open_store(postgres_url), open_store(postgres_url)
    old = first.lead() or 0
    assert second.lead() is None
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        while admin.execute(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone():
            pass
    new = second.lead() or 0
    assert new > old
    assert not first.leading()
    assert first.lead() is None
    with pytest.raises(Conflict, match="epoch"):
        first.commit(old, full_batch())
    assert second.load() == Image()
    second.commit(new, full_batch())
    first.close()
    assert second.leading()
    second.close()


@pytest.mark.engines
def test_a_broken_writer_session_is_unavailable_once_and_then_made_anew(
    postgres_url: str,
) -> None:
    import psycopg

    store = open_store(postgres_url)
    epoch = store.lead() or 0
    with store.writer.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(Unavailable):
        store.commit(epoch, full_batch())
    assert store.leading()
    store.commit(epoch, full_batch())
    assert store.load().jobs == {"j": JOB}
    store.close()
