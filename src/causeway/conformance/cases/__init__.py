"""The cases, by theme. Each module registers its own when it is imported."""

from __future__ import annotations

import importlib

THEMES = ("starting",)
"""In the order of the table."""


def load() -> None:
    """Import every theme, once."""
    for theme in THEMES:
        importlib.import_module(f"causeway.conformance.cases.{theme}")
