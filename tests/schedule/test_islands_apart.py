"""A job over several islands: its members never meet on one, and each says so while it waits."""

from __future__ import annotations

from collections import Counter

from fleet_for_tests import always, pool, running, snapshot, waiting
from hypothesis import given, settings
from hypothesis import strategies as st

from causeway import schedule
from causeway.model.fleet import WaitingJob
from causeway.model.islands import OwnerPolicy
from causeway.model.reasons import Token


def members(group: str, count: int, **more: object) -> tuple[WaitingJob, ...]:
    return tuple(
        waiting(f"{group}-{i}", group=group, islands=count, array_index=i, **more)
        for i in range(count)
    )


def where(*pools: object, jobs: tuple[WaitingJob, ...], **more: object) -> dict[str, str]:
    plan = schedule.plan(snapshot(*pools, jobs=jobs, **more), matches=always)
    return {place.job: place.island.rpartition(":")[2] for place in plan.places}


def test_members_of_one_round_go_to_different_islands() -> None:
    assert where(pool("a", 64), pool("b", 64, usd="9"), jobs=members("w", 2)) == {
        "w-0": "a",
        "w-1": "b",
    }


def test_other_jobs_of_the_same_size_stay_together() -> None:
    alike = tuple(waiting(f"j{i}", group="g", array_index=i) for i in range(2))
    assert set(where(pool("a"), pool("b", usd="9"), jobs=alike).values()) == {"a"}


def test_two_groups_do_not_keep_each_other_away() -> None:
    found = where(pool("a", 64), pool("b", 64, usd="9"), jobs=(*members("v", 2), *members("w", 2)))
    assert found == {"v-0": "a", "v-1": "b", "w-0": "a", "w-1": "b"}


def test_a_member_that_comes_back_avoids_the_one_that_runs() -> None:
    there = running("w-0", "a", group="w", islands=2)
    found = where(pool("a"), pool("b", usd="9"), jobs=members("w", 2)[1:], running=(there,))
    assert found == {"w-1": "b"}


def test_one_that_is_stopping_still_holds_its_island() -> None:
    there = running("w-0", "a", group="w", islands=2, stopping=True)
    assert where(pool("a"), jobs=members("w", 2)[1:], running=(there,)) == {}


def test_a_member_without_an_island_waits_and_says_why() -> None:
    picture = snapshot(pool("a"), jobs=members("w", 2))
    (wait,) = schedule.plan(picture, matches=always).waits
    assert wait.job == "w-1"
    (reason,) = wait.reasons
    assert (reason.token, reason.waiting_helps) == (Token.SIBLING, True)
    assert "Another member of its group is on a" in reason.message
    told = schedule.explain(picture, "w-1", matches=always)
    assert told.outlook is schedule.Outlook.WOULD_WAIT
    assert Token.SIBLING in {reason.token for reason in told.reasons}


def test_no_room_is_made_for_a_member_where_its_sibling_is() -> None:
    there = running("w-0", "a", 4, group="w", islands=2)
    small = running("other", "a", 4)
    (asked, *_) = members("w", 2, cores=4, priority=50)[1:]
    picture = snapshot(pool("a", 8), jobs=(asked,), running=(there, small))
    assert schedule.plan(picture, matches=always).preempts == ()


def test_two_members_are_not_promised_room_on_one_island() -> None:
    """Both could have what stops on the first island; the second asks for room on the other."""
    leaving = tuple(running(f"old{i}", "a", 4, stopping=True) for i in range(2))
    held = running("low", "b", 8, priority=-5)
    picture = snapshot(
        pool("a", 8), pool("b", 8), jobs=members("w", 2, cores=4), running=(*leaving, held)
    )
    plan = schedule.plan(picture, matches=always)
    assert [victim.job for victim in plan.preempts] == ["low"]


def test_an_owner_who_takes_no_secrets_takes_no_member() -> None:
    closed = pool("a", policy=OwnerPolicy(allow_secrets=False))
    assert where(closed, pool("b", usd="9"), jobs=members("w", 2)) == {"w-0": "b"}


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(2, 4), min_size=1, max_size=4),
    cores=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    there=st.lists(st.integers(0, 4), max_size=3, unique=True),
)
def test_whatever_the_fleet_no_two_members_meet(
    sizes: list[int], cores: list[int], there: list[int]
) -> None:
    pools = [pool(f"p{i}", count) for i, count in enumerate(cores)]
    held = tuple(
        running(f"g0-held{n}", f"p{n}", group="g0", islands=4) for n in there if n < len(pools)
    )
    jobs = tuple(job for i, size in enumerate(sizes) for job in members(f"g{i}", size))
    plan = schedule.plan(snapshot(*pools, jobs=jobs, running=held), matches=always)
    seen = Counter((place.job.partition("-")[0], place.island) for place in plan.places)
    seen.update((job.group, job.pool.replace(":pool:", ":island:")) for job in held)
    assert max(seen.values(), default=0) <= 1
    assert len(plan.places) + len(plan.waits) == len(jobs)
