"""Which running work gives way, if any.

Work may give way to a waiting job of higher priority, and work of a tenant that borrows may give
way to a tenant that is inside its quota. A job that would itself have to borrow never takes from
another tenant's own quota; so what was reclaimed cannot be taken back by priority, and two jobs
cannot evict each other for ever.

Victims are chosen per pool by least lost work (device-seconds since the last checkpoint, or
since the start when there is none), just enough of them that the job fits, and none that is not
needed. The pool where the least is lost is taken. Attempts that are already stopping are not
victims again: their room counts as settled (see `ledger`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from causeway.model.fleet import Preempt, RunningJob
from causeway.model.reasons import Reason, Severity, Token
from causeway.schedule.ask import Ask
from causeway.schedule.ledger import Ledger, fits
from causeway.schedule.ranking import Eligible, Ranking
from causeway.schedule.tenancy import Standing, Tenancy
from causeway.schedule.words import duration

POOLS_MAX = 64
"""Pools, best first, that one job searches for victims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """A set of victims on one offer's pool that makes room for a job."""

    row: Eligible
    victims: tuple[RunningJob, ...]
    lost_device_s: float


def lost_work_s(attempt: RunningJob, now_ms: int) -> float:
    """Return the seconds of work that stopping this attempt would lose."""
    if not attempt.started_ms:
        return 0.0
    return max(0, now_ms - max(attempt.checkpoint_ms, attempt.started_ms)) / 1000


def _devices(attempt: RunningJob) -> int:
    return attempt.spec.resources.devices * attempt.spec.num_nodes


def _lost_device_s(attempt: RunningJob, now_ms: int) -> float:
    return lost_work_s(attempt, now_ms) * _devices(attempt)


class Claims:
    """Decides which attempts a job has a claim against, at one point of the round."""

    def __init__(self, ask: Ask, tenancy: Tenancy, standing: Standing) -> None:
        self.ask = ask
        self._tenancy = tenancy
        self._within = standing is Standing.WITHIN
        has_quota = tenancy.share_of(ask.tenant).quota_devices is not None
        self._reclaims = self._within and has_quota and tenancy.any_borrowed()
        self._own_only = standing is Standing.FULL
        self.excess_devices = tenancy.excess(ask.tenant, ask.devices) if self._own_only else 0

    def possible(self, ledger: Ledger) -> bool:
        """Say, cheaply, whether a pool may hold a victim at all."""
        return self._reclaims or ledger.priority_lowest < self.ask.spec.priority

    def against(self, attempt: RunningJob) -> bool:
        """Say whether this attempt may have to give way to the job."""
        return self.outright(attempt) or self.to_loan(attempt)

    def outright(self, attempt: RunningJob) -> bool:
        """Say whether priority alone decides: within one tenant, or from inside the quota."""
        if attempt.spec.priority >= self.ask.spec.priority:
            return False
        return attempt.tenant == self.ask.tenant or self._within

    def to_loan(self, attempt: RunningJob) -> bool:
        """Say whether the attempt may have to give way as far as its tenant borrows."""
        if self._own_only or attempt.tenant == self.ask.tenant:
            return False
        first = self._reclaims or attempt.spec.priority < self.ask.spec.priority
        return first and self._tenancy.borrowed(attempt.tenant) > 0


def find_eviction(
    ranking: Ranking, ledgers: Mapping[str, Ledger], *, tenancy: Tenancy, claims: Claims
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
        victims = _victims(row, ledger, tenancy=tenancy, claims=claims)
        if victims:
            lost = sum(_lost_device_s(v, now_ms) for v in victims)
            found.append(Eviction(row=row, victims=victims, lost_device_s=lost))
        if searched >= POOLS_MAX:
            break
    return min(
        found,
        key=lambda e: (e.lost_device_s, len(e.victims), e.row.score_usd, e.row.offer.pool.offer),
        default=None,
    )


def _victims(
    row: Eligible, ledger: Ledger, *, tenancy: Tenancy, claims: Claims
) -> tuple[RunningJob, ...]:
    """Return a minimal set of victims on one pool, or none when no set makes room."""
    ask = claims.ask
    by_loss = sorted(
        (a for a in ledger.running if claims.against(a)),
        key=lambda a: (_lost_device_s(a, ask.now_ms), a.spec.priority, a.id, a.fence),
    )
    taken: list[RunningJob] = []
    on_loan: dict[str, int] = {}
    for attempt in by_loss:
        if _enough(row, ledger, victims=taken, claims=claims):
            break
        left = on_loan.setdefault(attempt.tenant, tenancy.borrowed(attempt.tenant))
        if left <= 0 and not claims.outright(attempt):
            continue
        on_loan[attempt.tenant] = left - _devices(attempt)
        taken.append(attempt)
    if not _enough(row, ledger, victims=taken, claims=claims):
        return ()
    for attempt in reversed(tuple(taken)):
        fewer = [a for a in taken if a is not attempt]
        if _enough(row, ledger, victims=fewer, claims=claims):
            taken = fewer
    return tuple(taken)


def _enough(
    row: Eligible, ledger: Ledger, *, victims: Sequence[RunningJob], claims: Claims
) -> bool:
    """Say whether the job fits, in the pool and in the quota, once these victims are gone."""
    if sum(map(_devices, victims)) < claims.excess_devices:
        return False
    room = ledger.settled
    for victim in victims:
        room = room.plus(victim.spec.resources, victim.spec.num_nodes)
    return fits(room, claims.ask, row.unusable)


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
