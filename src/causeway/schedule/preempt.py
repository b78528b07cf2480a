"""Which running work gives way, if any.

Work may give way to a waiting job of higher priority, and work on loan may give way to whom the
quota belongs (`shares.tree` says what is on loan, and who may take it back). A job that would
itself have to borrow never takes from another tenant's own quota; so what was reclaimed cannot be
taken back by priority, and two jobs cannot evict each other for ever.

Victims are chosen per pool by what stopping them costs, in device-seconds: the work since the last
checkpoint (or since the start when there is none), the restart, and bringing the checkpoint to
where the job goes on. Just enough of them that the job fits, in the pool and in every quota above
it, and none that is not needed. The pool where the least is lost is taken. Attempts that are
already stopping are not victims again: their room counts as settled (see `ledger`). And none is
stopped in its first second, as in Slurm's `PreemptExemptTime`: where work is so short that
this matters, room comes by itself sooner than stopping would pay, and what always gave way to the
next one would never end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from causeway.model.fleet import Preempt, RunningJob
from causeway.model.reasons import Reason, Severity, Token
from causeway.schedule.ask import BANDWIDTH_ASSUMED_MBIT_S, Ask
from causeway.schedule.ledger import Ledger, fits
from causeway.schedule.ranking import Eligible, Ranking
from causeway.schedule.tenancy import Standing, Tenancy, devices_of
from causeway.schedule.words import duration

EXEMPT_MS = 1_000
"""Since an attempt got its lease: for so long it is not stopped for another."""
POOLS_MAX = 64
"""Pools, best first, that one job searches for victims."""
RESTART_S = 30.0
"""Taken as the time in which a stopped attempt's devices do no work until it is where it was:
stopping, being placed again, starting. Measured restarts are 1 to 60 s; only the order counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """A set of victims on one offer's pool that makes room for a job."""

    row: Eligible
    victims: tuple[RunningJob, ...]
    lost_device_s: float
    cost_device_s: float
    """Lost work, restarts and transfers."""


def lost_work_s(attempt: RunningJob, now_ms: int) -> float:
    """Return the seconds of work that stopping this attempt would lose."""
    if not attempt.started_ms:
        return 0.0
    return max(0, now_ms - max(attempt.checkpoint_ms, attempt.started_ms)) / 1000


def _lost_device_s(attempt: RunningJob, now_ms: int) -> float:
    return lost_work_s(attempt, now_ms) * devices_of(attempt)


def stop_cost_device_s(attempt: RunningJob, now_ms: int) -> float:
    """Return the device-seconds that stopping this attempt costs: lost work, restart, transfer."""
    transfer_s = attempt.checkpoint_bytes / (BANDWIDTH_ASSUMED_MBIT_S * 125_000)
    return (lost_work_s(attempt, now_ms) + RESTART_S + transfer_s) * devices_of(attempt)


class Claims:
    """Decides which attempts a job has a claim against, at one point of the round."""

    def __init__(self, ask: Ask, tenancy: Tenancy, standing: Standing) -> None:
        self.ask = ask
        self.tenancy = tenancy
        self._within = standing is Standing.WITHIN
        self._has_room = standing in (Standing.WITHIN, Standing.BORROWS)
        self._me = (ask.tenant, ask.devices, ask.spec.priority)
        self._reclaims = tenancy.any_borrowed() and tenancy.may_claim(ask.tenant)

    def possible(self, ledger: Ledger) -> bool:
        """Say, cheaply, whether a pool may hold a victim at all."""
        if self.ask.now_ms - ledger.leased_first_ms < EXEMPT_MS:
            return False
        return self._reclaims or ledger.priority_lowest < self.ask.spec.priority

    def against(self, attempt: RunningJob) -> bool:
        """Say whether this attempt may have to give way to the job."""
        if self.ask.now_ms - attempt.leased_ms < EXEMPT_MS:
            return False
        below = attempt.spec.priority < self.ask.spec.priority
        if attempt.tenant == self.ask.tenant:
            return below
        if below and self._within:
            # Priority alone decides, from inside the quota.
            return True
        tree = self.tenancy.settled
        if below and self._has_room and tree.on_loan(attempt.tenant, attempt.spec.priority):
            return True
        return self._reclaims and tree.may_reclaim(
            self._me, (attempt.tenant, attempt.spec.priority)
        )


