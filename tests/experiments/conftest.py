"""Where the real traces are. Without them these tests fail: they are never skipped silently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of traces."""
    folder = os.environ.get("CAUSEWAY_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.fail("CAUSEWAY_DATA names no folder of traces; see docs/twin.md")
    return Path(folder)
