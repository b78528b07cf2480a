"""Who goes first: priority, then fair share, then age.

Order of the queue, from first to last difference: jobs for which other work was made to give way;
jobs inside their tenant's quota before jobs that must borrow; higher priority; the tenant with the
smaller weighted dominant share (the largest part of any one kind of resource that it uses, over its
weight: Ghodsi et al., DRF, NSDI 2011); the job that was *submitted* first, so a job that was lost
and queued again keeps its place. A job in back-off keeps its place too: the round skips it and
moves nothing.

A quota counts billable devices, stopping attempts included, because those still hold them.
Without a quota and a parent a tenant is neither guaranteed anything nor limited, and never counts
as a borrower. How quotas nest, lend and borrow is in `shares.tree`. A job is inside its tenant's
quota when it fits there beside the tenant's work of at least its own priority: what is below would
give way to it, and does not make it a borrower.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from causeway.model.fleet import PoolView, RunningJob, TenantShare, WaitingJob
from causeway.model.jobs import JobSpec
from causeway.model.resources import Capacity
from causeway.schedule.shares.tree import Node, QuotaTree

WEIGHT_MIN = 1e-9


class Standing(Enum):
    """How one more job stands to its tenant's quota."""

    WITHIN = "within"
    BORROWS = "borrows"
    LENT = "lent"
    """It is inside the quota, but others hold it: they have to give it back first."""
    FULL = "full"
    """It would exceed quota and loan, or what its group leaves; it fits once other work ends."""
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
        self._any_borrowed: bool | None = None
        self._dominant: dict[str, float] = {}
        """Dominant shares, as long as they hold."""
        self.tree = QuotaTree(shares)
        """Everything that holds devices."""
        self.settled = QuotaTree(shares)
        """The same without attempts that are stopping: they will not hold them for long."""
        self.claimed = QuotaTree(shares)
        """The same as `tree`, and what comes back to jobs inside their quotas: who would borrow may
        not take that in the meantime."""
        for attempt in running:
            self.take(attempt.tenant, attempt.spec, nodes=attempt.spec.num_nodes)
            if attempt.stopping:
                self.leave(attempt)

    def take(self, tenant: str, spec: JobSpec, *, nodes: int) -> None:
        """Count one more job of a tenant."""
        used = self._used.get(tenant, Capacity())
        self._used[tenant] = used.plus(spec.resources, nodes)
        self._dominant.pop(tenant, None)
        self._any_borrowed = None
        devices = spec.resources.devices * nodes
        self._devices[tenant] = self._devices.get(tenant, 0) + devices
        for tree in (self.tree, self.settled, self.claimed):
            tree.take(tenant, devices, spec.priority)

    def hold(self, tenant: str, devices: int, priority: int) -> None:
        """Keep what others have on loan for a job inside its quota, from when they end."""
        self.claimed.take(tenant, devices, priority)

    def leave(self, attempt: RunningJob) -> None:
        """Count an attempt as stopping: it still holds its devices, and will not for long."""
        self._any_borrowed = None
        self.settled.take(attempt.tenant, -devices_of(attempt), attempt.spec.priority)

    def share_of(self, tenant: str) -> TenantShare:
        """Return the tenant's claim; weight 1 and no quota when none is set."""
        return self._shares.get(tenant) or TenantShare(tenant=tenant)

    def devices(self, tenant: str) -> int:
        """Return how many devices the tenant holds."""
        return self._devices.get(tenant, 0)

    def dominant_share(self, tenant: str) -> float:
        """Return the tenant's largest part of any one kind, over its weight."""
        share = self._dominant.get(tenant)
        if share is None:
            used, total = self._used.get(tenant, Capacity()), self.total
            part = max(
                used.cpu_milli / max(total.cpu_milli, 1),
                used.memory_bytes / max(total.memory_bytes, 1),
                used.accelerators / max(total.accelerators, 1),
            )
            share = part / max(self.share_of(tenant).weight, WEIGHT_MIN)
            self._dominant[tenant] = share
        return share

    def standing(self, tenant: str, devices: int, priority: int) -> Standing:
        """Say how a job of that many devices and that priority stands to the quotas."""
        share = self.share_of(tenant)
        if share.quota_devices is None and not share.parent:
            return Standing.WITHIN
        inside = self.claimed.entitled(tenant, devices, priority)
        room = (self.tree if inside else self.claimed).room(tenant)
        if room is None or devices <= room:
            return Standing.WITHIN if inside else Standing.BORROWS
        most = self.tree.most(tenant)
        if most is not None and devices > most:
            return Standing.NEVER
        return Standing.LENT if inside else Standing.FULL

    def borrows(self, job: WaitingJob) -> bool:
        """Say whether a job would stand on top of its tenant's quota."""
        if not self.may_claim(job.tenant):
            return False
        devices = job.spec.resources.devices * job.spec.num_nodes
        return not self.claimed.entitled(job.tenant, devices, job.spec.priority)

    def borrowed(self, tenant: str) -> int:
        """Return how many devices the tenant holds beyond its quota, without those leaving."""
        return self.settled.borrowed(tenant)

    def may_claim(self, tenant: str) -> bool:
        """Say whether the tenant has a quota, or a part in one, that it could take back."""
        share = self.share_of(tenant)
        return share.quota_devices is not None or bool(share.parent)

    def any_borrowed(self) -> bool:
        """Say whether any tenant borrows."""
        if self._any_borrowed is None:
            self._any_borrowed = any(self.borrowed(tenant) for tenant in self._devices)
        return self._any_borrowed

    def fits_quota(self, tenant: str, devices: int) -> bool:
        """Say whether that many more devices fit once what is stopping has ended."""
        room = self.settled.room(tenant)
        return room is None or devices <= room

    def own_limit(self, tenant: str, devices: int) -> bool:
        """Say whether it is the tenant's own quota and loan that such a job does not fit in."""
        tight = self.tree.tight(tenant, devices)
        return tight is not None and tight.name == tenant

    def tight(self, tenant: str, devices: int, standing: Standing) -> Node | None:
        """Return the lowest project on the tenant's path that keeps such a job out."""
        tree = self.tree if standing is Standing.LENT else self.claimed
        return tree.tight(tenant, devices)


def devices_of(attempt: RunningJob) -> int:
    """Return the billable devices that an attempt holds."""
    return attempt.spec.resources.devices * attempt.spec.num_nodes


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
    borrows = tenancy.borrows(job)
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
