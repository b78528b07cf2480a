"""Two real Ray clusters, shared by all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from raycluster import Cluster, clusters
from rayisland import Island


@pytest.fixture(scope="session")
def both() -> Iterator[dict[str, Cluster]]:
    """Start them; end them."""
    with clusters() as made:
        yield made


@pytest.fixture
def uno(both: dict[str, Cluster]) -> Cluster:
    """Two nodes with four and two cores and two GPUs; up, whatever the test before did to it."""
    return both["uno"].up()


@pytest.fixture
def due(both: dict[str, Cluster]) -> Cluster:
    """One node with four cores and two NPUs, which takes no question without its token."""
    return both["due"].up()


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Callable[..., Island]]:
    """Makes agents' engines; what they have started is ended at the end."""
    made: list[Island] = []

    def make(cluster: Cluster, **settings: object) -> Island:
        made.append(Island(tmp_path / f"root-{len(made)}", cluster, settings))
        return made[-1]

    yield make
    for one in made:
        one.cluster.up()
        one.clear()
