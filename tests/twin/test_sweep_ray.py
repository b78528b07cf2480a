"""The sweep on Ray, against a stand-in for Ray's dozen lines that it uses."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from causeway.model.errors import Unavailable
from causeway.twin.scenario import parse
from causeway.twin.sweep import Ran, Task, tasks_of
from causeway.twin.sweep_ray import sweep_on_ray

TEXT = """
title = "t"
kind = "queue"
policies = ["fifo"]
seeds = "1-3"
[options]
jobs = 5
nodes = 1
"""


class _Lost(Exception):
    pass


class _FakeRay(types.ModuleType):
    """Does a task when it is asked for its result; loses those of seed 2."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=_Lost)
        self.cancelled: list[object] = []
        self.open = False

    def init(self, *, address: str, log_to_driver: bool) -> None:
        if address == "nowhere":
            raise ConnectionError("nobody listens")
        self.open = True

    def remote(self, **options: Any) -> Callable[[Any], Any]:
        assert options == {"num_cpus": 1, "max_retries": 0}
        return lambda function: types.SimpleNamespace(
            remote=lambda task: (function, task.seed, id(task), task)
        )

    def wait(self, refs: list[Any], *, num_returns: int, timeout: float) -> tuple[Any, Any]:
        return refs[-1:], refs[:-1]

    def get(self, ref: Any) -> Ran:
        function, seed, _, task = ref
        if seed == 2:
            raise _Lost("the worker died\nand more lines")
        found: Ran = function(task)
        return found

    def cancel(self, ref: object, *, force: bool) -> None:
        self.cancelled.append(ref)

    def shutdown(self) -> None:
        self.open = False


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> _FakeRay:
    fake = _FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    # References are keys; a task holds a mapping and cannot be one.
    monkeypatch.setattr(Task, "__hash__", lambda self: self.seed)
    return fake


def test_what_ray_loses_is_one_failed_run(ray: _FakeRay, tmp_path: Path) -> None:
    tasks = tasks_of(parse(TEXT, name="t"), tmp_path)
    ran = dict(sweep_on_ray(tasks, address="auto", watch=lambda index, share: None))
    assert [bool(ran[index].outcome) for index in range(3)] == [True, False, True]
    assert ran[1].error == "Ray lost it: _Lost: the worker died"
    assert not ray.open


def test_a_sweep_that_is_left_cancels_the_rest(ray: _FakeRay, tmp_path: Path) -> None:
    tasks = tasks_of(parse(TEXT, name="t"), tmp_path)
    going = sweep_on_ray(tasks, address="auto", watch=lambda index, share: None)
    next(going)
    going.close()
    assert len(ray.cancelled) == 2
    assert not ray.open


def test_a_cluster_that_cannot_be_reached_is_said(ray: _FakeRay, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="nowhere cannot be reached: nobody listens"):
        next(sweep_on_ray([], address="nowhere", watch=lambda index, share: None))


def test_ray_is_needed_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Unavailable, match="Ray is not here"):
        next(sweep_on_ray([], address="auto", watch=lambda index, share: None))
