"""The hand-made world, a client that is logged in, and one that is not."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from causeway.web.app import routes
from causeway.web.replies import COOKIE


def _load() -> ModuleType:
    """Load the fixture module under a name of its own (tests are not a package)."""
    name = "causeway_web_fixture"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("fixture.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def world() -> ModuleType:
    """The module with the hand-made values."""
    return _load()


@pytest.fixture
def anyone(world: ModuleType) -> Iterator[TestClient]:
    app = Starlette(routes=routes(world.HandMade(), authorise=world.authorise))
    with TestClient(app, follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(anyone: TestClient) -> TestClient:
    anyone.cookies.set(COOKIE, "good-token")
    return anyone
