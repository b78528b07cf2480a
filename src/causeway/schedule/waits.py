"""Why a job stays in the queue, from what the offers said.

Per offer there is a first reason; here they are put together for the job: one reason per token,
with the number of offers and some island names. If at least one offer needs only time, the job
needs only time: those reasons lead, and what excludes the other offers becomes context (`info`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from causeway.model.fleet import WaitingJob
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.values import replace
from causeway.schedule.ask import Ask
from causeway.schedule.ledger import Ledger
from causeway.schedule.preempt import Eviction
from causeway.schedule.ranking import (
    Eligible,
    Ranking,
    over_budget_now,
    shortage,
    shortage_reason,
)
from causeway.schedule.shares.tree import Node
from causeway.schedule.tenancy import Standing, Tenancy
from causeway.schedule.words import counted, duration, names

_ORDER = {Severity.BLOCK: 0, Severity.WAIT: 1, Severity.INFO: 2}


def no_room(ranking: Ranking, ledgers: Mapping[str, Ledger]) -> tuple[Reason, ...]:
    """Say why no offer takes a shape now."""
    ask = ranking.ask
    if not ranking.eligible and not ranking.excluded:
        return (no_islands(),)
    groups: dict[tuple[Token, bool], Group] = {}
    for row in ranking.eligible:
        ledger = ledgers[row.offer.pool.pool]
        token = shortage(ask, row, ledger) or Token.BUDGET
        group = groups.get((token, True))
        if group is None:
            first = shortage_reason(ask, row, ledger) or over_budget_now(row)
            group = groups[(token, True)] = Group(first)
        group.islands.append(row.offer.pool.name)
    for out in ranking.excluded:
        first = out.reasons[0]
        key = (first.token, first.waiting_helps)
        if key not in groups:
            groups[key] = Group(first)
        groups[key].islands.append(out.offer.pool.name)
    return together(groups.values())


class Group:
    """Offers that have the same kind of reason."""

    __slots__ = ("first", "islands")

    def __init__(self, first: Reason) -> None:
        self.first = first
        self.islands: list[str] = []


def together(groups: Iterable[Group]) -> tuple[Reason, ...]:
    """Join the offers' reasons into one per kind, most severe first."""
    kinds = sorted(groups, key=lambda g: (-len(g.islands), g.first.token.value))
    hopeful = any(g.first.waiting_helps for g in kinds)
    joined = [_joined(g, context=hopeful and not g.first.waiting_helps) for g in kinds]
    return tuple(sorted(joined, key=lambda reason: _ORDER[reason.severity]))


def _joined(group: Group, *, context: bool) -> Reason:
    first, count = group.first, len(group.islands)
    message = first.message
    if count > 1:
        message += f" The same kind of reason holds at {count} offers: {names(group.islands)}."
    return replace(
        first,
        severity=Severity.INFO if context else first.severity,
        message=message,
        evidence={**first.evidence, "offers": count, "islands": names(group.islands)},
    )


def no_islands() -> Reason:
    return Reason(
        token=Token.NO_ISLANDS,
        severity=Severity.WAIT,
        message="No island has joined.",
        try_this="causeway join URL",
    )


def backing_off(job: WaitingJob, now_ms: int) -> Reason:
    """Say until when a job that failed recently is left alone."""
    left_s = (job.not_before_ms - now_ms) / 1000
    return Reason(
        token=Token.BACKOFF,
        severity=Severity.WAIT,
        message=f"It failed recently; the next try is in {duration(left_s)}. It keeps its place.",
        evidence={"left_s": left_s, "not_before_ms": job.not_before_ms},
    )


def array_full(job: WaitingJob) -> Reason:
    """Say that its own array keeps it waiting."""
    return Reason(
        token=Token.ARRAY_LIMIT,
        severity=Severity.WAIT,
        message=f"{counted(job.at_once, 'member')} of its array may run at once, and so many do; "
        "it goes when one of them has ended.",
        evidence={"at_once": job.at_once},
    )


def runs_nothing() -> Reason:
    return Reason(
        token=Token.DEPENDENCY,
        severity=Severity.WAIT,
        message="It is the parent of an array or DAG and runs nothing itself.",
    )


