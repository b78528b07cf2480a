"""Places to keep a store in: memory, a SQLite file, a database of a real PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from causeway.adapters.store.memory import MemoryStore, Shelf
from causeway.adapters.store.opening import open_store
from causeway.ports.store import Store

Opener = Callable[[], Store]
_numbers = count(1)


def _as_postgres() -> dict[str, object]:
    """PostgreSQL refuses to run as root; then it runs as its own user."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _programs() -> Path:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: float(p.parts[4])
    )
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.fail("PostgreSQL is not installed: no initdb in /usr/lib/postgresql or on the PATH")
    return found[-1].parent if found else Path(str(on_path)).parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server of its own on a Unix socket; yields `postgresql://...` without a database."""
    folder = Path(tempfile.mkdtemp(prefix="cw-pg-"))
    programs, data = _programs(), folder / "data"
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    as_user = _as_postgres()
    try:
        _run(
            [
                *(str(programs / "initdb"), "-D", str(data), "-U", "causeway", "-A", "trust"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--locale-provider=icu"),
                *("--icu-locale=en", "--no-sync"),
            ],
            as_user,
        )
        # The cluster lives for one run of the tests, and no test cuts its power.
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=60"
        control = [str(programs / "pg_ctl"), "-D", str(data), "-l", str(folder / "log")]
        _run([*control, "-w", "-o", options, "start"], as_user)
        try:
            yield f"postgresql://causeway@/{{}}?host={folder}"
        finally:
            _run([*control, "-m", "immediate", "-w", "stop"], as_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], as_user: dict[str, object]) -> None:
    done = subprocess.run(  # type: ignore[call-overload]
        command, cwd="/", capture_output=True, text=True, timeout=60, **as_user
    )
    if done.returncode != 0:
        pytest.fail(f"{command[0]} failed: {done.stderr}")


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """A fresh, empty database."""
    import psycopg

    name = f"t{next(_numbers)}"
    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.format(name)


SQL = ["sqlite", pytest.param("postgres", marks=pytest.mark.engines)]


@pytest.fixture(params=SQL)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place for a durable store."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'causeway.db'}"


@pytest.fixture(params=["memory", *SQL])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens handles on one and the same empty store, as several processes would."""
    opened: list[Store] = []
    shelf = Shelf()
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
    else:
        url = f"sqlite:///{tmp_path / 'causeway.db'}"

    def open_one() -> Store:
        store: Store = MemoryStore(shelf) if request.param == "memory" else open_store(url)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(opener: Opener) -> Store:
    """One empty store."""
    return opener()
