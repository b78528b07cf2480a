"""What two witnesses, the runners' records and Ray, say together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.outside.attempts import ANSWERS, GIVEN_BACK_MS, LEASE_MARGIN_MS, SETTLE_MS
from causeway.adapters.ray.attempts import (
    SILENT_MS,
    Attempt,
    Submission,
    judge,
    taken_away,
    waiting,
)
from causeway.adapters.ray.values import FINAL, JobRow, JobState, Mark
from causeway.adapters.runner import Desk, End, RankSeen
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.model.resources import Capacity

TOLD = Submission(
    tag="t",
    job="j",
    fence=1,
    ranks=1,
    guard=True,
    cpu_milli=500,
    memory_bytes=64,
    accelerators=1,
    id="causeway-isl-t",
    taken=True,
)
RUNS = RankSeen(waiting=True, started_ms=5)
DIED = "JOB_SUPERVISOR_ACTOR_DIED"
MARK = Mark(island="isl", tag="t", job="j", fence=1)


def ended(code: int | None, end: End = End.EXIT, **more: Any) -> RankSeen:
    return RankSeen(waiting=True, started_ms=5, end=end, code=code, **{"part": "run", **more})


def row(state: JobState, message: str = "", **more: Any) -> JobRow:
    return JobRow(id=TOLD.id, state=state, mark=MARK, message=message, **more)


def attempt(*ranks: RankSeen, granted_ms: int = 0, guard: bool = True, **more: Any) -> Attempt:
    folder = Path("/nowhere")
    told = replace(TOLD, ranks=max(1, len(ranks)), guard=guard)
    desk = Desk(folder, told.ranks, granted_until_ms=granted_ms)
    begun = 1 if any(rank.waiting for rank in ranks) else 0
    return Attempt(told=told, folder=folder, desk=desk, ranks=ranks, begun_ms=begun, **more)


STATES = [None, *(row(state) for state in JobState)]


@pytest.mark.parametrize("seen", STATES)
def test_a_success_is_one_whatever_ray_has_seen_of_it(seen: JobRow | None) -> None:
    outcome = judge(attempt(ended(0), row=seen, missing=ANSWERS), 0)
    assert outcome is not None
    assert (outcome.phase, outcome.exit_code) == (Phase.SUCCEEDED, 0)


@pytest.mark.parametrize("state", sorted(set(JobState) - FINAL))
def test_what_runs_has_not_ended(state: JobState) -> None:
    assert judge(attempt(RUNS, row=row(state), granted_ms=10_000), 9_000) is None
    assert judge(attempt(RUNS, row=row(state), guard=False), 10**9) is None


@pytest.mark.parametrize(
    ("rank", "seen", "failure", "words"),
    [
        (ended(3), None, FailureClass.USER, "rank 0 ended with exit code 3"),
        (ended(4, part="setup"), None, FailureClass.USER, "setup ended with exit code 4"),
        (ended(137, End.LEASE), None, FailureClass.ISLAND, "lease"),
        (ended(None, End.LEASE), row(JobState.FAILED), FailureClass.ISLAND, "lease"),
        (ended(143, End.LIMIT), None, FailureClass.LIMIT, "longer than its limit"),
        (
            ended(None, End.START, message="no bash"),
            *(None, FailureClass.ENGINE, "no bash"),
        ),
        (
            ended(143, End.SIGNAL),
            row(JobState.FAILED, "its node has died", error=DIED),
            *(FailureClass.NODE, "a node of it failed"),
        ),
        (
            ended(143, End.SIGNAL),
            row(JobState.STOPPED),
            *(FailureClass.ENGINE, "stopped in Ray"),
        ),
        (
            ended(143, End.SIGNAL),
            row(JobState.FAILED, "logs", exit_code=143),
            *(FailureClass.ENGINE, "lost the process"),
        ),
        (
            ended(137),
            row(JobState.FAILED, "logs", exit_code=137),
            *(FailureClass.USER, "SIGKILL"),
        ),
    ],
)
def test_ends_by_both_witnesses(
    rank: RankSeen, seen: JobRow | None, failure: FailureClass, words: str
) -> None:
    outcome = judge(attempt(rank, row=seen, quiet_ms=1), 2)
    assert outcome is not None
    assert outcome.failure is failure
    assert words in outcome.message


def test_an_end_with_a_signal_in_it_waits_for_rays_word_and_not_for_ever() -> None:
    at = attempt(ended(143, End.SIGNAL), row=row(JobState.RUNNING), quiet_ms=100)
    assert judge(at, 100 + SETTLE_MS - 1) is None
    outcome = judge(at, 100 + SETTLE_MS)
    assert outcome is not None
    assert outcome.failure is FailureClass.ENGINE


def test_ray_is_silent_and_the_runner_beats_on() -> None:
    at = attempt(RUNS, row=row(JobState.RUNNING), granted_ms=50_000)
    assert judge(at, 49_000) is None


def test_a_guarded_attempt_that_is_not_heard_of_beyond_its_lease_is_gone() -> None:
    at = attempt(RUNS, row=row(JobState.RUNNING), granted_ms=50_000)
    over_ms = 50_000 + LEASE_MARGIN_MS + SETTLE_MS
    assert judge(at, over_ms - 1) is None
    outcome = judge(at, over_ms)
    assert outcome is not None
    assert outcome.failure is FailureClass.NODE


def test_what_ray_has_forgotten_is_judged_by_its_beats() -> None:
    at = attempt(RUNS, missing=ANSWERS, guard=False, beat_ms=1_000)
    assert judge(at, 1_000 + SILENT_MS - 1) is None
    outcome = judge(at, 1_000 + SILENT_MS)
    assert outcome is not None
    assert (outcome.failure, outcome.phase) == (FailureClass.ENGINE, Phase.FAILED)
    guarded = attempt(RUNS, missing=ANSWERS, granted_ms=9_000)
    assert judge(guarded, 9_000 + LEASE_MARGIN_MS - 1) is None
    assert judge(guarded, 9_000 + LEASE_MARGIN_MS) is not None


def test_nothing_is_over_while_a_runner_may_live_that_ray_let_go_of() -> None:
    gone = row(JobState.FAILED, "its node has died", error=DIED)
    guarded = attempt(RUNS, row=gone, granted_ms=9_000, final_ms=100)
    assert taken_away(guarded)
    assert judge(guarded, 9_000 + LEASE_MARGIN_MS - 1) is None
    outcome = judge(guarded, 9_000 + LEASE_MARGIN_MS)
    assert outcome is not None
    assert outcome.failure is FailureClass.NODE
    other = attempt(RUNS, row=gone, guard=False, final_ms=100)
    assert judge(other, 100 + GIVEN_BACK_MS - 1) is None
    assert judge(other, 100 + GIVEN_BACK_MS) is not None


def test_a_job_that_never_began() -> None:
    timeout = row(JobState.FAILED, "Failed", error="JOB_SUPERVISOR_ACTOR_START_TIMEOUT")
    outcome = judge(attempt(RankSeen(), row=timeout), 5)
    assert outcome is not None
    assert outcome.failure is FailureClass.REFUSED
    lost = row(JobState.FAILED, "can't open file '/r/x.py'", exit_code=2, node="n1")
    outcome = judge(attempt(RankSeen(), row=lost), 5)
    assert outcome is not None
    assert "does not see the agent's folder" in outcome.message
    silent = row(JobState.SUCCEEDED)
    outcome = judge(attempt(RankSeen(), row=silent), 5)
    assert outcome is not None
    assert "its runner did not start" in outcome.message


def test_a_gang_is_blamed_on_the_rank_that_failed_first() -> None:
    ranks = (
        ended(143, End.STOP, ended_ms=10),
        ended(7, ended_ms=30),
        ended(1, ended_ms=40),
    )
    outcome = judge(attempt(*ranks), 50)
    assert outcome is not None
    assert (outcome.exit_code, outcome.message) == (7, "rank 1 ended with exit code 7")


def test_a_gang_of_which_one_rank_failed_is_to_end() -> None:
    assert attempt(RUNS, ended(7)).broken_rank
    assert not attempt(RUNS, ended(0)).broken_rank
    assert not attempt(RUNS, RUNS).broken_rank


def test_a_stop_ends_when_nothing_goes_on() -> None:
    at = attempt(RUNS, row=row(JobState.RUNNING), stop_ms=0, kill_at_ms=500, granted_ms=900)
    assert judge(at, 800) is None
    outcome = judge(at, 900 + LEASE_MARGIN_MS)
    assert outcome is not None
    assert outcome.phase == Phase.STOPPED
    done = attempt(ended(143, End.STOP), stop_ms=0)
    outcome = judge(done, 0)
    assert outcome is not None
    assert (outcome.phase, outcome.exit_code) == (Phase.STOPPED, 143)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (attempt(RankSeen()), "handed to Ray"),
        (attempt(RankSeen(), row=row(JobState.PENDING, "")), "(PENDING)"),
        (attempt(RankSeen(), RankSeen(), row=row(JobState.RUNNING)), "places of its 2 ranks"),
        (attempt(RankSeen(), row=row(JobState.RUNNING)), "its runner starts"),
    ],
)
def test_what_it_waits_for(at: Attempt, words: str) -> None:
    assert words in waiting(at)


def test_a_gang_holds_nothing_before_it_has_its_places() -> None:
    seen = row(JobState.RUNNING)
    assert attempt(RankSeen(), RankSeen(), row=seen).holds == Capacity()
    each = Capacity(cpu_milli=1000, memory_bytes=128, accelerators=2)
    assert attempt(RUNS, RUNS, row=seen).holds == each
    assert attempt(RankSeen(), row=seen).holds.cpu_milli == 500
    assert attempt(RankSeen(), row=row(JobState.PENDING)).holds == Capacity()
