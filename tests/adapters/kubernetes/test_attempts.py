"""What two witnesses, the runners' records and Kubernetes, say together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from causeway.adapters.kubernetes import reasons
from causeway.adapters.kubernetes.attempts import (
    Attempt,
    Submission,
    judge,
    never,
    taken_away,
    waiting,
)
from causeway.adapters.kubernetes.values import JOBS, JobSeen, Mark, PodSeen, Told
from causeway.adapters.outside.attempts import ANSWERS, GIVEN_BACK_MS, LEASE_MARGIN_MS, SETTLE_MS
from causeway.adapters.runner import Desk, End, RankSeen
from causeway.adapters.runner.ends import Outcome
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

TOLD = Submission(
    tag="t", job="j", fence=1, ranks=1, guard=True, cpu_milli=1, memory_bytes=1, accelerators=0
)
RUNS = RankSeen(waiting=True, started_ms=5)
MARK = Mark(island="i", tag="t", job="j", fence=1)


def ended(code: int | None, end: End = End.EXIT, **more: Any) -> RankSeen:
    return RankSeen(waiting=True, started_ms=5, end=end, code=code, **{"part": "run", **more})


def pod(**more: Any) -> PodSeen:
    return PodSeen(
        **{"name": "p", "tag": "t", "phase": "Running", "node": "n1", "ready": True, **more}
    )


def job(**more: Any) -> JobSeen:
    return JobSeen(kind=JOBS, name="causeway-t-0", mark=MARK, **more)


def attempt(*ranks: RankSeen, **more: Any) -> Attempt:
    folder = Path("/nowhere")
    return Attempt(told=TOLD, folder=folder, desk=Desk(folder, 1), ranks=ranks, **more)


PODS = [
    (),
    (pod(phase="Succeeded", code=0),),
    (pod(phase="Failed", reason="Evicted"),),
    (pod(ready=False, leaving=True),),
]


@pytest.mark.parametrize("pods", PODS)
def test_a_success_is_one_whatever_kubernetes_has_seen_of_it(pods: tuple[PodSeen, ...]) -> None:
    outcome = judge(attempt(ended(0), pods=pods), 0)
    assert outcome is not None
    assert (outcome.phase, outcome.exit_code) == (Phase.SUCCEEDED, 0)


@pytest.mark.parametrize("pods", PODS)
def test_a_plain_exit_code_is_the_programs_own(pods: tuple[PodSeen, ...]) -> None:
    outcome = judge(attempt(ended(3), pods=pods, jobs=(job(),)), 0)
    assert outcome is not None
    assert (outcome.failure, outcome.exit_code) == (FailureClass.USER, 3)


FATES = [
    (pod(phase="Failed", ended="OOMKilled", code=137), FailureClass.LIMIT, "OOMKilled"),
    (pod(phase="Failed", reason="DeadlineExceeded"), FailureClass.LIMIT, "DeadlineExceeded"),
    (
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        FailureClass.PREEMPTION,
        "Evicted",
    ),
    (
        pod(
            phase="Failed",
            reason="Evicted",
            message="Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.",
        ),
        FailureClass.LIMIT,
        "disk",
    ),
    (pod(phase="Failed", disrupted="PreemptionByScheduler"), FailureClass.PREEMPTION, "gave way"),
    (pod(phase="Failed", disrupted="DeletionByTaintManager"), FailureClass.NODE, "n1"),
    (pod(phase="Failed", reason="NodeLost"), FailureClass.NODE, "NodeLost"),
    (pod(phase="Failed", reason="OutOfnvidia.com/gpu"), FailureClass.ENGINE, "turned it away"),
]


@pytest.mark.parametrize(("seen", "failure", "words"), FATES)
def test_what_kubernetes_did_to_it_is_told(
    seen: PodSeen, failure: FailureClass, words: str
) -> None:
    at = attempt(ended(143, End.SIGNAL), pods=(seen,), jobs=(job(failed=True),))
    outcome = judge(at, 0)
    assert outcome is not None
    assert outcome.failure is failure
    assert words in outcome.message


@pytest.mark.parametrize(
    ("reason", "failure"),
    [("Preempted", FailureClass.PREEMPTION), ("TaintManagerEviction", FailureClass.NODE)],
)
def test_an_event_tells_what_1_20_has_no_condition_for(reason: str, failure: FailureClass) -> None:
    heard = (Told(about="p", reason=reason, message=""),)
    at = attempt(ended(143, End.SIGNAL), last_pods=(pod(),), heard=heard, jobs=(job(),))
    outcome = judge(at, 0)
    assert outcome is not None
    assert outcome.failure is failure


def test_a_signal_waits_for_what_kubernetes_says_of_it() -> None:
    at = attempt(ended(143, End.SIGNAL), pods=(pod(),), jobs=(job(),), quiet_ms=100)
    assert judge(at, 100 + SETTLE_MS - 1) is None
    outcome = judge(at, 100 + SETTLE_MS)
    assert outcome is not None
    assert (outcome.failure, "deleted" in outcome.message) == (FailureClass.ENGINE, True)


@pytest.mark.parametrize(
    ("end", "failure"), [(End.LEASE, FailureClass.ISLAND), (End.LIMIT, FailureClass.LIMIT)]
)
def test_what_the_runner_ended_itself_is_its_word(end: End, failure: FailureClass) -> None:
    at = attempt(ended(137, end), pods=(pod(phase="Failed", reason="Evicted"),), jobs=(job(),))
    outcome = judge(at, 0)
    assert outcome is not None
    assert outcome.failure is failure


def test_a_pod_that_was_made_again_does_not_begin_and_the_first_is_waited_for() -> None:
    at = attempt(RankSeen(waiting=True, started_ms=5, again=True), pods=(pod(),), begun_ms=1)
    assert taken_away(at)
    at.back_ms = 1_000
    at.desk.granted_until_ms = 9_000
    assert judge(at, 9_000 + LEASE_MARGIN_MS - 1) is None
    outcome = judge(at, 9_000 + LEASE_MARGIN_MS)
    assert outcome is not None
    assert outcome.failure is FailureClass.PREEMPTION


def test_what_kubernetes_no_longer_has_is_over_when_its_runner_must_be() -> None:
    at = attempt(RUNS, begun_ms=1, missing=ANSWERS, back_ms=1_000)
    assert taken_away(at)
    assert judge(at, 1_000 + GIVEN_BACK_MS - 1) is None
    outcome = judge(at, 1_000 + GIVEN_BACK_MS)
    assert outcome is not None
    assert outcome.failure is FailureClass.ENGINE


def test_a_node_that_does_not_answer_is_given_up_when_the_lease_on_it_is_over() -> None:
    at = attempt(RUNS, pods=(pod(ready=False),), jobs=(job(),), started_ms=5)
    at.desk.granted_until_ms = 9_000
    assert judge(at, 9_000 + LEASE_MARGIN_MS - 1) is None
    outcome = judge(at, 9_000 + LEASE_MARGIN_MS)
    assert outcome is not None
    assert (outcome.failure, "n1" in outcome.message) == (FailureClass.NODE, True)
    at.pods = (pod(),)
    assert judge(at, 99_000) is None


def test_part_of_an_attempt_ends_before_it_is_told_so() -> None:
    broken = Outcome(phase=Phase.FAILED, failure=FailureClass.REFUSED, message="quota")
    at = attempt(RUNS, pods=(pod(),), jobs=(job(),), broken=broken)
    assert judge(at, 0) is None
    at.ranks = (ended(137, End.STOP),)
    assert judge(at, 0) == broken


def test_a_stop_is_one_when_nothing_runs() -> None:
    at = attempt(RUNS, pods=(pod(),), jobs=(job(),), stop_ms=0)
    assert judge(at, 0) is None
    at.pods, at.jobs, at.missing = (), (), ANSWERS
    outcome = judge(at, 0)
    assert outcome is not None
    assert outcome.phase == Phase.STOPPED


@pytest.mark.parametrize(
    ("seen", "failure", "words"),
    [
        (pod(phase="Failed", code=78), FailureClass.ENGINE, "claim and mount"),
        (pod(phase="Failed", code=128, ended="StartError"), FailureClass.REFUSED, "Python 3"),
        (pod(phase="Failed", code=1, words="no such file"), FailureClass.ENGINE, "no such file"),
    ],
)
def test_a_pod_whose_runner_left_no_word(seen: PodSeen, failure: FailureClass, words: str) -> None:
    at = attempt(RankSeen(), pods=(seen,), jobs=(job(failed=True),))
    outcome = judge(at, SETTLE_MS)
    assert outcome is not None
    assert outcome.failure is failure
    assert words in outcome.message


def test_a_job_set_that_kueue_suspends_again_is_preempted() -> None:
    at = attempt(ended(143, End.SIGNAL), jobs=(job(suspended=True),), begun_ms=1)
    outcome = judge(at, 0)
    assert outcome is not None
    assert outcome.failure is FailureClass.PREEMPTION


def test_what_is_refused_when_the_pod_is_made_is_never_started() -> None:
    message = 'Error creating: pods "a" is forbidden: exceeded quota: q, requested: cpu=1'
    at = attempt(jobs=(job(),), heard=(Told(about="j", reason="FailedCreate", message=message),))
    assert never(at) == (
        "Kubernetes refused it: a quota of the namespace is used up "
        "(exceeded quota: q, requested: cpu=1)"
    )
    at.heard = (Told(about="j", reason="FailedCreate", message="timeout"),)
    assert not never(at)
    assert "timeout" in waiting(at)


@pytest.mark.parametrize("reason", sorted(reasons.NEVER))
def test_a_container_that_cannot_be_made_is_never_started(reason: str) -> None:
    assert reason in never(attempt(pods=(pod(phase="Pending", waiting=reason),)))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "handed to Kubernetes"),
        ({"jobs": (job(suspended=True),)}, "Kueue"),
        ({"jobs": (job(),)}, "its pods are being made"),
        ({"pods": (pod(phase="Pending", unschedulable="0/2 nodes"),)}, "for a node: 0/2 nodes"),
        ({"pods": (pod(phase="Pending", waiting="ContainerCreating"),)}, "ContainerCreating"),
        ({"pods": (pod(phase="Pending"),)}, "its pod starts on n1"),
    ],
)
def test_what_it_waits_for_is_said(more: dict[str, Any], words: str) -> None:
    assert words in waiting(attempt(**more))
