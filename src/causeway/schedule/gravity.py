"""Work whose data lies somewhere: when to wait for room there, and who should give it up.

Two rules, both in dollars, both without a parameter of their own.

*Holding out.* A job that could start at once elsewhere waits for room at its best offer for as long
as waiting has cost it less than moving would. Nobody knows how long the wait will be; whoever buys
when rent paid equals the price never pays more than twice what he would have paid had he known (the
ski-rental rule; Karlin, Manasse, Rudolph and Sleator, Algorithmica 3, 1988).

*Crowding.* A job that takes room where others would rather run makes them wait. On a pool of `C`
devices, `d` devices for `h` hours put off everybody who waits for it by about `d h / C` hours; that
is counted against the pool (the external cost of a queue; Vickrey, American Economic Review 59,
1969). So work with little to move makes way for work with much, before it has to be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from causeway.model.fleet import PoolView, WaitingJob
from causeway.model.reasons import Reason, Severity, Token
from causeway.schedule.ask import Ask
from causeway.schedule.ranking import Eligible, Ranking
from causeway.schedule.words import duration, usd

Crowd = Mapping[str, float]
"""Pool -> what an hour of waiting costs all who would rather run there, in USD."""


def crowd_of(wants: Iterable[tuple[str, Ask]]) -> dict[str, float]:
    """Add up what an hour costs those who want each pool: pairs of a pool and who wants it."""
    found: dict[str, float] = {}
    for pool, ask in wants:
        found[pool] = found.get(pool, 0.0) + ask.spec.objective.usd_per_h_waited
    return found


def crowding_usd(ask: Ask, pool: PoolView, *, wants: str, crowd: Crowd) -> float:
    """Return what a job costs others who want a pool, if it runs there. `wants` is the pool where
    it would rather run itself: nobody is in his own way."""
    hourly = crowd.get(pool.pool, 0.0)
    if pool.pool == wants:
        hourly = max(0.0, hourly - ask.spec.objective.usd_per_h_waited)
    wants_accelerator = ask.spec.resources.accelerator is not None
    of_all = pool.capacity.accelerators if wants_accelerator else pool.capacity.cpu_milli // 1000
    run_h = ask.run_s / max(pool.speed, 1e-6) / 3600
    return hourly * ask.devices * run_h / max(1, of_all)


def holds_out(job: WaitingJob, ranking: Ranking, row: Eligible) -> Reason | None:
    """Return why a job waits although `row` has room for it; None: it should take that."""
    ask, best = ranking.ask, ranking.eligible[0]
    hourly = ask.spec.objective.usd_per_h_waited
    more_usd = row.score_usd - best.score_usd
    waited_s = max(0, ask.now_ms - job.queued_ms) / 1000
    if not job.staging or waited_s / 3600 * hourly >= more_usd:
        return None
    at_most = f" for at most {duration(more_usd / hourly * 3600)}" if hourly else ""
    here, there = best.offer.pool.name, row.offer.pool.name
    return Reason(
        token=Token.DATA_GRAVITY,
        severity=Severity.WAIT,
        message=f"It waits for room on {here}{at_most}: to run on {there}, which has room now, is "
        f"{usd(more_usd)} worse, with its data and time weighed in.",
        evidence={"more_usd": more_usd, "waited_s": waited_s, "usd_per_h_waited": hourly},
        try_this="raise objective.usd_per_h_waited to have it start sooner elsewhere",
    )
