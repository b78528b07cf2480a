"""Who gets what: the guard, the forecast, the ebb; and that the least is lost."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway.schedule.tidal.division import (
    Division,
    Leave,
    Serving,
    Training,
    Waiting,
    Why,
    divide,
    who_gives_way,
    who_grows,
    who_starts,
    youngest_first,
)


def serving(
    bounds: tuple[float, ...],
    need: float,
    ready: int,
    coming: int = 0,
    queue: float = 0.0,
    most: int = 10,
) -> Serving:
    return Serving(
        bounds=bounds, need=need, queue=queue, kept=True, ready=ready, coming=coming, most=most
    )


def training(*jobs: tuple[int, int, float]) -> Training:
    """Return jobs of (devices, least, unsaved_s)."""
    devices, least, unsaved_s = zip(*jobs, strict=True)
    return Training(
        job=np.arange(len(jobs)),
        devices=np.array(devices),
        least=np.array(least),
        unsaved_s=np.array(unsaved_s, dtype=float),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (serving((3.2,), 2, 4), Division(replicas=4, urgent=False, why=Why.STEADY)),
        (serving((5.1,), 2, 4), Division(replicas=6, urgent=False, why=Why.FORECAST)),
        (serving((5.1,), 2, 4, 2), Division(replicas=6, urgent=False, why=Why.STEADY)),
        (serving((2.0,), 3, 4, 0, 3.5), Division(replicas=7, urgent=True, why=Why.GUARD)),
        (serving((9.0,), 7, 4, 2), Division(replicas=9, urgent=True, why=Why.GUARD)),
        (serving((2.0, 3.0), 2, 6), Division(replicas=3, urgent=False, why=Why.EBB)),
        (serving((1.0,), 3, 6), Division(replicas=3, urgent=False, why=Why.EBB)),
        (serving((99.0,), 2, 4), Division(replicas=10, urgent=False, why=Why.FORECAST)),
        (serving((float("inf"),), 2, 4), Division(replicas=10, urgent=False, why=Why.FORECAST)),
        (serving((1.0,), 40, 10), Division(replicas=10, urgent=False, why=Why.STEADY)),
    ],
)
def test_what_serving_gets(given: Serving, expected: Division) -> None:
    assert divide(given) == expected


def test_who_has_least_unsaved_goes_and_only_writes_a_checkpoint_where_that_is_less() -> None:
    jobs = training((2, 2, 900.0), (2, 2, 30.0), (2, 2, 400.0))
    planned = who_gives_way(jobs, 2, urgent=False, checkpoint_s=60)
    assert [(stop.job, stop.leave) for stop in planned] == [(1, Leave.AT_ONCE)]
    planned = who_gives_way(jobs, 4, urgent=False, checkpoint_s=60)
    assert [(stop.job, stop.leave) for stop in planned] == [
        (1, Leave.AT_ONCE),
        (0, Leave.CHECKPOINTED),
    ]
    urgent = who_gives_way(jobs, 4, urgent=True, checkpoint_s=60)
    assert [(stop.job, stop.leave) for stop in urgent] == [(1, Leave.AT_ONCE), (2, Leave.AT_ONCE)]


def test_an_elastic_job_shrinks_where_that_is_enough() -> None:
    (stop,) = who_gives_way(training((8, 4, 10.0)), 3, urgent=True, checkpoint_s=60)
    assert stop.keeps == 5
    (stop,) = who_gives_way(training((8, 8, 10.0)), 3, urgent=True, checkpoint_s=60)
    assert stop.keeps == 0


def test_a_shrunk_job_grows_when_it_has_just_saved() -> None:
    jobs, asked = training((4, 4, 900.0), (4, 4, 30.0), (8, 4, 0.0)), np.array([8, 8, 8])
    grown = who_grows(jobs, asked, 3, saved_s=60)
    assert grown is not None
    assert (grown.job, grown.keeps) == (1, 7)
    assert who_grows(jobs, asked, 3, saved_s=20) is None
    assert who_grows(jobs, asked, 0, saved_s=60) is None


def test_those_who_know_no_checkpoints_send_the_youngest() -> None:
    jobs = training((1, 1, 0.0), (1, 1, 900.0))
    assert [stop.job for stop in youngest_first(jobs, np.array([0.0, 50.0]), 1)] == [1]


@settings(max_examples=30, deadline=None)
@given(
    jobs=st.lists(
        st.tuples(st.sampled_from([1, 2, 4, 8]), st.just(1), st.floats(0, 2000)),
        min_size=1,
        max_size=6,
    ),
    wanted=st.integers(0, 40),
    urgent=st.booleans(),
)
def test_enough_go_and_none_of_them_in_vain(
    jobs: list[tuple[int, int, float]], wanted: int, urgent: bool
) -> None:
    jobs = [(devices, devices, unsaved_s) for devices, _, unsaved_s in jobs]
    stops = who_gives_way(training(*jobs), wanted, urgent=urgent, checkpoint_s=60)
    freed = [jobs[stop.job][0] for stop in stops]
    assert len({stop.job for stop in stops}) == len(stops)
    assert sum(freed) >= min(wanted, sum(devices for devices, _, _ in jobs))
    if sum(freed) >= wanted:
        assert all(sum(freed) - one < wanted for one in freed)


def line(*jobs: tuple[int, int, int]) -> dict[int, deque[Waiting]]:
    """Return the queue of (job, devices, least)."""
    queue: dict[int, deque[Waiting]] = {}
    for job, devices, least in jobs:
        queue.setdefault(devices, deque()).append(Waiting(job=job, devices=devices, least=least))
    return queue


@pytest.mark.parametrize(
    ("queue", "free", "expected"),
    [
        (line((0, 4, 4), (1, 1, 1), (2, 1, 1)), 5, [(0, 4), (1, 1)]),
        (line((0, 8, 8), (1, 2, 2), (2, 1, 1)), 3, [(1, 2), (2, 1)]),
        (line((0, 8, 4), (1, 2, 2)), 7, [(1, 2), (0, 5)]),
        (line((0, 8, 8)), 7, []),
        ({}, 7, []),
    ],
)
def test_seniority_then_whatever_fits_then_the_elastic(
    queue: dict[int, deque[Waiting]], free: int, expected: list[tuple[int, int]]
) -> None:
    assert [(waiting.job, devices) for waiting, devices in who_starts(queue, free)] == expected
