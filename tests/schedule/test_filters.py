"""Each filter: one case that it excludes with its token, and one just inside that it lets pass."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from fleet_for_tests import GIB, NOW_MS, always, gpus, pool, snapshot, waiting

from causeway.model.errors import InvalidInput
from causeway.model.fleet import PoolView, WaitingJob
from causeway.model.islands import OwnerPolicy
from causeway.model.jobs import JobKind
from causeway.model.money import Purchase
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.resources import AcceleratorRequest, Capacity
from causeway.schedule.ask import Matches, ask_of
from causeway.schedule.filters import FILTERS, all_reasons, first_reason, relevant

H100 = AcceleratorRequest(count=2, model="h100", memory_bytes_min=80 * GIB)


def judge(
    job: WaitingJob, view: PoolView, matches: Matches = always, **changes: Any
) -> Reason | None:
    ask = ask_of(job, snapshot(view, jobs=(job,), **changes), matches)
    reason = first_reason(ask, view)
    assert first_reason(ask, view, relevant(ask)) == reason
    return reason


@pytest.mark.parametrize(
    ("token", "job", "out", "inside"),
    [
        (Token.STALE, {}, {"fresh": False, "age_ms": 9000}, {"age_ms": 3000}),
        (Token.UNHEALTHY, {}, {"healthy": False}, {}),
        (Token.CORDONED, {}, {"cordoned": True}, {}),
        (Token.TOO_SMALL, {"cores": 9}, {"cores": 8}, {"cores": 9}),
        (Token.TOO_SMALL, {"cores": 3, "num_nodes": 3}, {"cores": 8}, {"cores": 9}),
        (
            Token.TOO_SMALL,
            {"cores": 3, "num_nodes": 2},
            {"cores": 8, "node": Capacity(cpu_milli=2_000, memory_bytes=2**40)},
            {"cores": 8, "node": Capacity(cpu_milli=3_000, memory_bytes=2**40)},
        ),
        (
            Token.OWNER_POLICY,
            {},
            {"policy": OwnerPolicy(tenants=("other",))},
            {"policy": OwnerPolicy(tenants=("acme",))},
        ),
        (
            Token.OWNER_POLICY,
            {"kind": JobKind.SERVICE},
            {"policy": OwnerPolicy(kinds=("batch",))},
            {"policy": OwnerPolicy(kinds=("service",))},
        ),
        (
            Token.OWNER_POLICY,
            {"secrets": ("key",)},
            {"policy": OwnerPolicy(allow_secrets=False)},
            {},
        ),
        (
            Token.OWNER_POLICY,
            {"priority": 4},
            {"policy": OwnerPolicy(priority_min=5)},
            {"policy": OwnerPolicy(priority_min=4)},
        ),
        (
            Token.OWNER_POLICY,
            {"time_limit_s": 601.0},
            {"policy": OwnerPolicy(max_run_s=600.0)},
            {"policy": OwnerPolicy(max_run_s=601.0)},
        ),
        (Token.OWNER_POLICY, {}, {"policy": OwnerPolicy(max_run_s=600.0)}, {}),
        (
            Token.ACCELERATOR,
            {"gpu": H100},
            {"accelerators": 2, "devices": gpus("A100", 2)},
            {"accelerators": 2, "devices": gpus("H100", 2)},
        ),
        (
            Token.ACCELERATOR,
            {"gpu": H100},
            {"accelerators": 2, "devices": gpus("H100", 2, memory_gib=40)},
            {"accelerators": 4, "devices": gpus("A100", 2) + gpus("H100", 2)},
        ),
        (
            Token.ACCELERATOR,
            {"gpu": AcceleratorRequest(count=1)},
            {"accelerators": 1, "devices": gpus("H100", 1, healthy=False)},
            {"accelerators": 1},
        ),
        (Token.ACCELERATOR, {"gpu": H100}, {"accelerators": 2}, None),
        (Token.SPOT_REFUSED, {"spot": False}, {"purchase": Purchase.SPOT}, {}),
        (
            Token.PRICE_CAP,
            {"price_cap_per_device_h": Decimal("0.05")},
            {"usd": "0.0501"},
            {"usd": "0.05"},
        ),
        (Token.PRICE_CAP, {}, {"currency": "XTS"}, {}),
        (Token.ISOLATION, {"isolation": "sandbox"}, {"isolation": ("process", "limits")}, None),
        (Token.ISOLATION, {"isolation": "limits"}, {}, {"isolation": ("process", "sandbox")}),
        (Token.IMAGE, {"image": "debian"}, {}, {"images": True}),
        (Token.DEADLINE, {"deadline_ms": NOW_MS}, {}, None),
        (
            Token.DEADLINE,
            {"deadline_ms": NOW_MS + 60_000, "expected_run_s": 90.0},
            {"speed": 1.0},
            {"speed": 1.5},
        ),
        (
            Token.BUDGET,
            {"budget_micros": 50_000, "expected_run_s": 3600.0},
            {"usd": "0.051"},
            {"usd": "0.05"},
        ),
        (
            Token.BUDGET,
            {"tenant_budget_left_micros": 24_999, "expected_run_s": 1800.0},
            {},
            {"usd": "0.049"},
        ),
    ],
)
def test_excludes_what_it_must_and_nothing_just_inside(
    token: Token, job: dict[str, Any], out: dict[str, Any], inside: dict[str, Any] | None
) -> None:
    asked = waiting("j", **job)
    reason = judge(asked, pool("alba", **out))
    assert reason is not None
    assert reason.token is token
    assert "alba" in reason.message or token is Token.DEADLINE
    if inside is not None:
        assert judge(asked, pool("alba", **inside)) is None


def test_an_assumed_run_time_excludes_nothing_by_deadline() -> None:
    assert judge(waiting("j", deadline_ms=NOW_MS + 1000), pool("alba")) is None


def test_the_laws_own_reason_is_passed_on_as_it_is() -> None:
    view = pool("alba")
    cited = Reason(token=Token.LAW, severity=Severity.BLOCK, message="Article 44.")
    assert judge(waiting("j"), view, verdicts={"j": {view.pool: cited}}) is cited
    assert judge(waiting("j"), view, verdicts={"other": {view.pool: cited}}) is None


def test_where_is_evaluated_by_the_predicate_that_was_handed_in() -> None:
    asked = waiting("j", where="name == brin")
    only_brin: Matches = lambda text, view: text.endswith(view.name)  # noqa: E731
    excluded = judge(asked, pool("alba"), only_brin)
    assert excluded is not None
    assert excluded.token is Token.CONSTRAINT
    assert judge(asked, pool("brin"), only_brin) is None


def test_a_broken_where_is_a_reason_and_not_an_end_of_the_round() -> None:
    def broken(text: str, view: PoolView) -> bool:
        raise InvalidInput("unknown name `prize`", hint="did you mean price?")

    reason = judge(waiting("j", where="prize < 2"), pool("alba"), broken)
    assert reason is not None
    assert "unknown name" in reason.message
    assert reason.try_this == "did you mean price?"


def test_filters_that_waiting_cannot_cure_come_first() -> None:
    """So that the first reason found is the most severe one, which `Plan.waits` relies on."""
    view = pool("alba", fresh=False, healthy=False, cordoned=True, cores=1, images=False)
    asked = waiting("j", cores=2, image="x", isolation="sandbox", deadline_ms=1)
    ask = ask_of(asked, snapshot(view, jobs=(asked,)), always)
    severities = [r.severity for r in all_reasons(ask, view)]
    assert severities == sorted(severities, key=[Severity.BLOCK, Severity.WAIT].index)
    assert len(severities) == 7
    assert len(FILTERS) == len(set(FILTERS))
