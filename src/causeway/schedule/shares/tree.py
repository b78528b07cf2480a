"""Quotas that lend and borrow, in a tree: projects, groups of them, groups of groups, the fleet.

Every project may have a nominal quota, a bound on what it borrows beyond it, a bound on what it
lends of it, and a parent. What a project does not use and may lend, the others below its parent may
use; what they all leave, the others below *its* parent. The semantics are those of Kueue's cohorts
(KEP-79, hierarchical cohorts); the names are ours: a cohort is a project that is a parent.

    quota(n)  = nominal(n) + sum over its children c of min(quota(c), lend(c))
    kept(n)   = max(0, quota(n) - lend(n))            what nobody else may use
    used(n)   = its own jobs + sum over its children c of max(0, used(c) - kept(c))
    room(n)   = max(0, kept(n) - used(n)) + min(room(parent), quota(n) - kept(n) + borrow(n)
                                                             - max(0, used(n) - kept(n)))

A project without a nominal quota and without a parent is neither guaranteed nor limited (`None`
stands for "without limit"); with a parent it is guaranteed nothing and lives on what the group
leaves. The fleet itself has no limit here: what pools hold is the ledgers' to say.

Work of one project stands on its quota in the order of priority, the highest first. So a job counts
as inside the quota when it fits there beside the project's work of at least its own priority, and
only work on top of the quota is *on loan*. A claim and what it may take back are then never two
sides of one job, and nobody evicts each other in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from causeway.model.fleet import TenantShare
from causeway.model.parties import PARENTS_MAX


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """One project in the tree."""

    name: str
    parent: Node | None
    quota: int | None
    """Nominal quota and what its children lend to it; None: no limit is set here."""
    nominal: int
    """What its own jobs may hold of its own right."""
    borrow: int | None
    lend: int | None
    used: int = 0
    by_priority: dict[int, int] = field(default_factory=dict)
    """Devices of its own jobs."""

    @property
    def kept(self) -> int:
        """Devices that it lends to nobody."""
        if self.quota is None or self.lend is None:
            return 0
        return max(0, self.quota - self.lend)

    @property
    def over(self) -> bool:
        """Whether it and those below it hold more than its quota."""
        return self.quota is not None and self.used > self.quota


class QuotaTree:
    """The use of every quota while a round decides."""

    def __init__(self, shares: Mapping[str, TenantShare]) -> None:
        self._shares = shares
        self._nodes: dict[str, Node] = {}
        self._paths: dict[str, tuple[Node, ...]] = {}
        lent: dict[str, int] = {}
        for name in _children_first(shares):
            share = shares[name]
            nominal = share.quota_devices or 0
            limited = share.quota_devices is not None or share.parent
            quota = nominal + lent.get(name, 0) if limited else None
            self._nodes[name] = Node(
                name=name,
                parent=None,
                quota=quota,
                nominal=nominal,
                borrow=share.borrow_devices,
                lend=share.lend_devices,
            )
            if quota is not None and share.parent:
                most = quota if share.lend_devices is None else min(quota, share.lend_devices)
                lent[share.parent] = lent.get(share.parent, 0) + most
        for node in self._nodes.values():
            node.parent = self._nodes.get(shares[node.name].parent)

    def path(self, tenant: str) -> tuple[Node, ...]:
        """Return the project and those above it, the top one last; empty: it is not in the tree."""
        found = self._paths.get(tenant)
        if found is None:
            chain: list[Node] = []
            node = self._nodes.get(tenant)
            while node is not None and node not in chain and len(chain) < PARENTS_MAX:
                chain.append(node)
                node = node.parent
            found = self._paths[tenant] = tuple(chain)
        return found

    def take(self, tenant: str, devices: int, priority: int) -> None:
        """Count devices of a job; a negative number gives them back."""
        path = self.path(tenant)
        if not path:
            return
        held = path[0].by_priority
        held[priority] = held.get(priority, 0) + devices
        for node in path:
            above_before = max(0, node.used - node.kept)
            node.used += devices
            devices = max(0, node.used - node.kept) - above_before
            if not devices:
                return

    @contextmanager
    def without(self, jobs: Iterable[tuple[str, int, int]]) -> Iterator[None]:
        """Look at the tree as if jobs (tenant, devices, priority) were gone."""
        gone = tuple(jobs)
        for tenant, devices, priority in gone:
            self.take(tenant, -devices, priority)
        try:
            yield
        finally:
            for tenant, devices, priority in gone:
                self.take(tenant, devices, priority)

    def room(self, tenant: str) -> int | None:
        """Return how many more devices the project may hold; None: no quota limits it."""
        room: int | None = None
        for node in reversed(self.path(tenant)):
            room = _room(node, room)
        return room

    def most(self, tenant: str) -> int | None:
        """Return how many devices the project could hold if nobody held anything."""
        most: int | None = None
        for node in reversed(self.path(tenant)):
            most = _room(node, most, used=0)
        return most

    def tight(self, tenant: str, devices: int) -> Node | None:
        """Return the lowest project on the path that keeps that many devices from it."""
        path = self.path(tenant)
        for index, lowest in enumerate(path):
            room: int | None = None
            for node in reversed(path[: index + 1]):
                room = _room(node, room)
            if room is not None and room < devices:
                return lowest
        return None

    def entitled(self, tenant: str, devices: int, priority: int) -> bool:
        """Say whether a job is inside its project's own nominal quota."""
        path = self.path(tenant)
        if not path or path[0].quota is None:
            return True
        return _stacked(path[0], priority) + devices <= path[0].nominal

    def on_loan(self, tenant: str, priority: int) -> bool:
        """Say whether a job's devices are on top of its project's own nominal quota."""
        path = self.path(tenant)
        if not path or path[0].quota is None:
            return False
        return _stacked(path[0], priority) > path[0].nominal

    def borrowed(self, tenant: str) -> int:
        """Return how many devices the project's own jobs hold on top of its nominal quota."""
        path = self.path(tenant)
        if not path or path[0].quota is None:
            return 0
        return max(0, sum(path[0].by_priority.values()) - path[0].nominal)

    def may_reclaim(self, claimant: tuple[str, int, int], victim: tuple[str, int]) -> bool:
        """Say whether a job (tenant, devices, priority) may take back what another project's job
        (tenant, priority) holds.

        Where the two projects' paths meet, the claimant's side must have a level that stays inside
        its quota with the job, and every level of the victim's side must be above its own.
        """
        (tenant, devices, priority), (owner, below) = claimant, victim
        if tenant == owner or not self.on_loan(owner, below):
            return False
        mine, theirs = self.path(tenant), self.path(owner)
        if not mine or mine[0].quota is None:
            return False
        shared = {node.name for node in mine} & {node.name for node in theirs}
        if any(not node.over for node in theirs[1:] if node.name not in shared):
            return False
        if self.entitled(tenant, devices, priority):
            return True
        return any(
            node.quota is not None and node.used + devices <= node.quota
            for node in mine[1:]
            if node.name not in shared
        )


def _stacked(node: Node, priority: int) -> int:
    """Return what a project's own jobs of at least that priority hold."""
    total = 0
    for level, held in node.by_priority.items():
        if level >= priority:
            total += held
    return total


def _room(node: Node, above: int | None, *, used: int | None = None) -> int | None:
    """Return a project's room, `above` being that of its parent."""
    if node.quota is None:
        return above
    held = node.used if used is None else used
    own = max(0, node.kept - held)
    beyond = node.quota - node.kept - max(0, held - node.kept)
    if node.borrow is not None:
        beyond += node.borrow
        above = beyond if above is None else min(above, beyond)
    return None if above is None else max(0, own + above)


def _children_first(shares: Mapping[str, TenantShare]) -> list[str]:
    """Return the names so that each comes before its parent. A loop, which no door lets in, is cut
    at the name that comes first."""
    order: dict[str, None] = {}
    for name in sorted(shares):
        chain: list[str] = []
        while name in shares and name not in order and name not in chain:
            chain.append(name)
            name = shares[name].parent
        for one in reversed(chain):
            order[one] = None
    return list(reversed(order))
