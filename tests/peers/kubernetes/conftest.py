"""A real control plane, shared by the tests of this folder that do not break it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from kubecluster import Cluster, running
from kubeisland import Island

_roots = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane with two nodes of eight cores and two GPUs each."""
    with running() as one:
        yield one


@pytest.fixture
def island() -> Iterator[Callable[..., Island]]:
    """Makes agents' engines; those still open are closed at the end, and their jobs ended."""
    made: list[Island] = []

    def make(cluster: Cluster, *, lease_ms: int = 0, **settings: object) -> Island:
        root = cluster.share / f"root-{next(_roots)}"
        made.append(Island(root, cluster, settings, lease_ms=lease_ms))
        return made[-1]

    yield make
    for one in made:
        one.clear()
