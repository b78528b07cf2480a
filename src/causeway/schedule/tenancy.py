"""Who goes first: priority, then fair share, then age.

Order of the queue, from first to last difference: jobs for which other work was made to give way;
jobs inside their tenant's quota before jobs that must borrow; higher priority; the tenant with the
smaller weighted dominant share (the largest part of any one kind of resource that it uses, over its
weight: Ghodsi et al., DRF, NSDI 2011); the job that was *submitted* first, so a job that was lost
and queued again keeps its place. A job in back-off keeps its place too: the round skips it and
moves nothing.

A quota counts billable devices, stopping attempts included, because those still hold them.
Without a quota a tenant is neither guaranteed anything nor limited, and never counts as a
borrower.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from causeway.model.fleet import PoolView, RunningJob, TenantShare, WaitingJob
from causeway.model.resources import Capacity, Resources

WEIGHT_MIN = 1e-9


class Standing(Enum):
    """How one more job stands to its tenant's quota."""

    WITHIN = "within"
    BORROWS = "borrows"
    FULL = "full"
    """It would exceed quota and loan; it fits once other work of the tenant ends."""
    NEVER = "never"
    """It alone is bigger than quota and loan together."""


class Tenancy:
    """Usage of every tenant while a round decides."""

    def __init__(
        self,
        pools: Iterable[PoolView],
        running: Iterable[RunningJob],
        shares: Mapping[str, TenantShare],
    ) -> None:
        self.total = _total(pools)
        self._shares = shares
        self._used: dict[str, Capacity] = {}
        self._devices: dict[str, int] = {}
        self._leaving: dict[str, int] = {}
        for attempt in running:
            self.take(attempt.tenant, attempt.spec.resources, nodes=attempt.spec.num_nodes)
            if attempt.stopping:
                self.leave(attempt)

    def take(self, tenant: str, need: Resources, *, nodes: int) -> None:
        """Count one more job of a tenant."""
        used = self._used.get(tenant, Capacity())
        self._used[tenant] = used.plus(need, nodes)
        self._devices[tenant] = self._devices.get(tenant, 0) + need.devices * nodes

    def leave(self, attempt: RunningJob) -> None:
        """Count an attempt as stopping: it still holds its devices, and will not for long."""
        devices = attempt.spec.resources.devices * attempt.spec.num_nodes
        self._leaving[attempt.tenant] = self._leaving.get(attempt.tenant, 0) + devices

    def share_of(self, tenant: str) -> TenantShare:
        """Return the tenant's claim; weight 1 and no quota when none is set."""
        return self._shares.get(tenant) or TenantShare(tenant=tenant)

    def devices(self, tenant: str) -> int:
        """Return how many devices the tenant holds."""
        return self._devices.get(tenant, 0)

    def dominant_share(self, tenant: str) -> float:
        """Return the tenant's largest part of any one kind, over its weight."""
        used, total = self._used.get(tenant), self.total
        if used is None:
            return 0.0
        part = max(
            used.cpu_milli / max(total.cpu_milli, 1),
            used.memory_bytes / max(total.memory_bytes, 1),
            used.accelerators / max(total.accelerators, 1),
        )
        return part / max(self.share_of(tenant).weight, WEIGHT_MIN)

    def standing(self, tenant: str, devices: int) -> Standing:
        """Say how a job of that many devices stands to the quota."""
        share = self.share_of(tenant)
        if share.quota_devices is None:
            return Standing.WITHIN
        after = self.devices(tenant) + devices
        if after <= share.quota_devices:
            return Standing.WITHIN
        if share.borrow_devices is None or after <= share.quota_devices + share.borrow_devices:
            return Standing.BORROWS
        never = devices > share.quota_devices + share.borrow_devices
        return Standing.NEVER if never else Standing.FULL

    def borrowed(self, tenant: str) -> int:
        """Return how many devices the tenant holds beyond its quota, without those leaving."""
        quota = self.share_of(tenant).quota_devices
        if quota is None:
            return 0
        return max(0, self.devices(tenant) - self._leaving.get(tenant, 0) - quota)

    def any_borrowed(self) -> bool:
        """Say whether any tenant borrows."""
        return any(self.borrowed(tenant) for tenant in self._devices)

    def excess(self, tenant: str, devices: int) -> int:
        """Return how many devices the tenant must give up before it may hold that many more."""
        share = self.share_of(tenant)
        if share.quota_devices is None or share.borrow_devices is None:
            return 0
        staying = self.devices(tenant) - self._leaving.get(tenant, 0)
        return max(0, staying + devices - share.quota_devices - share.borrow_devices)


def in_order(waiting: Iterable[WaitingJob], tenancy: Tenancy) -> Iterator[WaitingJob]:
    """Yield jobs in queue order; shares are read anew after each job, so placing one counts.

    Who is inside its quota goes before who would borrow, whatever their priorities: it may take
    the room back at once, and the two would take turns for ever. For the same reason a job that
    was promised room goes before all others: what was stopped for it changed shares and standings,
    and another one's turn now would stop more work for the same need.
    """
    lines: dict[tuple[int, str], list[WaitingJob]] = {}
    for job in sorted(waiting, key=lambda j: (not j.promised, j.submitted_ms, j.id)):
        lines.setdefault((job.spec.priority, job.tenant), []).append(job)
    heap = [_entry(jobs, 0, tenancy) for jobs in lines.values()]
    heapq.heapify(heap)
    while heap:
        top = heap[0]
        *_, tenant, index = top
        jobs = lines[-top[2], tenant]
        # Since it was put here its tenant may have come to borrow, by a job of another priority.
        now = _entry(jobs, index, tenancy)
        if now > top:
            heapq.heapreplace(heap, now)
            continue
        yield jobs[index]
        if index + 1 < len(jobs):
            heapq.heapreplace(heap, _entry(jobs, index + 1, tenancy))
        else:
            heapq.heappop(heap)


def _entry(
    jobs: list[WaitingJob], index: int, tenancy: Tenancy
) -> tuple[bool, bool, int, float, int, str, int]:
    job = jobs[index]
    borrows = False
    if tenancy.share_of(job.tenant).quota_devices is not None:
        devices = job.spec.resources.devices * job.spec.num_nodes
        borrows = tenancy.standing(job.tenant, devices) is not Standing.WITHIN
    share = tenancy.dominant_share(job.tenant)
    priority = -job.spec.priority
    return (not job.promised, borrows, priority, share, job.submitted_ms, job.tenant, index)


def _total(pools: Iterable[PoolView]) -> Capacity:
    """Add up what the usable pools hold, each pool once however many offers it has."""
    distinct = {p.pool: p.capacity for p in pools if p.fresh and p.healthy}
    return Capacity(
        cpu_milli=sum(c.cpu_milli for c in distinct.values()),
        memory_bytes=sum(c.memory_bytes for c in distinct.values()),
        disk_bytes=sum(c.disk_bytes for c in distinct.values()),
        accelerators=sum(c.accelerators for c in distinct.values()),
    )
