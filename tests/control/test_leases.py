"""Islands that fall silent, return, give way, leave and join again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness import Centre, Island, member

from causeway.control import rounds
from causeway.model.errors import Conflict, NotFound, StaleFence, Unauthenticated
from causeway.model.islands import IslandState
from causeway.model.jobs import (
    AttemptState,
    CheckpointPolicy,
    JobState,
    OnDisconnect,
    StopIntent,
)
from causeway.model.parties import AccessRole
from causeway.model.protocol import AttemptReport


def with_engine(centre: Centre, engine: str) -> Island:
    island = centre.island()
    island.inventory = replace(island.inventory, engine=engine)
    island.sync()
    return island


def _state(centre: Centre, island: str) -> IslandState:
    return centre.plane.state.islands[island].state


def test_silence_makes_an_island_suspect_then_lost(centre: Centre) -> None:
    island = centre.island()
    assert _state(centre, island.id) is IslandState.LIVE
    centre.after(centre.settings.lease_ms)
    assert _state(centre, island.id) is IslandState.SUSPECT
    centre.after(centre.settings.skew_ms)
    assert _state(centre, island.id) is IslandState.LOST
    island.sync()
    assert _state(centre, island.id) is IslandState.LIVE
    assert centre.plane.state.islands[island.id].losses == 1


def test_work_is_placed_elsewhere_only_after_lease_and_skew(centre: Centre) -> None:
    cheap = centre.island("cheap", interruptions_per_day=0.0)
    job_id = centre.one()
    start = cheap.taken()
    cheap.running(start)
    other = centre.island("other")
    leased_ms = centre.clock.ms
    cheap.running(start)
    while not (starts := other.sync().start):
        # One side renews, the other is silent.
        centre.tick()
        assert centre.clock.ms - leased_ms < 10_000
    assert centre.clock.ms - leased_ms >= centre.settings.lease_ms + centre.settings.skew_ms
    assert starts[0].fence == 2
    attempts = centre.job(job_id).attempts
    assert [a.state for a in attempts] == [AttemptState.LOST, AttemptState.LEASED]

    # The first island returns and says that it was finished in the meantime.
    reply = cheap.end(start, "succeeded")
    assert [(r.job, r.fence) for r in reply.release] == [(job_id, 1)]
    assert centre.job(job_id).state is JobState.PLACED


def test_what_a_fenced_attempt_brings_is_refused(centre: Centre) -> None:
    island = centre.island()
    centre.one()
    start = island.taken()
    island.running(start)
    centre.after(10_000)
    with pytest.raises(StaleFence):
        island.checkpoint(start, 3)
    assert centre.shelf.artifacts == {}


def test_a_checkpoint_needs_the_islands_signature(centre: Centre) -> None:
    island = centre.island()
    centre.one()
    start = island.taken()
    island.running(start)
    with pytest.raises(Unauthenticated, match="not signed"):
        island.checkpoint(start, 3, forged=True)


def test_an_older_checkpoint_never_replaces_a_newer_one(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    start = island.taken()
    island.running(start)
    island.checkpoint(start, 9)
    island.checkpoint(start, 4)
    found = centre.job(job_id).checkpoint
    assert found is not None
    assert found.step == 9


def test_a_job_that_waits_stays_with_its_island(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one(on_disconnect=OnDisconnect.WAIT)
    start = island.taken()
    assert start.deadline_stop is False
    report = island.running(start)
    centre.after(60_000)
    assert centre.job(job_id).state is JobState.DISCONNECTED
    island.sync(report)
    job = centre.job(job_id)
    assert (job.state, job.fence) == (JobState.RUNNING, 1)


@pytest.mark.parametrize(
    ("engine", "saves", "said", "state"),
    [
        ("local", False, None, JobState.QUEUED),
        ("slurm", True, None, JobState.QUEUED),
        ("slurm", False, None, JobState.DISCONNECTED),
        ("slurm", False, OnDisconnect.MOVE, JobState.QUEUED),
        ("local", True, OnDisconnect.WAIT, JobState.DISCONNECTED),
    ],
)
def test_who_does_not_say_moves_unless_an_outside_engine_runs_it_without_checkpoints(
    centre: Centre, engine: str, saves: bool, said: OnDisconnect | None, state: JobState
) -> None:
    island = with_engine(centre, engine)
    job_id = centre.one(on_disconnect=said, checkpoint=CheckpointPolicy() if saves else None)
    start = island.taken()
    assert start.deadline_stop is (state is JobState.QUEUED)
    # Agents one version behind know only jobs that say it.
    assert start.spec.on_disconnect is not None
    island.running(start)
    centre.after(60_000)
    job = centre.job(job_id)
    assert job.state is state
    if state is JobState.DISCONNECTED:
        (reason,) = job.reasons
        assert ("asked to wait" in reason.message) is (said is not None)


def test_what_was_decided_at_placement_holds_though_the_island_changes(centre: Centre) -> None:
    """Its agent was told so; a centre that thought otherwise would run the job twice."""
    island = with_engine(centre, "slurm")
    job_id = centre.one()
    report = island.running(island.taken())
    island.inventory = replace(island.inventory, engine="local")
    island.sync(report)
    centre.after(60_000)
    assert centre.job(job_id).state is JobState.DISCONNECTED


def test_a_returned_island_that_may_not_have_heard_of_a_lease_is_told_again(
    centre: Centre,
) -> None:
    """The answer that carried the start may still be on its way: a new attempt would be a second
    one beside it."""
    island = centre.island()
    job_id = centre.one(on_disconnect=OnDisconnect.WAIT)
    island.taken()
    centre.after(60_000)
    assert centre.job(job_id).state is JobState.DISCONNECTED
    (start,) = island.sync().start
    assert (start.job, start.fence) == (job_id, 1)
    island.running(start)
    assert centre.job(job_id).state is JobState.RUNNING
    assert len(centre.job(job_id).attempts) == 1


def test_a_person_may_declare_a_cut_off_island_lost(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one(on_disconnect=OnDisconnect.WAIT)
    start = island.taken()
    island.running(start)
    centre.after(10_000)
    centre.run(lambda tx: rounds.declare_lost(tx, island.id, "ada"))
    assert centre.job(job_id).state is JobState.QUEUED


def test_a_more_important_job_takes_the_place_of_a_lesser_one(centre: Centre) -> None:
    island = centre.island(cpu_milli=1_000)
    small = centre.one()
    start = island.taken()
    report = island.running(start)
    urgent = centre.one(priority=50)
    centre.after(1_500)
    (stop,) = island.sync(report).stop
    assert (stop.job, stop.intent) == (small, StopIntent.PREEMPT)
    island.end(start, "stopped")
    assert centre.job(small).state is JobState.QUEUED
    assert centre.job(small).failures == {"preemption": 1}
    assert "gives way" in centre.job(small).attempts[0].message
    promised = centre.job(urgent).promised
    assert promised == centre.job(small).attempts[0].pool, "room was made for it, and is its own"
    assert centre.job(urgent).reasons, "whoever waits is told why"
    centre.after(1_500)
    assert [one.job for one in island.sync().start] == [urgent]
    assert centre.job(urgent).promised == ""


def test_a_drained_island_gives_its_work_back_and_takes_none(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    start = island.taken()
    report = island.running(start)
    centre.run(lambda tx: rounds.drain(tx, island.id, "ada"))
    reply = island.sync(report)
    assert reply.draining
    assert [stop.intent for stop in reply.stop] == [StopIntent.DRAIN]
    island.end(start, "stopped")
    centre.after(2_000)
    assert island.sync().start == ()
    assert centre.job(job_id).state is JobState.QUEUED


def test_reclaimed_spot_capacity_moves_its_work(centre: Centre) -> None:
    island = centre.island()
    centre.one()
    start = island.taken()
    report = island.running(start)
    (stop,) = island.sync(report, reclaim=True).stop
    assert stop.intent is StopIntent.PREEMPT


def test_an_island_that_leaves_gives_everything_back(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    island.running(island.taken())
    island.sync(leaving=True)
    assert _state(centre, island.id) is IslandState.LEFT
    assert centre.job(job_id).state is JobState.QUEUED
    centre.after(10_000)
    assert _state(centre, island.id) is IslandState.LEFT


def test_a_refusal_by_the_owner_looks_for_another_island(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    start = island.taken()
    island.sync(AttemptReport(job=start.job, fence=1, phase="refused", message="no secrets here"))
    job = centre.job(job_id)
    assert job.state is JobState.QUEUED
    assert job.attempts[0].state is AttemptState.REFUSED
    assert job.attempts[0].message == "no secrets here"


def test_a_gang_is_placed_whole_or_not_at_all(centre: Centre) -> None:
    centre.island("one", cpu_milli=2_000)
    centre.island("two", cpu_milli=2_000)
    job_id = centre.one(num_nodes=4)
    centre.after(2_000)
    assert centre.job(job_id).state is JobState.QUEUED
    assert all(not held for held in centre.plane.state.held.values())


# -- joining --------------------------------------------------------------------------------


def test_a_join_token_lets_one_island_in(centre: Centre) -> None:
    token = centre.token("ops", AccessRole.OPERATOR, join_uses=1).secret
    island = centre.island("first")
    fresh = replace_island(island, "second")
    fresh.join(token)
    with pytest.raises(Unauthenticated, match="join token"):
        replace_island(island, "third").join(token)
    assert len(centre.plane.state.islands) == 2


def replace_island(island: Island, name: str) -> Island:
    """Return another island, with a key of its own, that has not joined."""
    return replace(
        island,
        key=Ed25519PrivateKey.generate(),
        profile=replace(island.profile, name=name),
        id="",
        token="",
        seq=0,
    )


def test_an_expired_or_revoked_join_token_lets_nobody_in(centre: Centre) -> None:
    from causeway.control import tenancy

    island = centre.island("first")
    soon = centre.clock.ms + 1_000
    expiring = centre.token("ops", AccessRole.OPERATOR, join_uses=5, expires_ms=soon).secret
    revoked = centre.token("ops", AccessRole.OPERATOR, join_uses=5)
    operator = centre.caller("ops", AccessRole.OPERATOR)
    centre.run(lambda tx: tenancy.revoke_token(tx, operator, revoked.id))
    centre.clock.ms += 1_000
    for secret in (expiring, revoked.secret, "", "cwj_x_y", centre.token().secret):
        with pytest.raises(Unauthenticated):
            replace_island(island, "second").join(secret)


def test_a_known_key_joins_again_with_its_identity_and_without_a_token(centre: Centre) -> None:
    island = centre.island()
    first = island.id
    island.sync(leaving=True)
    assert island.join("").island == first
    island.open()
    island.sync()
    assert _state(centre, first) is IslandState.LIVE


def test_a_name_that_is_taken_is_a_conflict(centre: Centre) -> None:
    island = centre.island()
    token = centre.token("ops", AccessRole.OPERATOR, join_uses=1).secret
    with pytest.raises(Conflict, match="another island"):
        replace_island(island, "alba").join(token)


def test_a_newer_session_ends_the_older(centre: Centre) -> None:
    island = centre.island()
    old, number = island.token, island.open()
    assert number == 2
    island.token = old
    with pytest.raises(Unauthenticated):
        island.sync()


def test_a_session_needs_the_islands_key_and_clock(centre: Centre) -> None:
    island = centre.island()
    with pytest.raises(Unauthenticated, match="signature"):
        island.open(key=Ed25519PrivateKey.generate())
    with pytest.raises(Unauthenticated, match="clock"):
        island.open(at_ms=centre.clock.ms - 300_001)
    island.id = "urn:cpi:causeway.local:island:nobody"
    with pytest.raises(NotFound):
        island.open()


def test_a_restart_does_not_make_a_lost_islands_figures_younger(centre: Centre) -> None:
    island = centre.island()
    heard_ms = centre.plane.state.islands[island.id].heard_ms
    centre.after(20_000)
    assert _state(centre, island.id) is IslandState.LOST
    centre.restart()
    assert centre.plane.state.islands[island.id].heard_ms == heard_ms


def test_a_restart_keeps_everything_that_was_acknowledged(centre: Centre) -> None:
    island = centre.island()
    running = centre.one()
    report = island.running(island.taken())
    queued = [centre.one(priority=-5, num_nodes=64) for _ in range(3)]
    group = centre.submit(member("a", num_nodes=64), member("b", needs=("a",), num_nodes=64))
    before = {**centre.plane.state.jobs}
    tokens = dict(centre.plane.state.tokens)

    centre.restart()

    state = centre.plane.state
    assert {job: value.state for job, value in state.jobs.items()} == {
        job: value.state for job, value in before.items()
    }
    assert set(queued) <= set(state.queue)
    assert state.tokens == tokens
    assert state.open_members == {group.id: 2}
    assert state.jobs[running].state is JobState.RUNNING
    # Sessions die with the process: the agent opens a new one and goes on.
    with pytest.raises(Unauthenticated):
        island.sync(report)
    island.open()
    assert island.sync(report).release == ()
    centre.after(2_000)
    island.sync(report)
    assert centre.job(running).fence == 1
