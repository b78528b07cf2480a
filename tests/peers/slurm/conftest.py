"""Real clusters, shared by the tests of this folder that do not break them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cluster import Cluster, running
from island import Island


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes with four cores and two GPUs each, without accounts."""
    with running(["uno"]) as (one,):
        yield one


@pytest.fixture(scope="module")
def accounted() -> Iterator[Cluster]:
    """A cluster that keeps accounts and enforces them."""
    with running(["acc"], accounting=True) as (one,):
        yield one


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Callable[..., Island]]:
    """Makes agents' engines; those still open are closed at the end, and their jobs ended."""
    made: list[Island] = []

    def make(cluster: Cluster, **settings: object) -> Island:
        made.append(Island(tmp_path / f"root-{len(made)}", cluster, settings))
        return made[-1]

    yield make
    for one in made:
        one.clear()
