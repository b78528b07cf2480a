"""Causeway: an open Computing Power Internet. Read `docs/architecture.md` first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from causeway.sdk.client import Client
    from causeway.sdk.remote.executor import Executor
    from causeway.sdk.remote.function import remote
    from causeway.sdk.remote.outcomes import RemoteError

__version__ = "0.1.0"
__all__ = ["Client", "Executor", "RemoteError", "__version__", "remote"]

_HOMES = {
    "Client": "causeway.sdk.client",
    "Executor": "causeway.sdk.remote.executor",
    "RemoteError": "causeway.sdk.remote.outcomes",
    "remote": "causeway.sdk.remote.function",
}
"""Where each name lives: loaded when it is first used, since every command imports this package."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