def over_quota(ask: Ask, tenancy: Tenancy, standing: Standing) -> Reason:
    """Say which quota stands in the way, the tenant's own or that of a group above it."""
    tight = tenancy.tight(ask.tenant, ask.devices, standing)
    if tight is not None and tight.name != ask.tenant:
        return _group_full(ask, tight, standing)
    share = tenancy.share_of(ask.tenant)
    quota, borrow, used = (
        share.quota_devices or 0,
        share.borrow_devices or 0,
        tenancy.devices(ask.tenant),
    )
    never = standing is Standing.NEVER
    one = ask.devices == 1
    if never:
        tail = f"{'is' if one else 'are'} more than quota and loan together"
    else:
        tail = f"{'does' if one else 'do'} not fit beside the {used} in use"
    return Reason(
        token=Token.QUOTA,
        severity=Severity.BLOCK if never else Severity.WAIT,
        message=f"Its {counted(ask.devices, 'device')} {tail}: {ask.tenant} has a quota of {quota} "
        f"and may borrow {borrow}.",
        evidence={
            "needed_devices": ask.devices,
            "used_devices": used,
            "quota_devices": quota,
            "borrow_devices": borrow,
        },
        waiting_helps=not never,
        try_this="ask for fewer devices, or have the quota raised",
    )


def _group_full(ask: Ask, group: Node, standing: Standing) -> Reason:
    """Say that what the tenant's group may hold is in use."""
    never = standing is Standing.NEVER
    needs = counted(ask.devices, "device")
    if never:
        why = f"{ask.tenant} may never hold that many there, even with all others idle"
    elif standing is Standing.LENT:
        why = f"{ask.tenant} has lent of its own quota there, and gets it back first"
    else:
        why = f"{ask.tenant} would have to borrow, and the others there leave too little idle"
    return Reason(
        token=Token.QUOTA,
        severity=Severity.BLOCK if never else Severity.WAIT,
        message=f"Its {needs} do not fit into the quota of {group.name}, where {group.used} of "
        f"{group.quota} are in use or spoken for: {why}.",
        evidence={
            "needed_devices": ask.devices,
            "group": group.name,
            "group_used_devices": group.used,
            "group_quota_devices": group.quota or 0,
        },
        waiting_helps=not never,
        try_this="ask for fewer devices, or have a quota raised",
    )


def behind_own(ask_id: str, tenant: str) -> Reason:
    """Say that a job of the same tenant waits for quota ahead of this one."""
    return Reason(
        token=Token.QUOTA,
        severity=Severity.WAIT,
        message=f"A job of {tenant} that is ahead in the queue waits for quota; it goes first.",
        evidence={"ahead": ask_id},
    )


def further_back(looked: int) -> Reason:
    """Say that the round did not get to jobs of this shape."""
    return Reason(
        token=Token.PRIORITY,
        severity=Severity.WAIT,
        message=f"{looked} jobs ahead in the queue were looked at in this round; this one was not.",
        evidence={"looked_at": looked},
    )


def room_promised(row: Eligible) -> Reason:
    """Say that the job has a claim on room that is about to be free."""
    return Reason(
        token=Token.CAPACITY,
        severity=Severity.WAIT,
        message=f"Attempts on {row.offer.pool.name} are stopping; their room is kept for this job.",
        evidence={"island": row.offer.pool.name},
    )


def evicting(eviction: Eviction) -> Reason:
    """Say that others were asked to give way to the job."""
    pool = eviction.row.offer.pool
    return Reason(
        token=Token.CAPACITY,
        severity=Severity.WAIT,
        message=f"{counted(len(eviction.victims), 'attempt')} on {pool.name} must give way to it.",
        evidence={
            "island": pool.name,
            "attempts": len(eviction.victims),
            "lost_device_s": eviction.lost_device_s,
        },
    )


def reserved(row: Eligible, start_ms: int, now_ms: int) -> Reason:
    """Say that a pool is held for the job so that smaller work does not starve it."""
    left_s = max(0, start_ms - now_ms) / 1000
    when = f" in about {duration(left_s)}" if start_ms else "; when running work ends is not known"
    return Reason(
        token=Token.CAPACITY,
        severity=Severity.WAIT,
        message=f"It is the first that finds no room: {row.offer.pool.name} is held for it{when}.",
        evidence={"island": row.offer.pool.name} | ({"left_s": left_s} if start_ms else {}),
    )
