"""The store refuses, or cannot say: nothing acknowledged is lost, nothing refused stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness import Centre, ticks

from causeway.control.state import State, Tx
from causeway.model.errors import Conflict, InvalidInput, Unavailable
from causeway.model.jobs import JobState
from causeway.model.protocol import AttemptReport, ProgressPoint, SyncRequest
from causeway.ports.store import Batch


def _fails(batch: Batch) -> None:
    raise Unavailable("the disk is full (injected)")


def _once(centre: Centre, where: str) -> None:
    """Let the next commit fail, before or after it is written."""

    def fail(batch: Batch) -> None:
        setattr(centre.store, where, None)
        _fails(batch)

    setattr(centre.store, where, fail)


def _same_as_reloaded(centre: Centre) -> None:
    state = centre.plane.state
    fresh = State.of(centre.store.load())
    for name in ("jobs", "tenants", "tokens", "secrets", "next_event", "queue", "dependants"):
        assert getattr(state, name) == getattr(fresh, name), name
    assert {k: v for k, v in state.open_members.items() if v} == fresh.open_members
    assert {k: v for k, v in state.held.items() if v} == fresh.held
    assert set(state.islands) == set(fresh.islands)


def test_a_commit_that_failed_before_writing_leaves_no_trace(centre: Centre) -> None:
    kept = centre.one()
    _once(centre, "before_commit")
    with pytest.raises(Unavailable, match="disk is full") as caught:
        centre.one()
    assert caught.value.hint
    assert set(centre.plane.state.jobs) == {kept}
    _same_as_reloaded(centre)
    again = centre.one()
    assert set(centre.plane.state.jobs) == {kept, again}
    _same_as_reloaded(centre)


def test_a_commit_of_unknown_outcome_is_found_again_by_its_key(centre: Centre) -> None:
    from harness import member

    centre.caller()
    _once(centre, "after_commit")
    with pytest.raises(Unavailable):
        centre.submit(member("a"), key="k")
    assert len(centre.shelf.jobs) == 1
    _same_as_reloaded(centre)
    again = centre.submit(member("a"), key="k")
    assert again.repeated
    assert list(centre.shelf.jobs) == [again.id]


@pytest.mark.parametrize("where", ["before_commit", "after_commit"])
def test_an_end_whose_commit_fails_is_taken_when_it_is_said_again(
    centre: Centre, where: str
) -> None:
    island = centre.island()
    job_id = centre.one()
    start = island.taken()
    island.running(start)
    centre.clock.ms += 2_000
    _once(centre, where)
    with pytest.raises(Unavailable):
        island.end(start, ticks=ticks(start, (0, 1_000)))
    _same_as_reloaded(centre)
    island.end(start, ticks=ticks(start, (0, 1_000)))
    assert centre.job(job_id).state is JobState.SUCCEEDED
    assert len(centre.store.ticks(job_id)) == 1
    assert len(centre.store.transactions(subject=job_id)) == 1
    assert sum(centre.store.balances().values()) == 0


def test_everybody_in_the_group_is_told(centre: Centre) -> None:
    def fine(tx: Tx) -> int:
        tx.fact("test.said", "x")
        return 1

    def refused(tx: Tx) -> int:
        raise Conflict("of its own")

    _once(centre, "before_commit")
    errors = [outcome.error for outcome in centre.plane.run([fine, refused, fine])]
    assert [type(error) for error in errors] == [Unavailable, Conflict, Unavailable]


def test_a_defect_in_one_command_hurts_nobody_else(centre: Centre) -> None:
    def broken(tx: Tx) -> int:
        tx.fact("test.half", "x")
        raise ZeroDivisionError

    def fine(tx: Tx) -> int:
        tx.fact("test.said", "x")
        return 1

    broken_, fine_ = centre.plane.run([broken, fine])
    assert isinstance(broken_.error, ZeroDivisionError)
    assert fine_.get() == 1
    assert centre.kinds("x") == ["test.said"]


def test_what_can_never_be_stored_is_refused_to_its_own_sender_alone(centre: Centre) -> None:
    island = centre.island()
    centre.one()
    start = island.taken()
    island.seq += 1
    request = SyncRequest(
        seq=island.seq,
        reports=(AttemptReport(job=start.job, fence=start.fence, phase="running"),),
    )

    def poison(tx: Tx) -> None:
        tx.fact("test.poison", "x\0")

    def sync(tx: Tx) -> object:
        from causeway.control import agents

        session = agents.session_of(tx.state, island.token)
        return agents.sync(tx, session, request, centre.settings)

    bad, good = centre.plane.run([poison, sync])
    assert isinstance(bad.error, InvalidInput)
    good.get()
    assert centre.job(start.job).state is JobState.RUNNING
    assert centre.plane.leading


def test_a_new_leader_fences_the_old_one(centre: Centre) -> None:
    old = centre.plane
    centre.one()
    centre.restart()
    centre.caller("rival")
    (outcome,) = old.run([lambda tx: tx.fact("test.late", "x")])
    assert isinstance(outcome.error, Unavailable)
    assert not old.leading
    assert centre.kinds("x") == []


@pytest.mark.parametrize(
    ("report", "place"),
    [
        ({"last_step": 2**70}, "last_step"),
        ({"last_step": -2}, "last_step"),
        ({"elapsed_ms": -1}, "elapsed_ms"),
        ({"exit_code": 2**40}, "exit_code"),
        ({"restarts": 10**12}, "restarts"),
        ({"fence": -1}, "fence"),
        ({"isolation": "x" * 5_000}, "isolation"),
        ({"progress": (ProgressPoint(step=2**63, at_ms=0),)}, "progress.step"),
        ({"progress": (ProgressPoint(step=1, at_ms=0),) * 201}, "progress"),
        (
            {
                "progress": (
                    ProgressPoint(step=1, at_ms=0, values={str(i): 1.0 for i in range(17)}),
                )
            },
            "progress.values",
        ),
        ({"outputs": {str(i): "x" for i in range(1_001)}}, "outputs"),
    ],
)
def test_absurd_claims_are_refused_with_their_place(
    centre: Centre, report: dict[str, object], place: str
) -> None:
    island = centre.island()
    centre.one()
    start = island.taken()
    fine = AttemptReport(job=start.job, fence=start.fence, phase="running")
    before = centre.job(start.job)
    with pytest.raises(InvalidInput) as caught:
        island.sync(replace(fine, **report))
    assert caught.value.where.endswith(place)
    assert centre.job(start.job) == before
    island.sync(fine)
    assert centre.job(start.job).state is JobState.RUNNING


def test_absurd_ticks_are_refused(centre: Centre) -> None:
    island = centre.island()
    centre.one()
    start = island.taken()
    with pytest.raises(InvalidInput, match="whole number"):
        island.running(start, ticks=ticks(start, (0, 2**80)))


def test_an_inventory_of_less_than_nothing_is_refused(centre: Centre) -> None:
    from causeway.model.resources import Capacity

    island = centre.island()
    with pytest.raises(InvalidInput, match="whole number"):
        island.sync(inventory=replace(island.inventory, capacity=Capacity(cpu_milli=-1)))


def test_a_version_that_an_agent_knows_never_comes_again_with_other_news(centre: Centre) -> None:
    island = centre.island()
    known = island.sync().version
    _once(centre, "before_commit")
    with pytest.raises(Unavailable):
        centre.one()
    assert island.sync().version != known


@pytest.mark.parametrize("where", ["before_commit", "after_commit"])
def test_an_older_sync_is_not_believed_after_one_of_unknown_outcome(
    centre: Centre, where: str
) -> None:
    island = centre.island()
    job_id = centre.one()
    start = island.taken()
    # Sent before the start arrived, so it names no attempt; it is still on its way.
    island.seq += 1
    older = SyncRequest(seq=island.seq)
    _once(centre, where)
    with pytest.raises(Unavailable):
        island.running(start)
    with pytest.raises(Conflict, match="overtaken"):
        island.say(older)
    island.running(start)
    assert centre.job(job_id).state is JobState.RUNNING
    assert centre.job(job_id).fence == start.fence
