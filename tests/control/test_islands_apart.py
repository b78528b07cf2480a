"""A job over several islands at the control plane: placed and moved apart, in lines of its own."""

from __future__ import annotations

from harness import Centre, member

from causeway.control.plane import LINE_SEEN
from causeway.control.settings import Settings
from causeway.model.jobs import HOLDS_LEASE, JobState, Member
from causeway.model.resources import Resources

SMALL = Resources(cpu_milli=1, memory_bytes=1)


def wide(count: int, name: str = "wide") -> tuple[Member, ...]:
    return tuple(
        member(f"{name}-{i}", resources=SMALL, islands=count, array_index=i) for i in range(count)
    )


def places(centre: Centre, jobs: tuple[str, ...]) -> list[str]:
    found = (centre.job(job_id) for job_id in jobs)
    return [
        job.attempts[-1].island.rpartition(":")[2] if job.state in HOLDS_LEASE else ""
        for job in found
    ]


def test_members_hold_islands_of_their_own(centre: Centre) -> None:
    centre.island("alba")
    jobs = centre.submit(*wide(2)).members
    centre.after(1_000)
    assert sorted(places(centre, jobs)) == ["", "alba"]
    centre.island("boreal")
    centre.after(1_000)
    assert sorted(places(centre, jobs)) == ["alba", "boreal"]


def test_a_lost_member_is_not_placed_with_its_sibling(centre: Centre) -> None:
    alba, boreal = centre.island("alba"), centre.island("boreal")
    jobs = centre.submit(*wide(2)).members
    centre.after(1_000)
    settings = Settings()
    gone = places(centre, jobs).index("boreal")
    for _ in range(2 * (settings.lease_ms + settings.skew_ms) // 500):
        alba.sync()
        centre.after(500)
    assert places(centre, jobs)[gone] == ""
    assert places(centre, jobs)[1 - gone] == "alba"
    reasons = centre.plane.state.jobs[jobs[gone]].reasons
    assert "sibling" in [reason.token.value for reason in reasons]
    boreal.open()
    boreal.sync()
    centre.after(1_000)
    assert places(centre, jobs)[gone] == "boreal"


def test_one_that_waits_for_an_island_hides_no_other_group(centre: Centre) -> None:
    centre.island("alba", cpu_milli=1_000_000)
    # The first round looks at everything; those that follow within the second do not.
    centre.after(Settings().retry_round_ms)
    centre.one(resources=SMALL)
    centre.after(5)
    centre.submit(*wide(LINE_SEEN * 2))
    other = centre.submit(*wide(2, "other")).members
    centre.after(5)
    assert [centre.job(job_id).state for job_id in other] == [JobState.PLACED, JobState.QUEUED]
