"""Jobs that must go: asked once, killed after that, and never taken for somebody else's."""

from __future__ import annotations

from causeway.adapters.outside.doomed import AGAIN_MS, KEPT
from causeway.adapters.slurm.doomed import Doomed
from causeway.adapters.slurm.orders import Mark
from causeway.adapters.slurm.values import JobRow, JobState


def row(number: int, tag: str, state: JobState = JobState.RUNNING) -> JobRow:
    mark = Mark(island="i", tag=tag, job="j", fence=1)
    return JobRow(id=number, state=state, comment=mark.text())


def test_a_job_is_asked_first_and_killed_when_it_stays() -> None:
    doomed = Doomed()
    doomed.condemn(7, "t", at_ms=100)
    assert doomed.due(99) == ((), ())
    assert doomed.due(100) == ((7,), ())
    assert doomed.due(101) == ((), ())
    doomed.hear({7: row(7, "t")})
    assert doomed.due(100 + AGAIN_MS) == ((), (7,))


def test_what_is_condemned_again_goes_sooner_and_never_later() -> None:
    doomed = Doomed()
    doomed.condemn(7, "t", at_ms=100)
    doomed.condemn(7, "t", at_ms=500)
    doomed.condemn(7, "t", at_ms=50)
    assert list(doomed.next_ms()) == [50]


def test_what_was_asked_keeps_its_time_however_often_it_is_seen() -> None:
    doomed = Doomed()
    doomed.condemn(7, "t", at_ms=100)
    assert doomed.due(100) == ((7,), ())
    doomed.condemn(7, "t", at_ms=200)
    assert doomed.due(200) == ((), ())
    assert doomed.due(100 + AGAIN_MS) == ((), (7,))


def test_what_is_gone_is_asked_no_more() -> None:
    doomed = Doomed()
    for number in (1, 2, 3, 4):
        doomed.condemn(number, f"t{number}", at_ms=0)
    # One has ended, one is purged, one number was given to another job.
    doomed.hear({1: row(1, "t1"), 2: row(2, "t2", JobState.CANCELLED), 4: row(4, "other")})
    assert (1 in doomed, len(doomed)) == (True, 1)


def test_tags_are_remembered_within_bounds() -> None:
    doomed = Doomed()
    doomed.bury(*(f"t{number}" for number in range(KEPT + 10)))
    assert len(doomed.over) == KEPT
    assert doomed.is_over(f"t{KEPT + 9}")
    assert not doomed.is_over("t0")
