"""One centre for each test of the control core."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import Centre


@pytest.fixture
def centre() -> Centre:
    return Centre()
