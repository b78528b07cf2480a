"""Numbers of jobs, and jobs that wait for an end of whatever kind."""

from __future__ import annotations

import pytest
from harness import Centre, member

from causeway.model.errors import NotFound
from causeway.model.jobs import JobState


def test_a_number_is_that_of_the_event_that_told_of_the_job(centre: Centre) -> None:
    made = centre.submit(member("a"), member("b"))
    alone = centre.one()
    for job_id in (made.id, *made.members, alone):
        job = centre.job(job_id)
        (event,) = centre.store.events(after=job.number - 1, limit=1)
        assert event.subject == job_id
        assert event.kind in ("job.submitted", "job.queued")


def test_numbers_are_unique_and_outlive_a_restart(centre: Centre) -> None:
    ids = [centre.one() for _ in range(3)]
    before = [centre.job(i).number for i in ids]
    centre.restart()
    after = [centre.job(i).number for i in (*ids, centre.one())]
    assert after[:3] == before
    assert len(set(after)) == 4
    assert after == sorted(after)


def test_members_know_the_number_of_their_group(centre: Centre) -> None:
    made = centre.submit(member("a"), member("b"))
    number = centre.job(made.id).number
    assert {centre.job(m).group_number for m in made.members} == {number}
    assert centre.job(made.id).group_number == 0


def test_an_island_is_told_the_numbers(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    assert island.taken().number == centre.job(job_id).number > 0


@pytest.mark.parametrize("how", ["succeeded", "failed", "cancelled"])
@pytest.mark.parametrize("early", [False, True])
def test_any_end_lets_a_job_that_comes_after_go(centre: Centre, how: str, early: bool) -> None:
    island = centre.island()
    first = centre.one()
    second = "" if early else centre.one(after=(first,))
    if how == "cancelled":
        centre.cancel(first)
    else:
        island.end(island.taken(), how)
    second = second or centre.one(after=(first,))
    assert centre.job(second).state in (JobState.QUEUED, JobState.PLACED)


def test_a_job_may_need_one_and_come_after_another(centre: Centre) -> None:
    needed, other = centre.one(), centre.one()
    job = centre.one(depends_on=(needed,), after=(other,))
    centre.cancel(other)
    assert centre.job(job).state is JobState.PENDING
    centre.cancel(needed)
    assert centre.job(job).state is JobState.FAILED


def test_a_job_cannot_come_after_another_projects_job(centre: Centre) -> None:
    theirs = centre.one(tenant="rival")
    with pytest.raises(NotFound):
        centre.one(after=(theirs,))
