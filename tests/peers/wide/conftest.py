"""A control plane and islands as processes, as people start them; all of it ends with the test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from far_islands import Place

from causeway.demo.world import free_port


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(folder=tmp_path, port=free_port())
    try:
        made.start_centre()
        yield made
    finally:
        made.stop()
