"""Now or later: the decision for one job, with its reasons and what it trades for what.

`when` weighs the hours until a deadline by what a job's owner says they are worth (`Objective`):

    dollars, kg CO2e x usd_per_kg_co2e, hours waited x usd_per_h_waited

and says run or wait. It is asked again whenever a forecast or the queue has changed, answers for
now alone, and keeps nothing. The plan behind an answer is told with it, and so is the *exchange*:
what waiting would have to be worth, in dollars per kg, for the answer to turn. `spot_or_demand` is
the same question about spot, for one job under a plan of `thrift`.

The clock of both is the caller's. Deadlines are kept as the hours are known: a job with as many
hours left as it needs runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput
from causeway.model.jobs import Objective
from causeway.model.reasons import Reason, Severity, Token
from causeway.schedule.shift.spot import Choice, Jobs, Terms, overrule
from causeway.schedule.shift.thrift import Belief, Plan, choose, expected_costs
from causeway.schedule.shift.windows import Cheapest

Floats = NDArray[np.float64]
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is still to be done."""

    hours: int
    """Whole hours of running; rounded up."""
    power_kw: float
    interruptible: bool = False
    """Whether it may stop after any hour and go on later at no loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """What is expected of each hour from now on; the first is the one that runs now."""

    usd_per_h: Floats
    """Price of running the job."""
    carbon_g_per_kwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a way of running comes to."""

    starts_h: int
    """Hours from now."""
    done_h: int
    usd: float
    kg_co2e: float
    worth_usd: float
    """With the owner's rates: dollars, carbon and waiting in one sum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The answer."""

    run: bool
    now: Bill
    """Of running from now on without a stop."""
    best: Bill
    """Of the cheapest way that still meets the deadline."""
    exchange_usd_per_kg: float | None
    """At what price of carbon the two would be worth the same; none where carbon is the same."""
    reason: Reason


