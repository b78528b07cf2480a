"""Causeway from Python.

    Client        submit, look, explain, wait, follow, stop, count the cost
    checkpoint    save and resume from inside a job

Nothing heavy is imported until it is used: a training script pays for checkpoints only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from causeway.sdk.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> object:
    """Load the client on first use."""
    if name == "Client":
        from causeway.sdk.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
