"""Lets the tests of this folder share their processes, and a real PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters" / "store"))
sys.path.insert(0, str(Path(__file__).parent))

from postgres_place import new_database, postgres


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The URL of a store for two control planes; None is SQLite in their state folder."""
    if request.param == "sqlite":
        yield None
        return
    with postgres() as server:
        yield new_database(server, "causeway")
