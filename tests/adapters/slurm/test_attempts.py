"""What two witnesses, the runners' records and Slurm, say together."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.outside.attempts import ANSWERS, GIVEN_BACK_MS, LEASE_MARGIN_MS, SETTLE_MS
from causeway.adapters.runner import Desk, End, RankSeen
from causeway.adapters.slurm.attempts import Attempt, Submission, judge, taken_away, waiting
from causeway.adapters.slurm.values import FINAL, Accounted, JobRow, JobState
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

TOLD = Submission(
    tag="t",
    job="j",
    fence=1,
    ranks=1,
    guard=True,
    cpu_milli=1000,
    memory_bytes=1,
    accelerators=0,
    number=7,
)
RUNS = RankSeen(waiting=True, started_ms=5)


def ended(code: int | None, end: End = End.EXIT, **more: Any) -> RankSeen:
    told = {"part": "run", **more}
    return RankSeen(waiting=True, started_ms=5, end=end, code=code, **told)


def row(state: JobState, **more: Any) -> JobRow:
    return JobRow(id=7, state=state, nodes="n1", **more)


def attempt(*ranks: RankSeen, **more: Any) -> Attempt:
    folder = Path("/nowhere")
    return Attempt(told=TOLD, folder=folder, desk=Desk(folder, 1), ranks=ranks, **more)


@pytest.mark.parametrize("state", [None, *JobState])
def test_a_success_is_one_whatever_slurm_has_seen_of_it(state: JobState | None) -> None:
    seen = row(state) if state is not None else None
    outcome = judge(attempt(ended(0), row=seen), 0)
    assert outcome is not None
    assert (outcome.phase, outcome.exit_code) == (Phase.SUCCEEDED, 0)


@pytest.mark.parametrize("state", [None, *sorted(set(JobState) - FINAL)])
def test_what_runs_has_not_ended(state: JobState | None) -> None:
    seen = row(state) if state is not None else None
    assert judge(attempt(RUNS, row=seen), 10**9) is None


@pytest.mark.parametrize(
    ("ranks", "state", "failure", "words"),
    [
        ((ended(3),), None, FailureClass.USER, "rank 0 ended with exit code 3"),
        ((ended(4, part="setup"),), None, FailureClass.USER, "setup ended with exit code 4"),
        ((ended(143, End.SIGNAL),), JobState.PREEMPTED, FailureClass.PREEMPTION, "preempted"),
        ((ended(143, End.SIGNAL),), JobState.TIMEOUT, FailureClass.LIMIT, "time limit"),
        ((ended(137),), JobState.OUT_OF_MEMORY, FailureClass.LIMIT, "memory"),
        ((ended(137),), JobState.FAILED, FailureClass.USER, "SIGKILL"),
        ((ended(137, End.LEASE),), JobState.FAILED, FailureClass.ISLAND, "lease"),
        ((ended(None, End.LEASE),), None, FailureClass.ISLAND, "lease"),
        ((ended(143, End.LIMIT),), None, FailureClass.LIMIT, "longer than its limit"),
        ((ended(None, End.START, message="no bash"),), None, FailureClass.ENGINE, "no bash"),
        ((RUNS,), JobState.NODE_FAIL, FailureClass.NODE, "a node of it failed on n1 (NODE_FAIL)"),
        ((RUNS,), JobState.CANCELLED, FailureClass.ENGINE, "cancelled in Slurm"),
        ((RUNS,), JobState.FAILED, FailureClass.ENGINE, "without a word"),
        ((), JobState.FAILED, FailureClass.ENGINE, "its runner did not start on n1"),
    ],
)
def test_bad_ends(
    ranks: tuple[RankSeen, ...], state: JobState | None, failure: FailureClass, words: str
) -> None:
    outcome = judge(attempt(*ranks, row=row(state) if state else None), 0)
    assert outcome is not None
    assert (outcome.phase, outcome.failure) == (Phase.FAILED, failure)
    assert words in outcome.message


def test_a_signal_is_not_judged_before_slurm_has_spoken_or_kept_silent_for_long() -> None:
    at = attempt(ended(143, End.SIGNAL), row=row(JobState.RUNNING), quiet_ms=1_000)
    assert judge(at, 1_000 + SETTLE_MS - 1) is None
    outcome = judge(at, 1_000 + SETTLE_MS)
    assert outcome is not None
    assert outcome.failure is FailureClass.USER


def test_the_rank_that_failed_by_itself_is_named_and_not_those_that_were_ended_for_it() -> None:
    told = ended(137, End.STOP, ended_ms=1)
    first, second = ended(7, ended_ms=2), ended(9, ended_ms=3)
    for ranks in itertools.permutations((told, first, second)):
        outcome = judge(attempt(*ranks, row=row(JobState.CANCELLED), killed=True), 0)
        assert outcome is not None
        assert outcome.exit_code == 7


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_stop_that_was_asked_for_is_a_stop(state: JobState) -> None:
    outcome = judge(attempt(RUNS, row=row(state), stop_ms=0), 0)
    assert outcome is not None
    assert outcome.phase == Phase.STOPPED


def test_a_stopped_attempt_is_gone_when_its_guard_has_ended_it_though_slurm_is_silent() -> None:
    at = attempt(RUNS, row=row(JobState.RUNNING), stop_ms=0, kill_at_ms=1_000)
    at.desk.granted_until_ms = 5_000
    assert judge(at, 5_000 + LEASE_MARGIN_MS - 1) is None
    assert judge(at, 5_000 + LEASE_MARGIN_MS) is not None


def test_what_slurm_forgot_is_over_only_when_it_says_so_again() -> None:
    at = attempt(RUNS, missing=ANSWERS - 1)
    assert judge(at, 0) is None
    at.missing = ANSWERS
    outcome = judge(at, 0)
    assert outcome is not None
    assert outcome.failure is FailureClass.ENGINE
    at.accounted = Accounted(id=7, cpu_ms=0, state="PREEMPTED", over=True)
    outcome = judge(at, 0)
    assert outcome is not None
    assert outcome.failure is FailureClass.PREEMPTION


def test_a_job_that_went_back_into_the_queue_gave_way() -> None:
    at = attempt(RUNS, row=row(JobState.PENDING), back_ms=1_000)
    at.begun_ms, at.row_ms = 400, 500
    assert judge(at, 1_000 + GIVEN_BACK_MS - 1) is None
    outcome = judge(at, 1_000 + GIVEN_BACK_MS)
    assert outcome is not None
    assert outcome.failure is FailureClass.PREEMPTION


def test_a_job_that_slurm_ended_to_start_it_again_gave_way() -> None:
    back = row(JobState.PENDING)
    at = attempt(ended(143, End.SIGNAL), row=back, begun_ms=400, row_ms=500)
    assert taken_away(at)
    at.ranks = (ended(143),)
    assert not taken_away(at), "its program ended by itself before"
    at.ranks, at.row_ms = (RUNS,), 300
    assert not taken_away(at), "Slurm was asked before it began"


def test_nothing_of_a_lost_job_may_run_when_it_is_told_lost() -> None:
    at = attempt(RUNS, missing=ANSWERS, begun_ms=400)
    assert taken_away(at)
    at.back_ms, at.desk.granted_until_ms = 1_000, 60_000
    assert judge(at, 60_000) is None
    outcome = judge(at, 60_000 + LEASE_MARGIN_MS)
    assert outcome is not None
    assert (outcome.failure, "no longer knows" in outcome.message) == (FailureClass.ENGINE, True)
    at.ranks = (ended(137, End.STOP),)
    assert judge(at, 1_001) == outcome


def test_what_waits_says_for_what() -> None:
    at = attempt(row=row(JobState.PENDING, reason="AssocGrpCpuLimit"))
    assert "its account has used up what it may hold at once (AssocGrpCpuLimit)" in waiting(at)
    assert waiting(attempt()) == "it is being handed to Slurm"
