"""One round of scheduling: walk the queue once, in order, and decide each job.

For each job, in this order: left alone (back-off), no quota, place it on the best offer that may
hold it and has room for the whole gang, promise it room that is about to be free, make room by
preemption, hold a pool for it if it is the first that does not fit (EASY backfill), or let it
wait. A job whose data lies where there is no room may wait for that room instead (`gravity`).
Every waiting job gets a decision with reasons. Once a shape found no room it is not tried again in
the round; room only shrinks, so trying again could not succeed.

The round is the only thing here that changes while it decides, and nothing outlives it: the same
snapshot gives the same plan, whatever the order in which its tuples list things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from functools import partial

from causeway.model.fleet import Place, Plan, PoolView, Preempt, Snapshot, Wait, WaitingJob
from causeway.model.jobs import JobKind
from causeway.model.reasons import Reason
from causeway.model.values import replace
from causeway.schedule.ask import (
    Ask,
    Matches,
    ask_of,
    figures_of,
    islands_of_groups,
    shape_of,
    variant_of,
)
from causeway.schedule.filters import expected_cost_micros
from causeway.schedule.gravity import Crowd, crowd_of, crowding_usd, holds_out
from causeway.schedule.ledger import ledgers_of
from causeway.schedule.preempt import Claims, find_eviction, preempts_of
from causeway.schedule.ranking import Eligible, Offer, Ranking, match, table, vary
from causeway.schedule.tenancy import Standing, Tenancy, in_order
from causeway.schedule.waits import (
    array_full,
    backing_off,
    behind_own,
    evicting,
    further_back,
    no_room,
    over_quota,
    reserved,
    room_promised,
    runs_nothing,
)

PREEMPTORS_MAX = 64
"""Jobs of one round that may search for victims."""

Reasons = tuple[Reason, ...]


def plan(snapshot: Snapshot, *, matches: Matches, limit: int = 2000) -> Plan:
    """Decide one round.

    `matches` evaluates a job's `where` expression on an offer. `limit` bounds the jobs that are
    matched against offers; jobs of a shape that found no room do not count, later ones wait for
    the next round with a shared reason.
    """
    return Round(snapshot, matches, limit=limit).decide()


class Round:
    """The working state of one round."""

    def __init__(self, snapshot: Snapshot, matches: Matches, *, limit: int) -> None:
        self.snapshot = snapshot
        self._matches = matches
        self._limit = limit
        rates = snapshot.usd_per_unit
        self.offers = [
            Offer(
                pool=pool,
                figures=figures_of(pool, rates),
                on_cores=figures_of(pool, rates, power_w=pool.power_w_per_core)
                if pool.power_w_per_core
                else None,
            )
            for pool in sorted(snapshot.pools, key=lambda p: p.offer)
        ]
        self.ledgers = ledgers_of((o.pool for o in self.offers), snapshot.running)
        self.tenancy = Tenancy(snapshot.pools, snapshot.running, snapshot.tenants)
        self._forbidden: dict[int, frozenset[str]] = {}
        self._shapes: dict[Hashable, int] = {}
        self._rankings: dict[Hashable, Ranking] = {}
        self._variants: dict[Hashable, Ranking] = {}
        self._crowded: dict[Hashable, Ranking] = {}
        """As `_variants`, with what crowding costs."""
        self._stuck: dict[Hashable, Reasons] = {}
        self._gated: dict[str, Reasons] = {}
        self._spent_micros: dict[str, int] = {}
        self._members = Counter(r.group for r in snapshot.running if r.at_once)
        """Array with a limit -> its members that hold room, or were given or promised it."""
        self._apart = islands_of_groups(snapshot)
        """Job over several islands -> islands that its members hold, were given or promised."""
        self._crowd: Crowd | None = None
        self._looked = 0
        self._searched = 0
        self._holds = False
        self._back: Reasons = ()
        self._taken: dict[str, str] = {}
        """Job -> pool where it was given or promised room."""
        self._places: list[Place] = []
        self._waits: list[Wait] = []
        self._preempts: list[Preempt] = []

    def decide(self) -> Plan:
        """Walk the queue and return what was decided."""
        for job in in_order(self.snapshot.waiting, self.tenancy):
            reasons = self._decide(job)
            if reasons:
                self._waits.append(Wait(job=job.id, reasons=reasons))
        plan = Plan(
            places=tuple(self._places),
            waits=tuple(self._waits),
            preempts=tuple(self._preempts),
        )
        if not self.snapshot.protected_share:
            return plan
        # It brings NumPy, and few operators want it.
        from causeway.schedule import giving_way

        decided = giving_way.Decided(
            snapshot=self.snapshot,
            plan=plan,
            taken=self._taken,
            ledgers=self.ledgers,
            tenancy=self.tenancy,
            ranking_of=self.ranking_of,
        )
        return replace(plan, preempts=plan.preempts + giving_way.fair_stops(decided))

    def ranking_of(self, job: WaitingJob) -> Ranking:
        """Return the offers for a job, matched once per shape."""
        return self._ranking(job, self._shape(job))

    def _decide(self, job: WaitingJob) -> Reasons:
        """Place the job and return nothing, or return why it waits."""
        now_ms = self.snapshot.now_ms
        if job.not_before_ms > now_ms:
            return (backing_off(job, now_ms),)
        if job.spec.kind is JobKind.GROUP:
            return (runs_nothing(),)
        if job.at_once and self._members[job.group] >= job.at_once:
            return (array_full(job),)
        if job.tenant in self._gated:
            return self._gated[job.tenant]
        shape = self._shape(job)
        if shape in self._stuck:
            return self._stuck[shape]
        if self._looked >= self._limit:
            self._back = self._back or (further_back(self._looked),)
            return self._back
        self._looked += 1
        ranking = self._ranking(job, shape)
        ask = ranking.ask
        standing = self.tenancy.standing(job.tenant, ask.devices, job.spec.priority)
        if standing in (Standing.LENT, Standing.FULL, Standing.NEVER):
            return self._no_quota(job, shape, ask=ask, standing=standing)
        row = self._first_with_room(ranking)
        if row is not None:
            better = holds_out(job, ranking, row)
            if better is not None:
                return (better,)
            self._place(job, ranking, row)
            return ()
        return self._no_room_now(job, shape, ranking=ranking, standing=standing)

    def _no_quota(
        self, job: WaitingJob, shape: Hashable, *, ask: Ask, standing: Standing
    ) -> Reasons:
        reasons: Reasons = (over_quota(ask, self.tenancy, standing),)
        own_limit = self.tenancy.own_limit(job.tenant, ask.devices)
        self._stuck[shape] = reasons
        if standing is not Standing.NEVER:
            ranking = self._ranking(job, shape)
            leaving_is_enough = self.tenancy.fits_quota(job.tenant, ask.devices)
            find = self._room_soon if leaving_is_enough else self._evict
            soon = find(job, ranking, standing)
            reasons = reasons if soon is None else (soon, *reasons)
            if standing is Standing.LENT and soon is None:
                self.tenancy.hold(job.tenant, ask.devices, job.spec.priority)
            if standing is Standing.FULL and own_limit:
                # Smaller jobs of the tenant would otherwise keep the quota full for ever.
                self._gated[job.tenant] = (behind_own(job.id, job.tenant),)
        return reasons

    def _first_with_room(self, ranking: Ranking) -> Eligible | None:
        """Return the best offer that can start the gang now, within the budget."""
        ask, rows = ranking.ask, ranking.eligible
        while ranking.at < len(rows):
            row = rows[ranking.at]
            pool = row.offer.pool
            ledger = self.ledgers[pool.pool]
            if ledger.can_place(ask, unusable=row.unusable, speed=pool.speed) and self._affordable(
                ask, row
            ):
                return row
            ranking.at += 1
        return None

    def _affordable(self, ask: Ask, row: Eligible) -> bool:
        """Say whether the tenant's budget also covers what this round has placed already."""
        if ask.budget_left_micros is None:
            return True
        spent = self._spent_micros.get(ask.tenant, 0)
        return spent + expected_cost_micros(ask, row.offer.pool) <= ask.budget_left_micros

    def _place(self, job: WaitingJob, ranking: Ranking, row: Eligible) -> None:
        ask, pool = ranking.ask, row.offer.pool
        candidates = ranking.tables.get(pool.offer)
        if candidates is None:
            candidates = ranking.tables[pool.offer] = table(ranking, self.ledgers, ranking.at)
        self.ledgers[pool.pool].place(ask, speed=pool.speed)
        self.tenancy.take(job.tenant, job.spec, nodes=ask.nodes)
        self._count(job, pool)
        if job.tenant_budget_left_micros is not None:
            cost = expected_cost_micros(ask, pool)
            self._spent_micros[job.tenant] = self._spent_micros.get(job.tenant, 0) + cost
        self._places.append(
            Place(
                job=job.id,
                offer=pool.offer,
                pool=pool.pool,
                island=pool.island,
                candidates=candidates,
                reasons=candidates[0].reasons,
            )
        )

    def _no_room_now(
        self, job: WaitingJob, shape: Hashable, *, ranking: Ranking, standing: Standing
    ) -> Reasons:
        """Look for room that can be had soon, or say why there is none."""
        soon = self._room_soon(job, ranking, standing)
        others = no_room(ranking, self.ledgers)
        if soon is not None:
            return (soon, *others)
        held = self._hold(job, ranking)
        reasons = others if held is None else (held, *others)
        self._stuck[shape] = others
        return reasons

    def _room_soon(self, job: WaitingJob, ranking: Ranking, standing: Standing) -> Reason | None:
        """Promise room that is about to be free, or make some."""
        ask = ranking.ask
        short_of_quota = standing in (Standing.LENT, Standing.FULL)
        for row in ranking.eligible:
            pool = row.offer.pool
            ledger = self.ledgers[pool.pool]
            if (
                (ledger.stopping or short_of_quota)
                and ledger.can_promise(ask, unusable=row.unusable, speed=pool.speed)
                and self._affordable(ask, row)
            ):
                self._promise(job, ranking, row)
                return room_promised(row)
        return self._evict(job, ranking, standing)

    def _evict(self, job: WaitingJob, ranking: Ranking, standing: Standing) -> Reason | None:
        """Ask other work to give way, if any must and that makes room."""
        claims = Claims(ranking.ask, self.tenancy, standing)
        if self._searched >= PREEMPTORS_MAX:
            return None
        eviction = find_eviction(ranking, self.ledgers, claims=claims)
        self._searched += 1
        if eviction is None or not self._affordable(ranking.ask, eviction.row):
            return None
        self._preempts += preempts_of(job.id, ranking.ask, eviction=eviction, tenancy=self.tenancy)
        self.ledgers[eviction.row.offer.pool.pool].evict(eviction.victims)
        for victim in eviction.victims:
            self.tenancy.leave(victim)
        self._promise(job, ranking, eviction.row)
        return evicting(eviction)

    def _promise(self, job: WaitingJob, ranking: Ranking, row: Eligible) -> None:
        """Keep room and quota for a job that will be placed in a later round."""
        pool = row.offer.pool
        self.ledgers[pool.pool].promise(ranking.ask, speed=pool.speed)
        self.tenancy.take(job.tenant, job.spec, nodes=ranking.ask.nodes)
        self._count(job, pool)

    def _count(self, job: WaitingJob, pool: PoolView) -> None:
        self._taken[job.id] = pool.pool
        if job.at_once:
            self._members[job.group] += 1
        if job.spec.islands > 1:
            self._apart.setdefault(job.group, set()).add(pool.island)

    def _hold(self, job: WaitingJob, ranking: Ranking) -> Reason | None:
        """Hold the pool where the first job that does not fit could start earliest."""
        if self._holds:
            return None
        ask, best = ranking.ask, None
        for row in ranking.eligible:
            ledger = self.ledgers[row.offer.pool.pool]
            found = ledger.reserve(ask, unusable=row.unusable, job=job.id)
            if found is None or not self._affordable(ask, row):
                continue
            key = (found.start_ms == 0, found.start_ms, row.score_usd, row.offer.pool.offer)
            if best is None or key < best[0]:
                best = (key, row, found)
        if best is None:
            return None
        _, row, reservation = best
        self._holds = True
        self.ledgers[row.offer.pool.pool].reservation = reservation
        return reserved(row, reservation.start_ms, ask.now_ms)

    def _shape(self, job: WaitingJob) -> Hashable:
        verdicts = self.snapshot.verdicts.get(job.id)
        forbidden = None
        if verdicts:
            # Jobs that share a verdict mapping share its key set too; only the first pays for it.
            key = id(verdicts)
            if key not in self._forbidden:
                self._forbidden[key] = frozenset(verdicts)
            forbidden = self._forbidden[key]
        shape = shape_of(job, forbidden)
        if job.spec.islands > 1:
            # Islands only ever join within a round, so what found no room finds none later.
            shape = (shape, self._siblings(job))
        # A shape is long, and looked up half a dozen times: its number is as good.
        return self._shapes.setdefault(shape, len(self._shapes))

    def _siblings(self, job: WaitingJob) -> frozenset[str]:
        return frozenset(self._apart.get(job.group, ())) if job.spec.islands > 1 else frozenset()

    def _ranking(self, job: WaitingJob, shape: Hashable) -> Ranking:
        ranking = self._rankings.get(shape)
        if ranking is None:
            siblings = self._siblings(job)
            ask = ask_of(job, self.snapshot, self._matches, siblings=siblings)
            ranking = self._rankings[shape] = match(ask, self.offers)
        if job.is_plain:
            return ranking
        key = (shape, variant_of(job))
        if key not in self._variants:
            self._variants[key] = vary(ranking, job)
        alone = self._variants[key]
        if not job.staging or not alone.eligible or not self._crowds():
            return alone
        if key not in self._crowded:
            wants = alone.eligible[0].offer.pool.pool
            more = partial(crowding_usd, ranking.ask, wants=wants, crowd=self._crowds())
            self._crowded[key] = vary(ranking, job, more)
        return self._crowded[key]

    def _crowds(self) -> Crowd:
        """Return for which pools others with data there wait, worked out once per round."""
        if self._crowd is None:
            # While it is worked out, each job is ranked as if it were alone.
            self._crowd = {}
            self._crowd = crowd_of(self._wanted())
        return self._crowd

    def _wanted(self) -> Iterator[tuple[str, Ask]]:
        for job in self.snapshot.waiting:
            ranking = self._ranking(job, self._shape(job)) if job.staging else None
            if ranking is None or not ranking.eligible:
                continue
            yield ranking.eligible[0].offer.pool.pool, ranking.ask
