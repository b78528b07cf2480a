"""A federation over an emulated wide-area line; the benches' own, so that both mean the same."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))

from wan_transfer import Scene, scene

SIZE_MB = 40


@pytest.fixture(scope="module")
def far() -> Iterator[Scene]:
    """Two islands and a centre; the first island holds the data."""
    if os.geteuid() or not shutil.which("ip") or not Path("/dev/net/tun").exists():
        raise RuntimeError("the emulated line needs root, /dev/net/tun and `iproute2`")
    with scene(SIZE_MB) as made:
        yield made
