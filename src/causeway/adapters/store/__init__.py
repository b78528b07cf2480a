"""The durable truth: SQLite or PostgreSQL behind one class, and a store in memory for simulation.

    open_store(url) -> SqlStore     sqlite:///path or postgresql://...; migrates on open
    MemoryStore                     the same port in memory, with fault injection
    archive(store, ...)             retention: moves old facts into checked files, then deletes them
    backup(store, path)             a consistent copy while the store is in use
    restore(path, url)              into an empty store of either dialect

SQLAlchemy takes a while to import, so each name is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from causeway.adapters.store.copies import backup, restore
    from causeway.adapters.store.memory import MemoryStore, Shelf
    from causeway.adapters.store.opening import open_store
    from causeway.adapters.store.retention import archive, read_archive
    from causeway.adapters.store.sql import SqlStore

__all__ = [
    "MemoryStore",
    "Shelf",
    "SqlStore",
    "archive",
    "backup",
    "open_store",
    "read_archive",
    "restore",
]

_HOMES = {
    "MemoryStore": "memory",
    "Shelf": "memory",
    "SqlStore": "sql",
    "archive": "retention",
    "backup": "copies",
    "open_store": "opening",
    "read_archive": "retention",
    "restore": "copies",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
