"""Two speeds, one brain: the fast twin and the whole one give the same schedule."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from causeway.schedule.queueing.lines import Queue
from causeway.schedule.queueing.room import Counted
from causeway.twin.fast.engine import Engine, Played, Stopping
from causeway.twin.fast.planned import Planned, capacity, spec_of
from causeway.twin.whole import Asked, Whole

DEVICES = 8
LAG_S = 15.0
"""Starts that are nearer than this may change places: a hundredth of what jobs wait."""


def _jobs(seed: int, count: int) -> tuple[list[float], list[float], list[int]]:
    """Return jobs that come fast enough to wait, with lengths that never tie."""
    chance = random.Random(seed)
    arrival_s = sorted(chance.uniform(0.0, 400.0 * count) for _ in range(count))
    length_s = [round(chance.lognormvariate(6.5, 1.0), 1) + 60.0 for _ in range(count)]
    return arrival_s, length_s, [chance.choice((1, 1, 2, 3, 5, 8)) for _ in range(count)]


def _play(queue: Queue, jobs: tuple[list[float], list[float], list[int]]) -> Played:
    engine = Engine(queue, *jobs, pool_devices=DEVICES, stopping=Stopping())
    return engine.run(lambda share: None)


def _planned(jobs: tuple[list[float], list[float], list[int]]) -> Planned:
    arrival_s, length_s, devices = jobs
    return Planned(Counted(DEVICES), devices, length_s, ["lab"] * len(devices), arrival_s)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_whole_twin_and_the_fast_one_give_the_same_schedule(seed: int) -> None:
    jobs = _jobs(seed, 40)
    arrival_s, length_s, devices = jobs
    fast = _play(_planned(jobs), jobs)
    asked = [
        Asked(arrival_s=a, length_s=x, spec=spec_of(d, x), tenant="lab")
        for a, x, d in zip(arrival_s, length_s, devices, strict=True)
    ]
    start_s, end_s = Whole(asked, capacity(DEVICES)).run()
    waited = [s - a > 30.0 for s, a in zip(fast.start_s, arrival_s, strict=True)]
    assert sum(waited) > 8, "a schedule in which nobody waits says nothing"
    order = sorted(range(len(devices)), key=lambda job: fast.start_s[job])
    for first, then in pairwise(order):
        if fast.start_s[then] - fast.start_s[first] > LAG_S:
            assert start_s[first] < start_s[then]
    for before, job in enumerate(order, start=1):
        # A start is up to a tick late, and what waits for it is late with it.
        assert -1e-3 <= start_s[job] - fast.start_s[job] <= 1.5 * before
        assert end_s[job] - start_s[job] == pytest.approx(length_s[job], abs=1.0)