def find_eviction(
    ranking: Ranking, ledgers: Mapping[str, Ledger], *, claims: Claims
) -> Eviction | None:
    """Return the cheapest eviction that makes the job fit on one pool, or None."""
    now_ms = ranking.ask.now_ms
    found: list[Eviction] = []
    searched = 0
    for row in ranking.eligible:
        ledger = ledgers[row.offer.pool.pool]
        if ledger.reservation is not None or not claims.possible(ledger):
            continue
        searched += 1
        victims = _victims(row, ledger, claims)
        if victims:
            found.append(
                Eviction(
                    row=row,
                    victims=victims,
                    lost_device_s=sum(_lost_device_s(v, now_ms) for v in victims),
                    cost_device_s=sum(stop_cost_device_s(v, now_ms) for v in victims),
                )
            )
        if searched >= POOLS_MAX:
            break
    return min(
        found,
        key=lambda e: (e.cost_device_s, len(e.victims), e.row.score_usd, e.row.offer.pool.offer),
        default=None,
    )


def _victims(row: Eligible, ledger: Ledger, claims: Claims) -> tuple[RunningJob, ...]:
    """Return a minimal set of victims on one pool, or none when no set makes room.

    While it looks, the settled tree stands as if those it has taken were gone: so a tenant never
    gives more than it has on loan."""
    ask, tree = claims.ask, claims.tenancy.settled
    by_cost = sorted(
        (a for a in ledger.running if claims.against(a)),
        key=lambda a: (stop_cost_device_s(a, ask.now_ms), a.spec.priority, a.id, a.fence),
    )
    taken: list[RunningJob] = []

    def enough() -> bool:
        room = ledger.settled
        for victim in taken:
            room = room.plus(victim.spec.resources, victim.spec.num_nodes)
        return fits(room, ask, row.unusable) and claims.tenancy.fits_quota(ask.tenant, ask.devices)

    def count(victim: RunningJob, sign: int) -> None:
        tree.take(victim.tenant, sign * devices_of(victim), victim.spec.priority)

    try:
        made = enough()
        for attempt in by_cost:
            if made:
                break
            if not claims.against(attempt):
                continue
            taken.append(attempt)
            count(attempt, -1)
            made = enough()
        if not made:
            return ()
        for index in reversed(range(len(taken))):
            # One that another, found later, has made needless.
            attempt = taken.pop(index)
            count(attempt, 1)
            if not enough():
                taken.insert(index, attempt)
                count(attempt, -1)
        return tuple(taken)
    finally:
        for attempt in taken:
            count(attempt, 1)


def preempts_of(job: str, ask: Ask, *, eviction: Eviction, tenancy: Tenancy) -> tuple[Preempt, ...]:
    """Return the orders to stop the victims, each with its reason."""
    return tuple(
        Preempt(
            job=victim.id,
            fence=victim.fence,
            for_job=job,
            lost_work_s=lost_work_s(victim, ask.now_ms),
            reasons=(_why(job, ask, victim=victim, tenancy=tenancy),),
        )
        for victim in eviction.victims
    )


def _why(job: str, ask: Ask, *, victim: RunningJob, tenancy: Tenancy) -> Reason:
    lost_s = lost_work_s(victim, ask.now_ms)
    if victim.spec.priority < ask.spec.priority:
        claim = (
            f"a job of {ask.tenant} with priority {ask.spec.priority}, "
            f"above its {victim.spec.priority}"
        )
    else:
        claim = f"a job of {ask.tenant} inside its quota, while {victim.tenant} borrows"
    return Reason(
        token=Token.PREEMPTED,
        severity=Severity.WAIT,
        message=f"It gives way to {claim}; {duration(lost_s)} of work since its last checkpoint "
        "or start is lost.",
        evidence={
            "for_job": job,
            "lost_work_s": lost_s,
            "lost_device_s": _lost_device_s(victim, ask.now_ms),
            "borrowed_devices": tenancy.borrowed(victim.tenant),
        },
        try_this="checkpoint more often to lose less",
    )
