"""What is left of each pool while a round decides.

Two amounts per pool. *Free* is what a job can be placed into now. *Settled* is what stays once
attempts that are already stopping have ended and those who wait for that room have taken it; a
placement must fit both, so nothing is placed into room that is promised to a job further ahead,
and nothing is promised twice. Two offers of one pool share one ledger.

A reservation (EASY backfill) holds a pool for the first job in the queue that does not fit
anywhere: others may use that pool only if they surely end before it starts, or if they fit
beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from causeway.model.fleet import PoolView, RunningJob
from causeway.model.jobs import JobKind
from causeway.model.resources import Capacity
from causeway.schedule.ask import Ask

PRIORITY_NONE = 1_000_000
"""Above every priority that a job can have."""


@dataclass(slots=True, kw_only=True)
class Reservation:
    """A pool that is held for a job which is too big for what is free now."""

    job: str
    priority: int
    tenant: str
    start_ms: int
    """When enough should be free; 0: unknown, because some ends are unknown."""
    extra: Capacity
    """What stays for others beside the job once it runs."""


@dataclass(slots=True, kw_only=True)
class Ledger:
    """One pool within one round. Changed only by the round that owns it."""

    pool: str
    free: Capacity
    settled: Capacity
    running: tuple[RunningJob, ...]
    """Attempts here that are not stopping, in the order in which they should end."""
    free_at_start: Capacity
    priority_lowest: int
    """Of the attempts that are not stopping; a pool without any has a very high one."""
    leased_first_ms: int = 0
    """When the oldest of them got its lease."""
    stopping: bool = False
    """Whether any attempt here is already stopping."""
    ahead: tuple[int, str] | None = None
    """Priority and tenant of the last job that took or was promised room in this round."""
    reservation: Reservation | None = None

    def can_place(self, ask: Ask, *, unusable: int, speed: float) -> bool:
        """Say whether the whole gang can start here now without taking what is promised."""
        if not fits(self.free, ask, unusable):
            return False
        return self.can_promise(ask, unusable=unusable, speed=speed)

    def can_promise(self, ask: Ask, *, unusable: int, speed: float) -> bool:
        """Say whether the whole gang fits once what is stopping has ended."""
        if not fits(self.settled, ask, unusable):
            return False
        held = self.reservation
        if held is None or ends_by(ask, held.start_ms, speed):
            return True
        return fits(held.extra, ask, 0)

    def place(self, ask: Ask, *, speed: float) -> None:
        """Take room for a job that starts now."""
        self.free = self.free.less(ask.spec.resources, ask.nodes)
        self.promise(ask, speed=speed)

    def promise(self, ask: Ask, *, speed: float) -> None:
        """Take room out of what will be free soon."""
        need, nodes = ask.spec.resources, ask.nodes
        self.settled = self.settled.less(need, nodes)
        self.ahead = (ask.spec.priority, ask.tenant)
        held = self.reservation
        if held is not None and not ends_by(ask, held.start_ms, speed):
            held.extra = held.extra.less(need, nodes)

    def evict(self, victims: Sequence[RunningJob]) -> None:
        """Count these attempts as stopping from now on."""
        gone = {(v.id, v.fence) for v in victims}
        self.running = tuple(r for r in self.running if (r.id, r.fence) not in gone)
        for victim in victims:
            self.settled = self.settled.plus(victim.spec.resources, victim.spec.num_nodes)
        self.stopping = True

    def reserve(self, ask: Ask, *, unusable: int, job: str) -> Reservation | None:
        """Work out when the job could start here, or None when waiting would not make room.

        Work without an expected end is taken to end last, and services not at all: a pool that
        would stay too full for ever is not held.
        """
        later, start_ms = self.settled, ask.now_ms
        for attempt in self.running:
            if fits(later, ask, unusable):
                break
            if not attempt.expected_end_ms and attempt.spec.kind is not JobKind.BATCH:
                continue
            later = later.plus(attempt.spec.resources, attempt.spec.num_nodes)
            start_ms = max(start_ms, attempt.expected_end_ms) if attempt.expected_end_ms else 0
        if later == self.settled or not fits(later, ask, unusable):
            return None
        return Reservation(
            job=job,
            priority=ask.spec.priority,
            tenant=ask.tenant,
            start_ms=start_ms,
            extra=later.less(ask.spec.resources, ask.nodes),
        )


def fits(capacity: Capacity, ask: Ask, unusable: int) -> bool:
    """Say whether the gang fits, when `unusable` accelerators of the pool are of the wrong kind.

    Which devices are busy is not known here, so every wrong one is taken to be among the free ones:
    that may leave a device idle for a while, and never gives one out twice.
    """
    total = ask.total
    return (
        total.cpu_milli <= capacity.cpu_milli
        and total.memory_bytes <= capacity.memory_bytes
        and total.disk_bytes <= capacity.disk_bytes
        and (not total.accelerators or total.accelerators <= capacity.accelerators - unusable)
    )


def ends_by(ask: Ask, instant_ms: int, speed: float) -> bool:
    """Say whether a job that starts now surely ends by an instant (0: unknown, so no)."""
    spec = ask.spec
    if not instant_ms or spec.kind is not JobKind.BATCH:
        return False
    bound_s = spec.time_limit_s or spec.expected_run_s / max(speed, 1e-6)
    return bound_s > 0 and ask.now_ms + bound_s * 1000 <= instant_ms


def ledgers_of(pools: Iterable[PoolView], running: Iterable[RunningJob]) -> dict[str, Ledger]:
    """Open one ledger per pool; where offers disagree on what is free, the least counts."""
    free: dict[str, Capacity] = {}
    for pool in pools:
        seen = _least(pool.free, pool.capacity)
        free[pool.pool] = _least(free[pool.pool], seen) if pool.pool in free else seen
    attempts: dict[str, list[RunningJob]] = {key: [] for key in free}
    for attempt in sorted(running, key=_ends):
        if attempt.pool in attempts:
            attempts[attempt.pool].append(attempt)
    ledgers: dict[str, Ledger] = {}
    for key, amount in free.items():
        settled = amount
        for attempt in attempts[key]:
            if attempt.stopping:
                settled = settled.plus(attempt.spec.resources, attempt.spec.num_nodes)
        staying = tuple(a for a in attempts[key] if not a.stopping)
        ledgers[key] = Ledger(
            pool=key,
            free=amount,
            settled=settled,
            running=staying,
            free_at_start=amount,
            leased_first_ms=min((a.leased_ms for a in staying), default=0),
            priority_lowest=min((a.spec.priority for a in staying), default=PRIORITY_NONE),
            stopping=settled != amount,
        )
    return ledgers


def _ends(attempt: RunningJob) -> tuple[bool, int, int, str, int]:
    """Order attempts by expected end, those without one last and then by start."""
    end_ms = attempt.expected_end_ms
    return (end_ms <= 0, end_ms, attempt.started_ms, attempt.id, attempt.fence)


def _least(one: Capacity, other: Capacity) -> Capacity:
    """Return the smaller amount of each kind."""
    return Capacity(
        cpu_milli=min(one.cpu_milli, other.cpu_milli),
        memory_bytes=min(one.memory_bytes, other.memory_bytes),
        disk_bytes=min(one.disk_bytes, other.disk_bytes),
        accelerators=min(one.accelerators, other.accelerators),
    )
