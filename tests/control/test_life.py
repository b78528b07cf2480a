"""A job's way through the core: submitted, placed, run, ended, stopped, repeated, grouped."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from harness import Centre, Island, balances, member, ticks

from causeway.control import keeping, submit
from causeway.control.settings import Settings
from causeway.model.artifacts import Artifact
from causeway.model.errors import Conflict, InvalidInput, NotFound, QuotaExceeded, Refused
from causeway.model.jobs import FailureClass, JobState, RetryPolicy, StopIntent, Submission
from causeway.model.parties import AccessRole, Tenant
from causeway.model.protocol import AttemptReport, StartCommand
from causeway.model.reasons import Token

ENDS = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


def test_a_job_goes_from_submission_to_a_balanced_bill(centre: Centre) -> None:
    island = centre.island(price_per_device_h=Decimal("3.6"))
    job_id = centre.one()
    start = island.taken()
    assert (start.job, start.fence, start.tenant) == (job_id, 1, "acme")
    island.running(start)
    centre.clock.ms += 10_000
    island.end(start, ticks=ticks(start, (0, 10_000), energy_mj=50_000), outputs={"m": "sha256:1"})

    job = centre.job(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.outputs == {"m": "sha256:1"}
    assert centre.kinds(job_id) == [
        "job.queued",
        "job.placed",
        "job.starting",
        "job.running",
        "usage.settled",
        "job.succeeded",
    ]
    # 10 s of one device at 3.6 an hour is 0.01.
    sums = balances(centre)
    assert sums["receivable:acme", "USD"] == 10_000
    assert sum(sums.values()) == 0
    assert centre.plane.state.tenants["acme"].spent_micros == 10_000
    assert centre.plane.state.used[job.attempts[0].pool].cpu_milli == 0


def test_a_start_is_repeated_until_a_report_shows_that_it_arrived(centre: Centre) -> None:
    island = centre.island()
    centre.one()
    start = island.taken()
    assert island.sync().start == (start,)
    assert island.sync(AttemptReport(job=start.job, fence=1, phase="starting")).start == ()


# -- idempotency ----------------------------------------------------------------------------


def test_the_same_key_and_body_is_the_same_job(centre: Centre) -> None:
    first = centre.submit(member("a"), key="k")
    again = centre.submit(member("a"), key="k")
    assert (again.id, again.repeated) == (first.id, True)
    assert len(centre.shelf.jobs) == 1


def test_the_same_key_with_another_body_is_a_conflict(centre: Centre) -> None:
    centre.submit(member("a"), key="k")
    with pytest.raises(Conflict, match="another body"):
        centre.submit(member("b"), key="k")


def test_keys_of_other_projects_are_their_own(centre: Centre) -> None:
    ours = centre.submit(member("a"), key="k")
    theirs = centre.submit(member("a"), key="k", tenant="rival")
    assert ours.id != theirs.id


@pytest.mark.parametrize("together", [True, False])
def test_a_key_that_two_requests_carry_at_once_makes_one_job(
    centre: Centre, together: bool
) -> None:
    """Both looked the key up before either was durable, as two connections do."""
    caller = centre.caller()
    wish = Submission(name="a", members=(member("a"),))

    def command(tx: submit.Tx) -> submit.Submitted:
        return submit.submit(
            tx,
            caller,
            wish,
            key="k",
            known_key=None,
            entropy=centre.plane.entropy,
            settings=centre.settings,
        )

    if together:
        first, second = (one.get() for one in centre.plane.run([command, command]))
    else:
        first, second = centre.run(command), centre.run(command)
    assert second.repeated
    assert first.id == second.id
    assert len(centre.shelf.jobs) == 1


# -- fences ---------------------------------------------------------------------------------


def test_a_report_under_an_old_fence_changes_nothing_and_is_released(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    old = island.taken()
    island.running(old)
    island.sync()  # It no longer mentions the attempt: an engine failure, so it is placed again.
    assert centre.job(job_id).state is JobState.QUEUED
    centre.after(2_000)
    (fresh,) = island.sync().start
    assert fresh.fence == 2
    before = centre.job(job_id)

    late = AttemptReport(
        job=job_id, fence=1, phase="succeeded", final=True, ticks=ticks(old, (0, 500))
    )
    reply = island.sync(late)

    assert [(one.job, one.fence) for one in reply.release] == [(job_id, 1)]
    assert reply.acks == ()
    assert centre.job(job_id) == before
    assert centre.store.ticks(job_id) == []


def test_an_island_cannot_report_on_what_another_one_runs(centre: Centre) -> None:
    island = centre.island("alba")
    job_id = centre.one()
    start = island.taken()
    island.running(start)
    before = centre.job(job_id)
    thief = centre.island("thief")
    reply = thief.sync(AttemptReport(job=job_id, fence=1, phase="succeeded", final=True))
    assert [one.fence for one in reply.release] == [1]
    assert centre.job(job_id) == before


def test_a_report_on_an_unknown_job_is_released(centre: Centre) -> None:
    island = centre.island()
    (release,) = island.sync(AttemptReport(job="urn:nothing", fence=7, phase="running")).release
    assert release.fence == 7


def test_an_overtaken_sync_is_refused(centre: Centre) -> None:
    island = centre.island()
    island.sync()
    island.seq -= 1
    with pytest.raises(Conflict, match="overtaken"):
        island.sync()


# -- cancel ---------------------------------------------------------------------------------


def test_cancel_of_a_queued_job_is_at_once(centre: Centre) -> None:
    job_id = centre.one()
    assert centre.cancel(job_id).state is JobState.CANCELLED
    assert centre.plane.state.queue == {}


def test_cancel_of_a_placed_job_that_the_island_never_saw(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    centre.tick()
    assert centre.cancel(job_id).state is JobState.STOPPING
    told = island.sync()
    assert told.start == ()
    assert [(stop.job, stop.fence) for stop in told.stop] == [(job_id, 1)]
    # An earlier answer may still bring the start; only one that was handled rules that out.
    assert centre.job(job_id).state is JobState.STOPPING
    island.sync(known=told.version)
    assert centre.job(job_id).state is JobState.CANCELLED


@pytest.mark.parametrize("phase", ["starting", "running"])
def test_cancel_of_what_runs_stops_it_and_bills_what_was_used(centre: Centre, phase: str) -> None:
    island = centre.island()
    job_id = centre.one()
    start = island.taken()
    report = AttemptReport(job=job_id, fence=1, phase=phase)
    island.sync(report)
    centre.clock.ms += 1_000
    assert centre.cancel(job_id).state is JobState.STOPPING
    (stop,) = island.sync(report).stop
    assert stop.intent is StopIntent.CANCEL
    island.end(start, "stopped", ticks=ticks(start, (0, 1_000)))
    job = centre.job(job_id)
    assert job.state is JobState.CANCELLED
    assert job.attempts[0].billed_micros > 0


def test_cancel_of_a_disconnected_job_ends_when_its_island_is_lost_for_good(
    centre: Centre,
) -> None:
    from causeway.control import rounds
    from causeway.model.jobs import OnDisconnect

    island = centre.island()
    job_id = centre.one(on_disconnect=OnDisconnect.WAIT)
    start = island.taken()
    island.running(start)
    centre.after(10_000)
    assert centre.job(job_id).state is JobState.DISCONNECTED
    assert centre.cancel(job_id).state is JobState.STOPPING
    centre.run(lambda tx: rounds.declare_lost(tx, island.id, "ada"))
    assert centre.job(job_id).state is JobState.CANCELLED


def test_cancel_of_an_ended_job_changes_nothing(centre: Centre) -> None:
    job_id = centre.one()
    centre.cancel(job_id)
    events = centre.kinds(job_id)
    assert centre.cancel(job_id).state is JobState.CANCELLED
    assert centre.kinds(job_id) == events


def test_cancel_of_a_pending_job(centre: Centre) -> None:
    made = centre.submit(member("a"), member("b", needs=("a",)))
    pending = next(m for m in made.members if centre.job(m).state is JobState.PENDING)
    assert centre.cancel(pending).state is JobState.CANCELLED


def test_a_viewer_may_neither_submit_nor_cancel(centre: Centre) -> None:
    job_id = centre.one()
    viewer = centre.caller("acme", AccessRole.VIEWER)
    with pytest.raises(Refused, match="viewer"):
        centre.run(lambda tx: submit.cancel(tx, viewer, job_id))


def test_another_projects_job_does_not_exist(centre: Centre) -> None:
    job_id = centre.one()
    with pytest.raises(NotFound):
        centre.cancel(job_id, tenant="rival")
    assert centre.job(job_id).state is JobState.QUEUED


# -- arrays and DAGs ------------------------------------------------------------------------


def _run_all(centre: Centre, island: Island, *, failing: str = "") -> None:
    for _ in range(20):
        centre.after(2_000)
        starts = island.sync().start
        if not starts:
            return
        for start in starts:
            phase = "failed" if start.spec.name == failing else "succeeded"
            failure = FailureClass.USER if phase == "failed" else None
            island.sync(
                *(_report(one) for one in starts if one != start),
                AttemptReport(
                    job=start.job, fence=start.fence, phase=phase, failure=failure, final=True
                ),
            )
            starts = tuple(one for one in starts if one != start)


def _report(start: StartCommand) -> AttemptReport:
    return AttemptReport(job=start.job, fence=start.fence, phase="starting")


def test_an_array_ends_when_its_last_member_ends(centre: Centre) -> None:
    island = centre.island()
    made = centre.submit(*(member(f"a-{i}", array_index=i) for i in range(6)))
    assert made.id not in made.members
    _run_all(centre, island)
    assert {centre.job(m).state for m in made.members} == {JobState.SUCCEEDED}
    assert centre.job(made.id).state is JobState.SUCCEEDED
    assert centre.plane.state.jobs == {}


def test_at_most_so_many_of_an_array_run_at_once(centre: Centre) -> None:
    island = centre.island()
    made = centre.submit(*(member(f"a-{i}", array_index=i) for i in range(7)), at_once=2)
    free = centre.one()
    most = 0
    for _ in range(20):
        centre.after(2_000)
        state = centre.plane.state
        held = [job for ids in state.held.values() for job in ids]
        most = max(most, sum(job in made.members for job in held))
        assert most <= 2
        waiting = [state.jobs[job] for job in made.members if job in state.queue]
        assert {job.reasons[0].token for job in waiting} <= {Token.ARRAY_LIMIT}
        starts = island.sync().start
        if starts:
            island.end(starts[0])
    assert most == 2
    assert {centre.job(m).state for m in made.members} == {JobState.SUCCEEDED}
    assert centre.job(free).state is JobState.SUCCEEDED


def test_a_dag_runs_in_order(centre: Centre) -> None:
    island = centre.island()
    made = centre.submit(member("a"), member("b", needs=("a",)), member("c", needs=("a", "b")))
    ids = dict(zip("abc", made.members, strict=True))
    _run_all(centre, island)
    ended = [centre.job(ids[name]).ended_ms for name in "abc"]
    assert ended == sorted(ended)
    assert len(set(ended)) == 3
    assert centre.job(made.id).state is JobState.SUCCEEDED


def test_a_failed_member_fails_what_needs_it_and_the_group(centre: Centre) -> None:
    island = centre.island()
    made = centre.submit(
        member("a"), member("b", needs=("a",)), member("c", needs=("b",)), member("d")
    )
    _run_all(centre, island, failing="a")
    states = [centre.job(m).state.value for m in made.members]
    assert states == ["failed", "failed", "failed", "succeeded"]
    group = centre.job(made.id)
    assert group.state is JobState.FAILED
    assert "3 of 4" in group.reasons[0].message
    assert "which it needs" in centre.job(made.members[1]).reasons[0].message


def test_a_cancelled_group_is_cancelled_whole(centre: Centre) -> None:
    made = centre.submit(
        member("a"), member("b", needs=("a",)), member("c", needs=("b",)), member("d")
    )
    centre.cancel(made.id)
    assert {centre.job(m).state for m in made.members} == {JobState.CANCELLED}
    assert centre.job(made.id).state is JobState.CANCELLED
    assert centre.plane.state.jobs == {}
    assert centre.plane.state.dependants == {}


def test_a_cancelled_group_whose_member_runs_waits_for_it(centre: Centre) -> None:
    island = centre.island(cpu_milli=1_000)
    made = centre.submit(member("a"), member("b", needs=("a",)))
    start = island.taken()
    island.running(start)
    assert centre.cancel(made.id).state is JobState.PENDING
    island.end(start, "stopped")
    assert {centre.job(m).state for m in made.members} == {JobState.CANCELLED}
    assert centre.job(made.id).state is JobState.CANCELLED


@pytest.mark.parametrize("restarted", [False, True])
def test_a_job_may_need_one_that_has_ended_already(centre: Centre, restarted: bool) -> None:
    island = centre.island()
    first = centre.one()
    island.end(island.taken())
    if restarted:
        centre.restart()
    second = centre.one(depends_on=(first,))
    assert centre.job(second).state is JobState.QUEUED


def test_a_job_that_needs_a_failed_one_is_refused(centre: Centre) -> None:
    first = centre.one()
    centre.cancel(first)
    with pytest.raises(Conflict, match="which it needs"):
        centre.one(depends_on=(first,))


def test_a_job_cannot_need_another_projects_job(centre: Centre) -> None:
    theirs = centre.one(tenant="rival")
    with pytest.raises(NotFound):
        centre.one(depends_on=(theirs,))


# -- retries --------------------------------------------------------------------------------


def _fail(centre: Centre, island: Island, failure: FailureClass, message: str = "") -> None:
    start = island.taken()
    island.running(start)
    island.end(start, "failed", failure=failure, exit_code=1, message=message)


def test_a_users_error_is_not_retried_unless_asked_for(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    _fail(centre, island, FailureClass.USER)
    job = centre.job(job_id)
    assert (job.state, job.failures) == (JobState.FAILED, {"user": 1})
    assert job.reasons[0].message


def test_the_retry_budget_of_a_class_is_spent_and_then_over(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one(retry=RetryPolicy(user=2, no_progress_max=10, backoff_s=0.0))
    for attempt in range(3):
        assert centre.job(job_id).state is JobState.QUEUED, attempt
        _fail(centre, island, FailureClass.USER, message=f"error of kind {'abc'[attempt]}")
    job = centre.job(job_id)
    assert (job.state, job.fence, job.failures) == (JobState.FAILED, 3, {"user": 3})
    shown = [(a.failure, a.stalled, a.budget and a.budget.left) for a in job.attempts]
    assert shown == [(FailureClass.USER, n, left) for n, left in ((1, 1), (2, 0), (3, 0))]


def test_back_off_keeps_a_job_from_being_placed_too_early(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one(retry=RetryPolicy(user=1, backoff_s=60.0))
    _fail(centre, island, FailureClass.USER)
    assert centre.job(job_id).not_before_ms == centre.clock.ms + 60_000
    for _ in range(20):
        centre.after(2_000)
        assert island.sync().start == ()
    for _ in range(12):
        centre.after(2_000)
        if island.sync().start:
            return
    pytest.fail("it was never placed again")


def test_a_checkpoint_is_where_the_next_attempt_goes_on(centre: Centre) -> None:
    island = centre.island()
    job_id = centre.one()
    start = island.taken()
    island.running(start)
    artifact = island.checkpoint(start, 7)
    island.sync()
    centre.after(1_500)
    (again,) = island.sync().start
    assert (again.resume, again.resume_step, again.fence) == (artifact, 7, 2)
    assert centre.job(job_id).no_progress == 0


def test_an_island_gives_no_names_and_takes_none_away(centre: Centre) -> None:
    island = centre.island()
    centre.one()
    start = island.taken()
    island.running(start)
    with pytest.raises(Refused, match="gives no names"):
        island.checkpoint(start, 7, name="corpus")
    acme = centre.caller("acme")
    corpus = Artifact(
        id=f"sha256:{7:064x}", tenant="", kind="data", bytes=1, files=1, made_ms=0, name="corpus"
    )
    centre.run(lambda tx: keeping.bring(tx, acme, corpus))
    named_ms = centre.clock.ms
    centre.after(1_000)
    island.checkpoint(start, 7)
    kept = centre.store.artifact("acme", corpus.id)
    assert kept is not None
    assert (kept.name, kept.made_ms) == ("corpus", named_ms)


# -- quotas ---------------------------------------------------------------------------------


def test_a_project_that_has_spent_its_budget_may_not_submit(centre: Centre) -> None:
    from causeway.control import tenancy

    operator = centre.caller("ops", AccessRole.OPERATOR)
    centre.run(lambda tx: tenancy.set_tenant(tx, operator, Tenant(name="acme", budget_micros=0)))
    with pytest.raises(QuotaExceeded, match="budget"):
        centre.one()


def test_a_full_centre_refuses_more_and_loses_none() -> None:
    centre = Centre(settings=Settings(queue_jobs_max=2))
    centre.one()
    centre.one()
    with pytest.raises(QuotaExceeded):
        centre.one()
    assert len(centre.plane.state.queue) == 2


def test_a_secret_that_the_project_does_not_have_is_named(centre: Centre) -> None:
    with pytest.raises(NotFound, match="HF_TOKEN"):
        centre.one(secrets=("HF_TOKEN",))


def test_members_of_one_submission_stand_or_fall_together(centre: Centre) -> None:
    with pytest.raises(NotFound):
        centre.submit(member("a"), member("b", secrets=("NOPE",)))
    assert centre.shelf.jobs == {}
    assert centre.plane.state.queue == {}


def test_unknown_moves_are_told_with_the_jobs_story() -> None:
    from causeway.model.errors import IllegalMove
    from causeway.model.jobs import Job, Move, moved

    job = replace(Job(id="j", tenant="t", spec=member("a").spec), state=JobState.SUCCEEDED)
    with pytest.raises(IllegalMove, match="cannot place from succeeded"):
        moved(job, Move.PLACE)


def test_bad_island_names_are_refused(centre: Centre) -> None:
    with pytest.raises(InvalidInput, match="island name"):
        centre.island("../etc")
