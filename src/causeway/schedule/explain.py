"""Why a job is where it is, and what would change that.

The answer runs the real round on the snapshot, so it cannot disagree with the scheduler. Changes
are proposed in `changes` and each is checked by running the same filters on the changed job; one
that does not help is not shown. An explanation is for one instant: the next report of an island
may change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from causeway.model.errors import NotFound
from causeway.model.fleet import Candidate, Place, Plan, RunningJob, Snapshot, WaitingJob
from causeway.model.reasons import Reason
from causeway.schedule.ask import Ask, Matches
from causeway.schedule.changes import Change, changes_for
from causeway.schedule.filters import all_reasons
from causeway.schedule.ranking import Excluded, Ranking, whole_table
from causeway.schedule.round import Round
from causeway.schedule.tenancy import Tenancy
from causeway.schedule.waits import Group, together
from causeway.schedule.words import duration, usd


class Outlook(StrEnum):
    """What the queue and the fleet as they are mean for a job."""

    HOLDS_ROOM = "holds_room"
    """It has been placed already: it starts, runs or stops."""
    FITS_NOW = "fits_now"
    """This round places it."""
    WOULD_WAIT = "would_wait"
    """Time can cure all that is in its way at one offer or more."""
    AFTER_OTHERS = "after_others"
    """Jobs that it needs must succeed first; not submitted yet, and nothing else is in its way for
    good."""
    CAN_NEVER_FIT = "can_never_fit"
    """No offer of today's fleet would ever take it; the job or the fleet must change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaView:
    """A tenant's quota and use."""

    tenant: str
    used_devices: int
    quota_devices: int | None
    borrow_devices: int | None
    borrowed_devices: int
    dominant_share: float
    """Largest part of any one kind of resource that it uses, over its weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything a person needs to see why a job waits, or where it would go."""

    job: str
    outlook: Outlook
    headline: str
    reasons: tuple[Reason, ...]
    """The round's own, most severe first."""
    candidates: tuple[Candidate, ...]
    """Offers, best first: the placement table when it can start, else every offer with every
    reason."""
    blockers: tuple[Reason, ...]
    """What excludes offers, one per kind, with counts and island names, most frequent first."""
    changes: tuple[Change, ...]
    """The smallest changes that help, each checked; those that let it start now come first."""
    quota: QuotaView


def explain(snapshot: Snapshot, job_id: str, *, matches: Matches) -> Explanation:
    """Say why a job of the snapshot is where it is.

    Raises `NotFound` when the job neither waits nor runs.
    """
    for job in snapshot.waiting:
        if job.id == job_id:
            return _explained(snapshot, job, matches)
    for attempt in snapshot.running:
        if attempt.id == job_id:
            return _running(snapshot, attempt)
    raise NotFound(f"job {job_id} neither waits nor runs", hint="causeway ps")


def _explained(snapshot: Snapshot, job: WaitingJob, matches: Matches) -> Explanation:
    # The whole queue may be looked at: one person asks about one job, however far back it is.
    decided = Round(snapshot, matches, limit=len(snapshot.waiting)).decide()
    return Decided(snapshot, decided, matches).of(job)


class Decided:
    """A round that was decided, and what it means for each job that was in it."""

    def __init__(self, snapshot: Snapshot, plan: Plan, matches: Matches) -> None:
        self._snapshot = snapshot
        self._matches = matches
        self._fresh = Round(snapshot, matches, limit=1)
        self._places = {place.job: place for place in plan.places}
        self._waits = {wait.job: wait.reasons for wait in plan.waits}

    def outlook(self, job: str) -> Outlook:
        """Say in a word what the round means for a job."""
        if job in self._places:
            return Outlook.FITS_NOW
        hopeful = any(reason.waiting_helps for reason in self._waits.get(job, ()))
        return Outlook.WOULD_WAIT if hopeful else Outlook.CAN_NEVER_FIT

    def of(self, job: WaitingJob) -> Explanation:
        """Explain one job."""
        fresh, place, outlook = self._fresh, self._places.get(job.id), self.outlook(job.id)
        ranking = fresh.ranking_of(job)
        reasons = self._waits.get(job.id, ()) if place is None else place.reasons
        excluded = tuple(
            Excluded(offer=row.offer, reasons=all_reasons(ranking.ask, row.offer.pool))
            for row in ranking.excluded
        )
        complete = Ranking(ask=ranking.ask, eligible=ranking.eligible, excluded=excluded)
        candidates = place.candidates if place else whole_table(complete, fresh.ledgers)
        return Explanation(
            job=job.id,
            outlook=outlook,
            headline=_headline(outlook, place, reasons=reasons, ask=ranking.ask),
            reasons=reasons,
            candidates=candidates,
            blockers=_blockers(candidates),
            changes=() if place else changes_for(self._snapshot, job, matches=self._matches),
            quota=_quota(fresh.tenancy, job.tenant),
        )


def _headline(
    outlook: Outlook, place: Place | None, *, reasons: tuple[Reason, ...], ask: Ask
) -> str:
    if place is not None:
        row = place.candidates[0]
        assumed = f", if it runs {duration(ask.run_s)} (assumed)" if ask.run_assumed else ""
        price_usd = row.terms_usd.get("price", 0.0)
        return f"It can start now on {row.name}, for about {usd(price_usd)}{assumed}."
    first = reasons[0].message if reasons else "It was not looked at."
    if outlook is Outlook.WOULD_WAIT:
        return f"It waits. {first}"
    return f"It cannot run as it is. {first}"


def _blockers(candidates: tuple[Candidate, ...]) -> tuple[Reason, ...]:
    """Count every reason of every offer that is not feasible."""
    groups: dict[tuple[str, bool], Group] = {}
    for row in candidates:
        if row.feasible:
            continue
        for reason in row.reasons:
            key = (reason.token.value, reason.waiting_helps)
            if key not in groups:
                groups[key] = Group(reason)
            groups[key].islands.append(row.name)
    found = together(groups.values())
    return tuple(sorted(found, key=lambda reason: -int(reason.evidence["offers"])))


def _quota(tenancy: Tenancy, tenant: str) -> QuotaView:
    share = tenancy.share_of(tenant)
    return QuotaView(
        tenant=tenant,
        used_devices=tenancy.devices(tenant),
        quota_devices=share.quota_devices,
        borrow_devices=share.borrow_devices,
        borrowed_devices=tenancy.borrowed(tenant),
        dominant_share=tenancy.dominant_share(tenant),
    )


def _running(snapshot: Snapshot, attempt: RunningJob) -> Explanation:
    tenancy = Tenancy(snapshot.pools, snapshot.running, snapshot.tenants)
    names: Mapping[str, str] = {p.pool: p.name for p in snapshot.pools}
    doing = "is stopping" if attempt.stopping else "runs" if attempt.started_ms else "is starting"
    return Explanation(
        job=attempt.id,
        outlook=Outlook.HOLDS_ROOM,
        headline=f"It {doing} on {names.get(attempt.pool, attempt.pool)}, "
        f"as attempt {attempt.fence}.",
        reasons=(),
        candidates=(),
        blockers=(),
        changes=(),
        quota=_quota(tenancy, attempt.tenant),
    )
