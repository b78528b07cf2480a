"""Who is tried again, when, and who is given up, with reasons."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from causeway.model.jobs import (
    Attempt,
    AttemptState,
    Budget,
    Checkpoint,
    FailureClass,
    Job,
    JobKind,
    JobSpec,
    RetryPolicy,
)
from causeway.model.money import Price, Purchase
from causeway.model.reasons import Reason, Severity, Token
from causeway.recover import after_end, budget, stalls, standing
from causeway.recover.decide import (
    BACKOFF_S_MAX,
    SERVICE_STEADY_MS,
    SHORT_RUNS_MAX,
    fingerprint,
    short_runs,
)

F = FailureClass
NOW_MS = 1_000_000


def attempt(fence: int, failure: FailureClass, *, code: int = 1, message: str = "") -> Attempt:
    return Attempt(
        job="j",
        fence=fence,
        island="a",
        pool="p",
        offer="o",
        price=Price(id="p", amount_per_device_h=Decimal(1)),
        purchase=Purchase.SPOT,
        pue_milli=1_000,
        carbon_mg_per_kwh=0,
        state=AttemptState.LOST if failure is F.ISLAND else AttemptState.FAILED,
        failure=failure,
        exit_code=code,
        message=message,
    )


def job(*ends: FailureClass | Attempt, checkpoint_fence: int = 0, **retry: Any) -> Job:
    """A job whose attempts ended so, counted as the shell counts them."""
    attempts = tuple(
        end if isinstance(end, Attempt) else attempt(i + 1, end) for i, end in enumerate(ends)
    )
    failures: dict[str, int] = {}
    for one in attempts:
        assert one.failure
        failures[one.failure.value] = failures.get(one.failure.value, 0) + 1
    checkpoint = Checkpoint(
        artifact="c", step=7, at_ms=1, bytes=1, fence=checkpoint_fence, island="a"
    )
    return Job(
        id="j",
        tenant="t",
        spec=JobSpec(name="j", run="true", retry=RetryPolicy(**retry)),
        attempts=attempts,
        failures=failures,
        checkpoint=checkpoint if checkpoint_fence else None,
    )


def decide(one: Job) -> Any:
    failure = one.attempts[-1].failure
    assert failure
    return after_end(one, failure, NOW_MS)


@pytest.mark.parametrize(
    ("ends", "requeue", "token"),
    [
        ([F.USER], False, Token.RETRIES_USED),
        ([F.LIMIT], False, Token.RETRIES_USED),
        ([F.ENGINE], True, Token.BACKOFF),
        ([F.NODE], True, Token.BACKOFF),
        ([F.ISLAND], True, Token.ALREADY_FAILED_HERE),
        ([F.PREEMPTION], True, Token.ALREADY_FAILED_HERE),
        ([F.REFUSED], True, Token.BACKOFF),
        ([F.ENGINE] * 3, False, Token.NO_PROGRESS),
        ([F.NODE, F.ENGINE, F.NODE], False, Token.NO_PROGRESS),
        ([F.ISLAND] * 20, True, Token.ALREADY_FAILED_HERE),
        ([F.ISLAND] * 21, False, Token.RETRIES_USED),
        ([F.ISLAND, F.ISLAND, F.ISLAND, F.NODE], True, Token.BACKOFF),
    ],
)
def test_each_class_has_its_budget(ends: list[FailureClass], requeue: bool, token: Token) -> None:
    verdict = decide(job(*ends))
    assert (verdict.requeue, verdict.reasons[0].token) == (requeue, token)
    assert verdict.reasons[0].message.endswith(".")
    if not requeue:
        assert verdict.reasons[0].severity is Severity.BLOCK
        assert verdict.reasons[0].try_this


@pytest.mark.parametrize("failure", list(FailureClass))
def test_a_budget_of_n_allows_exactly_n_retries(failure: FailureClass) -> None:
    policy = {failure.value: 2, "no_progress_max": 99}
    assert decide(job(*[failure] * 2, **policy)).requeue
    last = decide(job(*[failure] * 3, **policy))
    assert not last.requeue
    assert last.reasons[0].evidence["retries_used"] == 2


def test_a_new_checkpoint_is_progress() -> None:
    ends = [F.NODE] * 5
    assert not decide(job(*ends)).requeue
    assert not decide(job(*ends, checkpoint_fence=2)).requeue
    assert decide(job(*ends, checkpoint_fence=3)).requeue
    assert decide(job(*ends, checkpoint_fence=5)).requeue


def test_the_same_end_twice_stops_even_with_budget_left() -> None:
    def twice(first: str, second: str, *, code: int = 1, **known: Any) -> Any:
        return decide(
            job(
                attempt(1, F.USER, message=first),
                attempt(2, F.USER, code=code, message=second),
                user=9,
                no_progress_max=99,
                **known,
            )
        )

    same = twice("KeyError: 'x' at 0x7f01, line 20", "KeyError: 'x' at 0x8e22, line 20")
    assert not same.requeue
    assert same.reasons[0].token is Token.NO_PROGRESS
    assert twice("KeyError: 'x'", "ValueError").requeue
    assert twice("KeyError: 'x'", "KeyError: 'x'", code=2).requeue
    assert twice("KeyError: 'x'", "KeyError: 'x'", checkpoint_fence=1).requeue
    assert twice("", "").requeue, "ends without words cannot be compared"


def test_losing_the_island_between_two_equal_ends_does_not_hide_them() -> None:
    same = "KeyError: 'x'"
    one = job(
        attempt(1, F.USER, message=same),
        attempt(2, F.ISLAND),
        attempt(3, F.USER, message=same),
        user=9,
        no_progress_max=99,
    )
    assert not decide(one).requeue


def test_an_island_loss_after_two_equal_ends_is_still_placed_again() -> None:
    ends = [attempt(1, F.USER, message="x"), attempt(2, F.ISLAND)]
    assert decide(job(*ends, user=9)).requeue


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 2.0), (2, 4.0), (4, 16.0), (12, 300.0)])
def test_back_off_doubles_up_to_five_minutes(failures: int, wait_s: float) -> None:
    verdict = decide(job(*[F.NODE] * failures, node=99, no_progress_max=99, backoff_s=2.0))
    assert verdict.not_before_ms == NOW_MS + wait_s * 1000
    assert verdict.reasons[0].evidence["wait_s"] == wait_s


def test_back_off_starts_over_after_progress() -> None:
    ends = [F.NODE] * 4
    verdict = decide(job(*ends, node=99, no_progress_max=99, checkpoint_fence=4))
    assert verdict.not_before_ms == NOW_MS + 1_000


@pytest.mark.parametrize("failure", [F.ISLAND, F.PREEMPTION])
def test_lost_and_preempted_work_does_not_wait(failure: FailureClass) -> None:
    assert decide(job(*[failure] * 9)).not_before_ms == NOW_MS


@given(
    st.lists(st.sampled_from(FailureClass), min_size=1, max_size=60),
    st.floats(0, 1e6),
    st.integers(0, 60),
)
def test_every_verdict_has_reasons_a_bounded_wait_and_an_end(
    ends: list[FailureClass], backoff: float, checkpoint_fence: int
) -> None:
    verdict = decide(job(*ends, backoff_s=backoff, checkpoint_fence=checkpoint_fence))
    assert verdict.reasons
    assert verdict.not_before_ms <= NOW_MS + BACKOFF_S_MAX * 1000
    if ends.count(F.NODE) > 5 and ends[-1] is F.NODE:
        assert not verdict.requeue


def test_a_fingerprint_is_bounded_and_blind_to_numbers() -> None:
    assert fingerprint("A  1\n b") == fingerprint("a 22 B")
    assert len(fingerprint("x y " * 10_000)) == 200


def service(*runs_ms: int, failure: FailureClass = F.USER, **retry: Any) -> Job:
    """A service whose runs lasted so long, each ended by the same failure."""
    attempts = tuple(
        replace(
            attempt(fence, failure, message="the service ended by itself"),
            started_ms=NOW_MS,
            ended_ms=NOW_MS + ran_ms,
        )
        for fence, ran_ms in enumerate(runs_ms, 1)
    )
    spec = JobSpec(name="s", run="x", kind=JobKind.SERVICE, retry=RetryPolicy(**retry))
    failures = {failure.value: len(attempts)}
    return Job(id="j", tenant="t", spec=spec, attempts=attempts, failures=failures)


def test_a_service_is_started_again_with_growing_waits_and_given_up_after_short_runs() -> None:
    waits = []
    for count in range(1, SHORT_RUNS_MAX):
        verdict = after_end(service(*[5] * count), F.USER, NOW_MS)
        assert verdict.requeue
        waits.append(verdict.not_before_ms - NOW_MS)
    assert waits == [1_000 * 2**n for n in range(SHORT_RUNS_MAX - 1)]
    last = after_end(service(*[5] * SHORT_RUNS_MAX), F.USER, NOW_MS)
    assert not last.requeue
    assert last.reasons[0].token is Token.NO_PROGRESS


def test_a_steady_run_of_a_service_forgives_the_short_ones_before_it() -> None:
    job = service(*[5] * (SHORT_RUNS_MAX - 1), SERVICE_STEADY_MS, 5)
    assert short_runs(job) == 1
    assert after_end(job, F.USER, NOW_MS).requeue


def test_a_service_that_loses_islands_is_placed_again_at_once_however_often() -> None:
    verdict = after_end(service(*[5] * 500, failure=F.ISLAND), F.ISLAND, NOW_MS)
    assert verdict.requeue
    assert verdict.not_before_ms == NOW_MS


def test_a_services_own_bound_may_be_higher() -> None:
    job = service(*[5] * SHORT_RUNS_MAX, no_progress_max=SHORT_RUNS_MAX + 1)
    assert after_end(job, F.USER, NOW_MS).requeue


def test_the_same_code_with_other_last_words_is_not_the_same_end() -> None:
    said = [
        Reason(token=Token.DIAGNOSED, severity=Severity.INFO, message=text)
        for text in ("KeyError: 'loss' in 3", "KeyError: 'loss' in 4", "ValueError: shape")
    ]
    first, again, other = (
        replace(attempt(i + 1, F.USER, message="rank 0 ended"), cause=cause)
        for i, cause in enumerate(said)
    )
    assert not decide(job(first, again, user=9)).requeue
    assert decide(job(first, replace(other, fence=2), user=9)).requeue


# -- what is shown of retries ---------------------------------------------------------------


def test_each_class_has_its_own_row() -> None:
    shown = standing(job(F.NODE, F.ISLAND, F.NODE, node=2))
    assert shown is not None
    rows = {row.failure: (row.ends, row.allowed, row.left) for row in shown.budgets}
    assert set(rows) == set(FailureClass)
    assert rows[F.NODE] == (2, 2, 0)
    assert rows[F.ISLAND] == (1, 20, 19)
    assert rows[F.USER] == (0, 0, 0)
    assert (shown.stalled, shown.stalled_max) == (2, 3)


def test_a_checkpoint_clears_the_row_but_not_the_budget() -> None:
    ended = job(F.NODE, F.NODE, checkpoint_fence=2)
    assert stalls(ended) == (0, 3)
    assert budget(ended, F.NODE).left == 3


def test_a_service_has_no_number_but_a_row_of_short_runs() -> None:
    ended = job(F.USER, F.USER)
    service = replace(ended, spec=replace(ended.spec, kind=JobKind.SERVICE))
    assert budget(service, F.USER) == Budget(failure=F.USER, ends=2, allowed=-1, left=-1)
    assert budget(service, F.REFUSED).allowed == 20
    assert stalls(service) == (2, 8)


def test_a_group_has_none() -> None:
    ended = job()
    assert standing(replace(ended, spec=replace(ended.spec, kind=JobKind.GROUP))) is None


@given(st.lists(st.sampled_from(sorted(FailureClass)), min_size=1, max_size=8), st.data())
def test_it_is_given_up_exactly_when_what_is_shown_says_so(
    ends: list[FailureClass], data: st.DataObject
) -> None:
    allowed = data.draw(st.integers(0, 4))
    # No two ends say the same, so that only the two counts shown can stop it.
    words = ("alpha", "beta", "gamma", "delta", "eps", "zeta", "eta", "theta")
    tried = [attempt(i + 1, end, message=words[i]) for i, end in enumerate(ends)]
    one = job(*tried, **{ends[-1].value: allowed})
    shown, (stalled, most) = budget(one, ends[-1]), stalls(one)
    over = shown.ends > shown.allowed
    stuck = ends[-1] in (F.USER, F.LIMIT, F.ENGINE, F.NODE) and stalled >= most
    assert after_end(one, ends[-1], NOW_MS).requeue is not (over or stuck)