def when(now_ms: int, work: Work, deadline_ms: int, hours: Hours, rates: Objective) -> Timing:
    """Return whether to run now.

    Args:
        now_ms: the start of the first of `hours`.
        work: what is to be done.
        deadline_ms: by when.
        hours: what is expected; where they end before the deadline, later hours are not weighed.
        rates: what hours waited and kg are worth to the owner.

    Raises:
        InvalidInput: there is nothing to do, or fewer hours are told than the work needs.
    """
    told = min(len(hours.usd_per_h), len(hours.carbon_g_per_kwh))
    if work.hours < 1 or told < work.hours:
        raise InvalidInput(f"{work.hours} h of work cannot be weighed over {told} h that are told")
    open_h = min(told, int((deadline_ms - now_ms) // HOUR_MS))
    first = np.arange(work.hours)
    now = _bill(work, hours, rates, first)
    if open_h <= work.hours:
        return Timing(
            run=True, now=now, best=now, exchange_usd_per_kg=None, reason=_no_time(work, open_h)
        )
    best = _bill(work, hours, rates, _cheapest(work, hours, rates, open_h))
    if best.worth_usd >= now.worth_usd:
        best = now
    waits = best.starts_h > 0
    return Timing(
        run=not waits,
        now=now,
        best=best,
        exchange_usd_per_kg=_exchange(now, best, rates),
        reason=_traded(now, best, rates),
    )


def _cheapest(work: Work, hours: Hours, rates: Objective, open_h: int) -> NDArray[np.int64]:
    """Return the hours that are worth least, waiting included."""
    kg = hours.carbon_g_per_kwh[:open_h] * work.power_kw / 1000
    worth = hours.usd_per_h[:open_h] + kg * rates.usd_per_kg_co2e
    ends = np.arange(work.hours, open_h + 1)
    late = (ends - work.hours) * rates.usd_per_h_waited
    if work.interruptible:
        total = Cheapest(worth).cost(np.zeros(len(ends), np.int64), ends, work.hours) + late
        end = int(ends[total.argmin()])
        return np.sort(np.argsort(worth[:end], kind="stable")[: work.hours])
    sums = np.concatenate([[0.0], np.cumsum(worth)])
    total = sums[ends] - sums[ends - work.hours] + late
    return int(total.argmin()) + np.arange(work.hours)


def _bill(work: Work, hours: Hours, rates: Objective, at: NDArray[np.int64]) -> Bill:
    usd = float(hours.usd_per_h[at].sum())
    kg = float(hours.carbon_g_per_kwh[at].sum()) * work.power_kw / 1000
    done = int(at[-1]) + 1
    waited = (done - work.hours) * rates.usd_per_h_waited
    return Bill(
        starts_h=int(at[0]),
        done_h=done,
        usd=usd,
        kg_co2e=kg,
        worth_usd=usd + kg * rates.usd_per_kg_co2e + waited,
    )


def _exchange(now: Bill, best: Bill, rates: Objective) -> float | None:
    """Return the price of a kg at which running now and the best way would be worth the same."""
    kg = now.kg_co2e - best.kg_co2e
    if abs(kg) < 1e-9:
        return None
    waited = (best.done_h - now.done_h) * rates.usd_per_h_waited
    return (best.usd + waited - now.usd) / kg


def _no_time(work: Work, open_h: int) -> Reason:
    return Reason(
        token=Token.DEADLINE,
        severity=Severity.INFO,
        message=f"It needs {work.hours} h and has {open_h} h until its deadline, so it runs now.",
        evidence={"work_h": work.hours, "open_h": open_h},
        waiting_helps=False,
    )


def _traded(now: Bill, best: Bill, rates: Objective) -> Reason:
    """Return the reason for running or waiting, with both bills as evidence."""
    saves_usd, saves_kg = now.usd - best.usd, now.kg_co2e - best.kg_co2e
    evidence: dict[str, str | int | float | bool] = {
        "saves_usd": round(saves_usd, 4),
        "saves_kg_co2e": round(saves_kg, 4),
        "later_h": best.done_h - now.done_h,
        "usd_per_kg_co2e": rates.usd_per_kg_co2e,
        "usd_per_h_waited": rates.usd_per_h_waited,
    }
    if best.starts_h == 0:
        return Reason(
            token=Token.CHOSEN,
            severity=Severity.INFO,
            message="No later hour before its deadline is expected to be worth waiting for.",
            evidence=evidence,
            waiting_helps=False,
        )
    return Reason(
        token=Token.BETTER_HOUR,
        severity=Severity.WAIT,
        message=(
            f"Starting in {best.starts_h} h is expected to save {saves_usd:.2f} USD and "
            f"{saves_kg:.2f} kg CO2e, and to end {best.done_h - now.done_h} h later."
        ),
        evidence=evidence,
        try_this="an earlier deadline, or a higher usd_per_h_waited, starts it sooner",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What to do about spot in this tick."""

    choice: Choice
    forced: bool
    """The deadline left no other."""
    expected_usd: tuple[float, float, float]
    """By choice, until the job is done; infinite where it cannot be had."""
    reason: Reason


def spot_or_demand(
    plan: Plan, terms: Terms, job: Jobs, belief: Belief, *, spot_usd_per_tick: float
) -> Offer:
    """Return where one job runs in this tick; `job` and `belief` are arrays of one."""
    wished = choose(plan, terms, job, belief)
    done = overrule(terms, job, wished)
    choice, forced = Choice(int(done[0])), bool(done[0] != wished[0] and job.left[0] > 0)
    per_step = plan.step_ticks * spot_usd_per_tick
    costs = [float(cost) * per_step for cost in expected_costs(plan, terms, job, belief)[:, 0]]
    idle, spot, demand = (cost if cost < 1e5 * per_step else float("inf") for cost in costs)
    spare = int(job.time_left[0] - job.left[0])
    said = {
        Choice.IDLE: "It waits for spot, which is expected to come in time.",
        Choice.SPOT: "It runs on spot.",
        Choice.ON_DEMAND: "It runs on demand: waiting for spot is expected to cost more.",
    }
    message = "It runs on demand: any later, and it could be late." if forced else said[choice]
    return Offer(
        choice=choice,
        forced=forced,
        expected_usd=(idle, spot, demand),
        reason=Reason(
            token=Token.DEADLINE if forced else Token.CHOSEN,
            severity=Severity.WAIT if choice == Choice.IDLE else Severity.INFO,
            message=message,
            evidence={"spare_ticks": spare, "work_left_ticks": int(job.left[0])},
            waiting_helps=choice == Choice.IDLE,
        ),
    )
