"""Explanations agree with the round, and every change that is proposed really helps."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from fleet_for_tests import NOW_MS, always, capacity, gpus, pool, running, snapshot, spec, waiting

from causeway.model.errors import NotFound
from causeway.model.fleet import PoolView, Snapshot, TenantShare
from causeway.model.islands import OwnerPolicy
from causeway.model.jobs import JobSpec, Member, Submission
from causeway.model.money import Purchase
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.resources import AcceleratorRequest
from causeway.schedule import Explanation, Outlook, Quote, explain, quote


def never(text: str, view: PoolView) -> bool:
    return False


@pytest.mark.parametrize(
    ("job", "views", "fields", "words"),
    [
        ({"spot": False}, [{"purchase": Purchase.SPOT}], ("spot",), "accept spot"),
        ({"where": "x"}, [{}], ("where",), "drop `where`"),
        (
            {"price_cap_per_device_h": Decimal("0.01")},
            [{"usd": "0.07"}, {"usd": "0.03"}],
            ("price_cap_per_device_h",),
            "raise the price cap to $0.03 ",
        ),
        ({"cores": 9}, [{"cores": 8}, {"cores": 4}], ("cpus",), "ask for 8 cores"),
        ({"cores": 3, "num_nodes": 3}, [{"cores": 8}], ("num_nodes",), "use 2 nodes"),
        (
            {"budget_micros": 10_000, "expected_run_s": 3600.0},
            [{"usd": "0.05"}],
            ("budget",),
            "raise the budget to $0.05",
        ),
        ({"isolation": "sandbox"}, [{}], ("isolation",), "weaker isolation"),
        (
            {},
            [{"policy": OwnerPolicy(max_run_s=600.0)}],
            ("time_limit_s",),
            "time limit of 10 min",
        ),
        (
            {"gpu": AcceleratorRequest(count=1, model="H100")},
            [{"accelerators": 1, "devices": gpus("A100", 1)}],
            ("accelerator",),
            "any accelerator model",
        ),
        ({"deadline_ms": NOW_MS - 1}, [{}], ("deadline",), "drop the deadline"),
        (
            {"spot": False, "where": "x"},
            [{"purchase": Purchase.SPOT}],
            ("where", "spot"),
            "drop `where` and accept spot",
        ),
    ],
)
def test_the_smallest_change_that_lets_it_start_comes_first(
    job: dict[str, Any], views: list[dict[str, Any]], fields: tuple[str, ...], words: str
) -> None:
    pools = [pool(f"p{i}", **view) for i, view in enumerate(views)]
    told = explain(snapshot(*pools, jobs=(waiting("j", **job),)), "j", matches=never)
    assert told.outlook is Outlook.CAN_NEVER_FIT
    assert told.headline.startswith("It cannot run as it is.")
    assert len(told.changes[0].fields) == len(fields)
    change = next(c for c in told.changes if c.fields == fields)
    assert words in change.sentence
    assert change.offers_now >= 1


def test_what_the_law_forbids_no_change_opens() -> None:
    view = pool("a", purchase=Purchase.SPOT)
    cited = Reason(
        token=Token.LAW, severity=Severity.BLOCK, message="Article 44.", waiting_helps=False
    )
    told = explain(
        snapshot(view, jobs=(waiting("j", spot=False),), verdicts={"j": {view.pool: cited}}),
        "j",
        matches=always,
    )
    assert told.changes == ()
    assert told.headline == "It cannot run as it is. Article 44."
    assert [r.token for r in told.candidates[0].reasons] == [Token.LAW, Token.SPOT_REFUSED]


def test_blockers_are_counted_over_all_reasons_with_island_names() -> None:
    told = explain(
        snapshot(
            pool("a", cordoned=True),
            pool("b", cordoned=True, purchase=Purchase.SPOT),
            pool("c", purchase=Purchase.SPOT),
            jobs=(waiting("j", spot=False),),
        ),
        "j",
        matches=always,
    )
    counted = {b.token: (b.evidence["offers"], b.evidence["islands"]) for b in told.blockers}
    assert counted == {Token.CORDONED: (2, "a and b"), Token.SPOT_REFUSED: (2, "b and c")}


def test_waiting_is_proposed_with_the_time_when_ends_are_known() -> None:
    view = snapshot(
        pool("a", cores=2),
        jobs=(waiting("j", 2),),
        running=(running("r", "a", 1, expected_end_ms=NOW_MS + 120_000),),
    )
    told = explain(view, "j", matches=always)
    assert told.outlook is Outlook.WOULD_WAIT
    assert told.changes[-1].fields == ()
    assert told.changes[-1].sentence.startswith("wait about 2 min")


def test_a_job_far_back_in_a_long_queue_is_still_explained() -> None:
    jobs = tuple(waiting(f"j{i:05d}", submitted_ms=i) for i in range(3000))
    told = explain(snapshot(pool("a"), jobs=jobs), "j02999", matches=always)
    assert told.outlook is Outlook.WOULD_WAIT
    assert told.reasons[0].token is Token.CAPACITY


def test_the_quota_is_shown() -> None:
    shares = {"acme": TenantShare(tenant="acme", quota_devices=2, borrow_devices=1)}
    view = snapshot(
        pool("a"), jobs=(waiting("j", 2),), running=(running("r", "a", 3),), tenants=shares
    )
    told = explain(view, "j", matches=always)
    assert told.reasons[0].token is Token.QUOTA
    assert (told.quota.used_devices, told.quota.borrowed_devices) == (3, 1)
    assert told.quota.dominant_share == pytest.approx(3 / 8)


def test_a_running_job_is_said_to_run_and_an_unknown_one_is_not_found() -> None:
    view = snapshot(pool("a"), running=(running("r", "a"),))
    told = explain(view, "r", matches=always)
    assert (told.outlook, told.headline) == (Outlook.HOLDS_ROOM, "It runs on a, as attempt 1.")
    with pytest.raises(NotFound):
        explain(view, "nobody", matches=always)


@pytest.mark.parametrize(
    ("cores", "free", "outlook"),
    [
        (2, 4, Outlook.FITS_NOW),
        (2, 1, Outlook.WOULD_WAIT),
        (5, 4, Outlook.CAN_NEVER_FIT),
    ],
)
def test_a_quote_says_now_later_or_never(cores: int, free: int, outlook: Outlook) -> None:
    view = snapshot(pool("a", cores=4, free=capacity(free)))
    told = quoted(view, spec(cores))
    assert told.outlook is outlook
    if outlook is Outlook.FITS_NOW:
        assert told.headline.startswith("It can start now on a")
        assert told.candidates[0].chosen
    else:
        assert told.reasons


def test_a_quote_counts_those_who_are_ahead() -> None:
    view = snapshot(pool("a", cores=2), jobs=(waiting("ahead", 2, submitted_ms=1),))
    told = quoted(view, spec(2))
    assert told.outlook is Outlook.WOULD_WAIT


def test_a_quote_of_a_specification_asks_the_law_and_keeps_the_tenants_budget() -> None:
    cited = Reason(
        token=Token.LAW, severity=Severity.BLOCK, message="Article 44.", waiting_helps=False
    )
    free, barred = pool("free"), pool("barred", usd="0.01")

    def law(jobs: Any, pools: Any, now_ms: int) -> dict[str, dict[str, Reason]]:
        assert now_ms == NOW_MS
        return {job.id: {barred.pool: cited} for job in jobs}

    view = snapshot(free, barred)
    told = quoted(view, spec(1), tenant="other", verdicts=law)
    assert told.outlook is Outlook.FITS_NOW
    assert [c.name for c in told.candidates if c.feasible] == ["free"]
    mine = quoted(view, spec(2), verdicts=law, tenant_budget_left_micros=50_000)
    assert mine.outlook is Outlook.CAN_NEVER_FIT
    assert mine.reasons[0].token in {Token.BUDGET, Token.LAW}


def test_members_of_a_submission_are_asked_about_together() -> None:
    members = tuple(Member(name=f"m{i}", spec=spec(1)) for i in range(150))
    told = ask(snapshot(pool("a", cores=4)), Submission(name="many", members=members))
    assert told.outlooks == {"fits_now": 4, "would_wait": 146}
    assert [m.name for m in told.members] == [f"m{i}" for i in range(100)]
    assert [m.explanation.outlook.value for m in told.members[:5]] == ["fits_now"] * 4 + [
        "would_wait"
    ]


def test_a_member_that_needs_others_comes_after_them_and_may_never_fit() -> None:
    flow = Submission(
        name="flow",
        members=(
            Member(name="first", spec=spec(4)),
            Member(name="second", spec=spec(4), needs=("first",)),
            Member(name="huge", spec=spec(400), needs=("first", "second")),
        ),
    )
    told = ask(snapshot(pool("a", cores=4)), flow)
    assert told.outlooks == {"fits_now": 1, "after_others": 1, "can_never_fit": 1}
    second = told.members[1].explanation
    assert second.headline.startswith("It starts once first has succeeded.")
    assert "It can start now on a" in second.headline


def ask(view: Snapshot, submission: Submission, **asker: Any) -> Quote:
    verdicts = asker.pop("verdicts", lambda jobs, pools, now_ms: {})
    return quote(
        view, submission, asker=waiting("asker", **asker), matches=always, verdicts=verdicts
    )


def quoted(view: Snapshot, wanted: JobSpec, **asker: Any) -> Explanation:
    one = Submission(name="one", members=(Member(name="one", spec=wanted),))
    return ask(view, one, **asker).members[0].explanation
