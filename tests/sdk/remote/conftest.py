"""Lets the tests of this folder share their stand-ins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from memory_desk import MemoryDesk


@pytest.fixture
def desk(tmp_path: Path) -> MemoryDesk:
    """A centre in memory."""
    root = tmp_path / "artifacts"
    root.mkdir()
    return MemoryDesk(root)
