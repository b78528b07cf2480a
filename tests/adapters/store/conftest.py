"""Places to keep a store in: memory, a SQLite file, a database of a real PostgreSQL server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from postgres_place import new_database, postgres

from causeway.adapters.store.memory import MemoryStore, Shelf
from causeway.adapters.store.opening import open_store
from causeway.ports.store import Store

Opener = Callable[[], Store]
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server of its own on a Unix socket; yields `postgresql://...` without a database."""
    with postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """A fresh, empty database."""
    return new_database(postgres_server, f"t{next(_numbers)}")


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
