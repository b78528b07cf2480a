"""The core, case by case: stimulus in, instructions and report out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pretend_island import INVENTORY, ISLAND, LEASE_MS, Island, job, start

from causeway.agent.attempt import AgentJournal, Stage
from causeway.agent.instructions import (
    CancelStage,
    Forget,
    LastLook,
    Problem,
    Stop,
    UploadCheckpoint,
    UploadOutputs,
    WriteJournal,
)
from causeway.agent.instructions import Stage as StageInputs
from causeway.model.islands import OwnerPolicy
from causeway.model.jobs import FailureClass, JobKind, JobSpec, StopIntent
from causeway.model.protocol import (
    AttemptReport,
    CheckpointReport,
    Phase,
    ReleaseCommand,
    StartCommand,
    StopCommand,
    SyncReply,
    TickAck,
)
from causeway.model.resources import Capacity, Resources
from causeway.ports.engine import Launch, Status

A = job("a")
STOP = StopCommand(job=A, fence=1, intent=StopIntent.PREEMPT, grace_ms=2_000)


def only(island: Island) -> AttemptReport:
    reports = island.core.sync_request(island.now_ms).reports
    assert len(reports) == 1
    return reports[0]


def test_a_start_is_journalled_staged_and_launched_in_that_order() -> None:
    island = Island()
    island.answer(start=(start(resume="sha256:x", resume_step=7, secrets={"KEY": "s3"}),))
    kinds = [type(one) for one in island.done]
    assert kinds == [WriteJournal, StageInputs, WriteJournal, Launch]
    launch = island.done[-1]
    assert isinstance(launch, Launch)
    assert launch.envs["KEY"] == "s3"
    assert launch.envs["CAUSEWAY_RESUME_DIR"].endswith("/attempts/a-1/resume")
    assert b"s3" not in island.disk
    island.poll()
    said = only(island)
    assert (said.phase, said.resumed_step, said.last_step) == (Phase.RUNNING, 7, 7)


def test_the_same_start_again_and_an_older_one_change_nothing() -> None:
    island = Island()
    island.answer(start=(start(fence=3),))
    assert island.answer(start=(start(fence=3), start(fence=2))) == []
    island.answer(release=(ReleaseCommand(job=A, fence=3),))
    island.poll()
    island.poll()
    assert not island.core.attempts
    assert island.answer(start=(start(fence=3),)) == []


def test_a_newer_fence_waits_until_the_older_attempt_is_gone() -> None:
    island = Island(killing_ms=300)
    island.answer(start=(start(fence=1),))
    island.poll()
    did = island.answer(start=(start(fence=2),))
    assert Stop(job=A, fence=1, grace_ms=0) in did
    assert island.live() == [(A, 1)]
    island.wait(500)
    assert island.live() == [(A, 2)]
    older = island.core.attempts[(A, 1)]
    assert (older.phase, older.failure) == (Phase.STOPPED, FailureClass.ISLAND)


def test_the_lease_deadline_kills_move_attempts_and_leaves_wait_attempts() -> None:
    island = Island()
    island.answer(start=(start("a"), start("b", deadline_stop=False)))
    island.poll()
    assert island.core.next_ms() == island.now_ms + LEASE_MS
    island.wait(LEASE_MS - 1)
    assert len(island.live()) == 2
    island.wait(1)
    assert island.live() == [(job("b"), 1)]
    gone = island.core.attempts[(A, 1)]
    assert gone.stage is Stage.DONE
    assert (gone.phase, gone.failure) == (Phase.STOPPED, FailureClass.ISLAND)


def test_the_lease_counts_from_the_instant_of_sending() -> None:
    island = Island()
    request = island.core.sync_request(1_000)
    reply = SyncReply(seq=request.seq, version="1", lease_ms=LEASE_MS)
    island.core.on_reply(reply, 1_000, now_ms=2_500)
    assert island.core.deadline_ms == 5_000
    island.core.on_reply(reply, 500, now_ms=2_600)
    assert island.core.deadline_ms == 5_000


def test_an_answer_that_outlived_its_lease_begins_nothing() -> None:
    island = Island()
    request = island.core.sync_request(1_000)
    reply = SyncReply(seq=request.seq, version="1", lease_ms=LEASE_MS, start=(start(),))
    assert island.core.on_reply(reply, 1_000, now_ms=5_000) == []
    assert not island.core.attempts


def test_a_deadline_while_staging_ends_it_and_a_late_staging_is_ignored() -> None:
    island = Island()
    island.auto = False
    island.answer(start=(start(),))
    island.wait(LEASE_MS)
    assert CancelStage(job=A, fence=1) in island.done
    assert island.core.on_staged(A, 1, now_ms=island.now_ms) == []
    assert only(island).phase == Phase.STOPPED


def test_ticks_are_cut_while_it_runs_and_once_more_at_the_end() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.poll()
    for _ in range(9):
        island.wait(2_500)
        island.answer()
    island.finish(A, 1, phase=Phase.SUCCEEDED, exit_code=0, cpu_ms=9_000, energy_mj=77)
    island.poll()
    said = only(island)
    assert said.final
    assert said.phase == Phase.SUCCEEDED
    assert [(t.seq, t.start_ms, t.end_ms) for t in said.ticks] == [
        (0, 0, 10_000),
        (1, 10_000, 20_000),
        (2, 20_000, 22_500),
    ]
    assert sum(t.cpu_ms for t in said.ticks) == 9_000
    assert sum(t.energy_mj for t in said.ticks) == 77
    island.answer(acks=(TickAck(job=A, fence=1, ticks=2),))
    assert [t.seq for t in only(island).ticks] == [2]
    island.answer(acks=(TickAck(job=A, fence=1, ticks=1), TickAck(job=A, fence=1, ticks=99)))
    assert [t.seq for t in only(island).ticks] == [2]


def test_waiting_for_how_it_ended_is_nobodys_use() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.poll()
    island.wait(2_500)
    island.answer()
    # Its processes are gone; the engine will say later what that means.
    island.finish(A, 1, ended_monotonic_ms=island.now_ms)
    for _ in range(9):
        island.wait(2_500)
        island.answer()
    assert only(island).ticks == ()
    island.finish(A, 1, phase=Phase.FAILED, ended_monotonic_ms=island.now_ms - 22_500)
    island.poll()
    assert [(tick.start_ms, tick.end_ms) for tick in only(island).ticks] == [(0, 2_500)]


def test_a_long_silence_keeps_a_bounded_list_of_ticks_and_loses_no_time() -> None:
    island = Island()
    island.answer(start=(start(deadline_stop=False),))
    island.poll()
    for _ in range(300):
        island.now_ms += 10_000
        island.poll()
    island.finish(A, 1, phase=Phase.SUCCEEDED)
    island.poll()
    assert len(island.core.attempts[(A, 1)].ticks) == 101
    first = only(island)
    assert len(first.ticks) == 100
    assert not first.final
    island.answer(acks=(TickAck(job=A, fence=1, ticks=100),))
    last = only(island)
    assert last.final
    assert (last.ticks[-1].seq, last.ticks[-1].end_ms) == (100, 3_000_000)


@pytest.mark.parametrize(
    ("policy", "command", "word"),
    [
        (OwnerPolicy(tenants=("other",)), start(), "acme"),
        (OwnerPolicy(kinds=("service",)), start(), "batch"),
        (OwnerPolicy(allow_secrets=False), start(secrets={"K": "v"}), "secrets"),
        (OwnerPolicy(priority_min=5), start(), "priority"),
        (OwnerPolicy(max_run_s=60), start(), "60 s"),
        (
            OwnerPolicy(),
            start(spec=JobSpec(name="a", run="", resources=Resources(cpu_milli=9_000))),
            "does not fit",
        ),
        (OwnerPolicy(), start(spec=JobSpec(name="a", run="", isolation="sandbox")), "sandbox"),
        (OwnerPolicy(), start(spec=JobSpec(name="a", run="", image="x")), "image"),
    ],
)
def test_what_the_owner_does_not_take_is_refused_in_words(
    policy: OwnerPolicy, command: StartCommand, word: str
) -> None:
    island = Island(policy=policy)
    news = island.core.news
    island.answer(start=(command,))
    said = only(island)
    assert (said.phase, said.final) == (Phase.REFUSED, True)
    assert word in said.message
    assert island.core.news > news
    assert not island.live()


def test_what_ended_makes_room_again() -> None:
    island = Island()
    big = JobSpec(name="x", run="", resources=Resources(cpu_milli=8_000))
    island.answer(start=(start("a", spec=big), start("b", spec=big)))
    island.poll()
    assert island.core.attempts[(job("b"), 1)].stage is Stage.REFUSED
    island.finish(A, 1, phase=Phase.SUCCEEDED)
    island.poll()
    island.answer(start=(start("c", spec=big),))
    assert island.live() == [(job("c"), 1)]


def test_a_stop_is_sent_once_and_only_ever_shortened() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.poll()
    assert Stop(job=A, fence=1, grace_ms=2_000) in island.answer(stop=(STOP,))
    assert island.answer(stop=(STOP,)) == []
    island.wait(LEASE_MS)
    said = only(island)
    assert (said.phase, said.failure, said.final) == (Phase.STOPPED, None, True)


def test_a_start_that_comes_after_its_stop_is_not_begun() -> None:
    island = Island()
    island.answer(stop=(STOP,))
    island.answer(start=(start(),))
    assert island.live() == []
    assert island.core.attempts == {}
    island.answer(start=(start(fence=2),))
    assert island.live() == [(A, 2)], "the next attempt is another matter"


def test_a_checkpoint_made_in_the_grace_is_sent_before_the_end_is_told() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.poll()
    island.answer(stop=(STOP,))
    island.auto = False
    island.now_ms += 2_000
    island.poll()
    assert island.done[-1] == LastLook(job=A, fence=1)
    did = island.core.on_checkpoint_found(A, 1, 40, now_ms=island.now_ms)
    assert UploadCheckpoint(job=A, fence=1, step=40) in did
    island.core.on_looked(A, 1, now_ms=island.now_ms)
    assert not only(island).final
    sent = CheckpointReport(artifact="sha256:c", step=40, bytes=9)
    island.core.on_checkpoint(A, 1, sent, now_ms=island.now_ms)
    said = only(island)
    assert said.final
    assert said.checkpoint == sent


def test_one_checkpoint_upload_at_a_time_and_the_newest_next() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.poll()
    core, now = island.core, island.now_ms
    assert UploadCheckpoint(job=A, fence=1, step=1) in core.on_checkpoint_found(A, 1, 1, now_ms=now)
    for step in (2, 3):
        did = core.on_checkpoint_found(A, 1, step, now_ms=now)
        assert not any(isinstance(one, UploadCheckpoint) for one in did)
    sent = CheckpointReport(artifact="sha256:c", step=1, bytes=9)
    assert UploadCheckpoint(job=A, fence=1, step=3) in core.on_checkpoint(A, 1, sent, now_ms=now)


def test_outputs_are_whole_at_the_centre_before_success_is_told() -> None:
    island = Island()
    spec = JobSpec(name="a", run="", outputs=("model",))
    island.answer(start=(start(spec=spec),))
    island.poll()
    island.finish(A, 1, phase=Phase.SUCCEEDED, exit_code=0)
    island.poll()
    assert island.done[-1] == UploadOutputs(job=A, fence=1, paths=("model",))
    assert only(island).phase == Phase.RUNNING
    island.core.on_outputs(A, 1, {"model": "sha256:m"}, now_ms=island.now_ms)
    said = only(island)
    assert (said.phase, said.final, said.outputs) == (
        Phase.SUCCEEDED,
        True,
        {"model": "sha256:m"},
    )


def _until_told(island: Island, problem: Problem, *, cut_off: bool) -> int:
    """Fail every upload of the outputs; return how many were tried before an end was told."""
    tries = 0
    for _ in range(400):
        uploads = [one for one in island.done if isinstance(one, UploadOutputs)]
        if len(uploads) > tries:
            tries = len(uploads)
            island.do(island.core.on_outputs(A, 1, problem, now_ms=island.now_ms))
        if island.core.attempts[(A, 1)].stage is Stage.DONE:
            return tries
        if not cut_off:
            island.answer()
        island.wait(1_000)
    return -tries


def test_outputs_that_cannot_be_sent_fail_the_attempt_after_bounded_tries() -> None:
    for problem, tries in ((Problem(message="no"), 5), (Problem(message="no", retry=False), 1)):
        island = Island()
        spec = JobSpec(name="a", run="", outputs=("model",))
        island.answer(start=(start(spec=spec),))
        island.poll()
        island.finish(A, 1, phase=Phase.SUCCEEDED)
        island.poll()
        assert _until_told(island, problem, cut_off=False) == tries
        said = only(island)
        assert (said.phase, said.failure) == (Phase.FAILED, FailureClass.ENGINE)


def test_outputs_wait_for_the_centre_while_the_island_is_cut_off() -> None:
    island = Island()
    spec = JobSpec(name="a", run="", outputs=("model",))
    island.answer(start=(start(spec=spec, deadline_stop=False),))
    island.poll()
    island.wait(LEASE_MS)
    island.finish(A, 1, phase=Phase.SUCCEEDED)
    island.poll()
    assert _until_told(island, Problem(message="unreachable"), cut_off=True) < -20


def test_after_a_restart_lost_work_is_failed_and_its_journalled_usage_stands() -> None:
    island = Island()
    island.auto = True
    island.answer(start=(start(deadline_stop=False), start("b")))
    island.poll()
    for _ in range(5):
        island.wait(3_000)
        island.answer()
    island.restart()
    reports = {r.job: r for r in island.core.sync_request(island.now_ms).reports}
    said = reports[A]
    assert (said.phase, said.failure, said.final) == (Phase.FAILED, FailureClass.ENGINE, True)
    assert said.message == "the agent restarted"
    assert [(t.seq, t.end_ms) for t in said.ticks] == [(0, 10_000)]
    assert said.elapsed_ms == 10_000
    assert island.answer(start=(start(fence=1),)) == []


def test_what_an_outside_engine_still_knows_goes_on_after_a_restart() -> None:
    island = Island()
    island.answer(start=(start(deadline_stop=False), start("b")))
    island.poll()
    island.boot()
    island.poll()
    assert island.live() == [(A, 1)], "its lease is unknown, so a `move` attempt is stopped"
    assert island.core.attempts[(A, 1)].stage is Stage.ENGINE


def test_an_engine_that_outlives_the_agent_guards_the_leases_itself() -> None:
    island = Island(outlived=True)
    island.answer(start=(start(),))
    assert island.granted_ms == island.core.deadline_ms
    island.poll()
    island.boot()
    island.poll()
    assert island.live() == [(A, 1)], "its lease is the engine's to guard while no agent is there"
    granted_ms = island.granted_ms
    island.answer()
    assert island.granted_ms > granted_ms or island.granted_ms == island.core.deadline_ms
    island.wait(LEASE_MS + 1)
    assert island.live() == []


def test_a_stop_that_the_engine_never_heard_of_is_asked_for_again_after_a_restart() -> None:
    island = Island(outlived=True)
    island.answer(start=(start(),))
    island.poll()
    island.answer(stop=(STOP,))
    # The agent is killed after its journal was written, and before the engine was asked.
    island.dying.clear()
    island.boot()
    island.poll()
    island.wait(STOP.grace_ms + 100)
    assert island.live() == []


def test_what_a_starting_attempt_waits_for_is_told_and_forgotten_once_it_runs() -> None:
    island = Island()
    island.answer(start=(start(),))
    waits = Status(phase=Phase.STARTING, message="the queue holds it: Priority")
    island.engine[(A, 1)] = waits
    island.poll()
    assert only(island).message == "the queue holds it: Priority"
    island.engine[(A, 1)] = Status(phase=Phase.RUNNING, started_monotonic_ms=island.now_ms)
    island.poll()
    assert only(island).message == ""


def test_a_rank_that_no_node_can_hold_is_refused_though_the_island_has_enough_in_all() -> None:
    whole = Capacity(cpu_milli=8_000, memory_bytes=8 * 1024**3, disk_bytes=10**12)
    node = Capacity(cpu_milli=2_000, memory_bytes=2 * 1024**3, disk_bytes=10**12)
    island = Island(inventory=replace(INVENTORY, capacity=whole, nodes=4, node=node))
    need = Resources(cpu_milli=3_000)
    island.answer(start=(start(spec=JobSpec(name="a", run="true", resources=need)),))
    said = only(island)
    assert said.phase == Phase.REFUSED
    assert "1 x (3000 mCPU" in said.message
    island.answer(start=(start("b", spec=JobSpec(name="b", run="true", num_nodes=4)),))
    assert island.core.attempts[(job("b"), 1)].stage is not Stage.REFUSED


def test_what_the_engine_knows_and_the_agent_does_not_is_killed() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.disk = b""
    island.core = Island().core
    did = island.poll()
    assert did == [Forget(job=A, fence=1)]


def test_a_release_kills_first_and_forgets_once_it_is_gone() -> None:
    island = Island(killing_ms=200)
    island.answer(start=(start(),))
    island.poll()
    did = island.answer(release=(ReleaseCommand(job=A, fence=1),), start=(start(fence=2),))
    assert Stop(job=A, fence=1, grace_ms=0) in did
    assert [r.fence for r in island.core.sync_request(island.now_ms).reports] == [2]
    island.wait(300)
    assert Forget(job=A, fence=1) in island.done
    assert island.live() == [(A, 2)]


def test_a_service_that_ends_has_failed() -> None:
    island = Island()
    island.answer(start=(start(spec=JobSpec(name="a", run="", kind=JobKind.SERVICE)),))
    island.poll()
    island.finish(A, 1, phase=Phase.SUCCEEDED, exit_code=0)
    island.poll()
    assert (only(island).phase, only(island).failure) == (Phase.FAILED, FailureClass.USER)


def test_points_ride_once_unless_their_sync_is_lost() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.poll()
    news = island.core.news
    island.core.on_progress(A, 1, [b'{"step": 1, "loss": 2.5}', b"junk"], now_ms=1_500)
    assert island.core.news == news + 1
    island.core.on_progress(A, 1, [b'{"step": 2, "loss": 2.4}'], now_ms=1_600)
    assert island.core.news == news + 1
    first = island.core.sync_request(1_700)
    assert [p.step for p in first.reports[0].progress] == [1, 2]
    assert first.reports[0].last_step == 2
    assert not only(island).progress
    island.core.on_lost(first.seq)
    assert [p.step for p in only(island).progress] == [1, 2]


def test_the_inventory_is_told_until_an_answer_shows_that_it_arrived() -> None:
    island = Island()
    first = island.core.sync_request(0)
    assert first.inventory is not None
    assert island.core.sync_request(0).inventory is not None
    island.core.on_reply(SyncReply(seq=first.seq, version="7", lease_ms=LEASE_MS), 0, now_ms=1)
    later = island.core.sync_request(1)
    assert (later.inventory, later.known) == (None, "7")
    island.answer(send_inventory=True)
    assert island.core.sync_request(2).inventory is not None
    island.answer()
    island.core.on_session()
    again = island.core.sync_request(3)
    assert again.inventory is not None
    assert again.known == ""


def test_leaving_stops_with_grace_and_takes_nothing_new() -> None:
    island = Island()
    island.answer(start=(start(),))
    island.poll()
    assert Stop(job=A, fence=1, grace_ms=1_500) in island.do(island.core.leave(grace_ms=1_500))
    island.answer(start=(start("b"),))
    assert island.core.attempts[(job("b"), 1)].stage is Stage.REFUSED
    assert not island.core.settled
    island.wait(2_000)
    assert island.core.settled
    assert island.core.attempts[(A, 1)].failure is FailureClass.PREEMPTION


def test_an_empty_journal_is_where_an_agent_begins() -> None:
    island = Island()
    assert island.core.journal() == AgentJournal(island=ISLAND)
    assert island.core.next_ms() is None
    assert not island.core.busy
