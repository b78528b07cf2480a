"""Sweeps over processes: what they give, that one cannot end another, and how long they say."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from causeway.model.errors import InvalidInput
from causeway.twin.outlook import Outlook
from causeway.twin.scenario import parse
from causeway.twin.sweep import Task, sweep, tasks_of

TEXT = """
title = "t"
kind = "queue"
policies = ["fifo", "las"]
seeds = "1-2"
[options]
jobs = 20
nodes = 1
"""


def _tasks(folder: Path) -> list[Task]:
    return tasks_of(parse(TEXT, name="t"), folder)


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    tasks = _tasks(tmp_path)
    assert [(task.seed, task.policy) for task in tasks][:2] == [(1, "fifo"), (1, "las")]

    def metrics(jobs: int) -> dict[int, object]:
        ran = dict(sweep(tasks, jobs=jobs, watch=lambda index, share: None))
        return {index: one.outcome and one.outcome.metrics for index, one in ran.items()}

    assert metrics(1) == metrics(2)


def test_a_process_that_is_killed_is_one_failed_run(tmp_path: Path) -> None:
    """The trace of one run is a pipe that nobody writes: its process is killed while it reads."""
    import multiprocessing

    os.mkfifo(tmp_path / "pipe.csv")
    scenario = parse(
        TEXT.replace("jobs = 20", 'format = "csv"\ntrace = "pipe.csv"').replace("las", "sjf"),
        name="pipe",
    )
    stuck = Task(scenario=scenario, policy="fifo", seed=1, data=tmp_path)
    tasks = [stuck, *_tasks(tmp_path)[:2]]
    ended = []
    for index, ran in sweep(tasks, jobs=2, watch=lambda index, share: None):
        ended.append((index, bool(ran.outcome)))
        if len(ended) == 2:
            (worker,) = multiprocessing.active_children()
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            continue
        if index == 0:
            assert "ended with -9" in ran.error
    assert sorted(ended) == [(0, False), (1, True), (2, True)]


def test_the_number_of_processes_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="from 1 to"):
        next(sweep(_tasks(tmp_path), jobs=0, watch=lambda index, share: None))


def test_nothing_is_estimated_before_something_is_known() -> None:
    outlook = Outlook(["fifo", "fifo", "las"], jobs=1)
    assert outlook.left_s(0.0) is None
    outlook.heard(0, 0.001, 0.0)
    assert outlook.left_s(1.0) is None


def test_an_estimate_is_a_range_that_narrows() -> None:
    outlook = Outlook(["fifo"] * 4, jobs=2)
    outlook.heard(0, 0.5, 0.0)
    low, high = outlook.left_s(10.0) or (0.0, 0.0)
    assert 0.0 < low < high
    outlook.ended(0, 20.0)
    outlook.heard(1, 0.0, 20.0)
    assert outlook.left_s(20.0) == (30.0, 30.0)
    outlook.ended(1, 24.0)
    assert outlook.left_s(44.0) == (20.0, 24.0)
    assert outlook.share == 0.5
