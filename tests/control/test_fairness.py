"""Work that gives way for fairness, through the whole core: told, stopped, replaced, at rest."""

from __future__ import annotations

import pytest
from harness import Centre, Island

from causeway.control.settings import Settings
from causeway.model.jobs import JobState
from causeway.model.protocol import AttemptReport, Phase, StartCommand

PATIENCE_MS = 12_000


def hogged(centre: Centre) -> tuple[Island, list[StartCommand], list[AttemptReport]]:
    """Return an island that one project fills."""
    island = centre.island(cpu_milli=4_000)
    for _ in range(4):
        centre.one("hog")
    centre.after(500)
    starts = list(island.sync().start)
    return island, starts, [running(start) for start in starts]


def running(start: StartCommand) -> AttemptReport:
    return AttemptReport(job=start.job, fence=start.fence, phase=Phase.RUNNING)


def live(centre: Centre, island: Island, reports: list[AttemptReport], span_ms: int) -> set[str]:
    """Let time pass, the island reporting; return the jobs that it was told to stop."""
    told: set[str] = set()
    for _ in range(span_ms // 500):
        centre.after(500)
        told |= {stop.job for stop in island.sync(*reports).stop}
    return told


@pytest.mark.parametrize(("percent", "stopped"), [(0, 0), (100, 2)])
def test_a_project_that_holds_everything_gives_way_only_where_an_operator_wants_it(
    percent: int, stopped: int
) -> None:
    centre = Centre(settings=Settings(protected_share_percent=percent))
    island, starts, reports = hogged(centre)
    late = [centre.one("late") for _ in range(4)]
    told = live(centre, island, reports, PATIENCE_MS)
    assert len(told) == stopped
    if not told:
        return
    reports = [one for one in reports if one.job not in told]
    ends = [
        AttemptReport(job=s.job, fence=s.fence, phase=Phase.STOPPED, final=True)
        for s in starts
        if s.job in told
    ]
    island.sync(*reports, *ends)
    centre.after(2_000)
    begun = island.sync(*reports).start
    assert len(begun) == 2
    assert {one.job for one in begun} <= set(late)
    reports += [running(one) for one in begun]
    assert live(centre, island, reports, PATIENCE_MS) == set()
    queued = [name for name in (*told, *late) if centre.job(name).state is JobState.QUEUED]
    assert len(queued) == 4
