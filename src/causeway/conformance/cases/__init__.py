"""The cases, by theme. Each module registers its own when it is imported."""

from __future__ import annotations

import importlib

THEMES = (
    "starting",
    "ending",
    "output",
    "surroundings",
    "files",
    "stopping",
    "forgetting",
    "gangs",
    "limits",
    "usage",
    "port",
    "restarts",
    "kills",
    "leases",
    "daemon",
)
"""In the order of the table."""


def load() -> None:
    """Import every theme, once."""
    for theme in THEMES:
        importlib.import_module(f"causeway.conformance.cases.{theme}")
