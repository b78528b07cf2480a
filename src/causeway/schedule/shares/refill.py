"""A fair round in one algorithm: evict above the protected share, refill by the lowest share.

The idea is that of Armada's preempting scheduler, with two changes that make it gentler. Only what
stands *above* a queue's protected share is evicted, and only tentatively: it may come back to
where it was, never elsewhere, so nothing is stopped and started for nothing. And newcomers take
spare room first, then room whose work costs least to stop.

    1  fair shares by weight and demand (`fair`); protected: a part of the fair share, all of it
       unless told otherwise
    2  of each queue above its protected share, what is preemptible above it is evicted: the work
       that costs least to stop first (lost since its checkpoint, restart, transfer)
    3  refill: the queue with the lowest weighted dominant share has the next turn, its candidates
       in the order of priority, evicted ones before queued ones. A queue at its fair share goes on
       taking spare room, but displaces nobody
    4  whoever was evicted and did not come back is stopped; everybody else never noticed

Gangs come, stay and go whole. A shape that found no node is not tried again: room only shrinks.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from causeway.schedule.shares.fair import Need, dominant, fair_shares
from causeway.schedule.shares.floor import Amounts, Floor, Walk

SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """One job that waits."""

    id: str
    queue: str
    need: Need
    """Of one member."""
    members: int = 1
    priority: int = 0
    since_ms: int = 0
    classes: frozenset[int] | None = None
    """Classes of nodes that it may use; None: any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One job that runs."""

    id: str
    queue: str
    need: Need
    """Of one member."""
    nodes: tuple[int, ...]
    """Of each member."""
    priority: int = 0
    preemptible: bool = True
    cost_device_s: float = 0.0
    """Of stopping it: lost work, restart, transfer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refill:
    """What a round decided."""

    starts: Mapping[str, tuple[int, ...]]
    """Queued job -> node of each member."""
    stops: tuple[str, ...]
    """Running jobs that give way."""
    fair: Mapping[str, float]
    shares: Mapping[str, float]
    """Dominant share of each queue afterwards, not weighted."""


@dataclass(slots=True, kw_only=True)
class _Queue:
    name: str
    weight: float
    fair: float
    held: list[int]
    """Amount of each kind."""
    evicted: list[Holding] = field(default_factory=list)
    """Next one last."""
    lines: dict[int, list[Queued]] = field(default_factory=dict)
    """Number of a shape -> its jobs, next one last."""
    heads: list[tuple[int, int, str, int]] = field(default_factory=list)
    """Heap over lines: priority (negative), since, id, number of the shape."""


def refill(
    capacity: Amounts,
    *,
    weights: Mapping[str, float],
    running: Sequence[Holding],
    waiting: Iterable[Queued],
    protected_share: float = 1.0,
    classes: Amounts | None = None,
) -> Refill:
    """Decide one round. `capacity` has a row per node and a column per kind; `classes` a class per
    node. Queues without a weight have weight 1."""
    return _Round(capacity, classes, weights).decide(running, waiting, protected_share)


class _Round:
    """The working state of one round."""

    def __init__(
        self, capacity: Amounts, classes: Amounts | None, weights: Mapping[str, float]
    ) -> None:
        self.floor = Floor(capacity, classes)
        self.weights = weights
        self.queues: dict[str, _Queue] = {}
        self.starts: dict[str, tuple[int, ...]] = {}
        self.stops: list[Holding] = []
        self._shapes: dict[Hashable, int] = {}
        self._walks: dict[int, Walk] = {}

    def decide(
        self, running: Sequence[Holding], waiting: Iterable[Queued], protected: float
    ) -> Refill:
        self._line_up(running, waiting)
        self._evict(running, protected)
        self._fill()
        total = self.floor.total
        return Refill(
            starts=self.starts,
            stops=tuple(holding.id for holding in self.stops),
            fair={q.name: q.fair for q in self.queues.values()},
            shares={q.name: dominant(q.held, total) for q in self.queues.values()},
        )

    def _queue(self, name: str) -> _Queue:
        queue = self.queues.get(name)
        if queue is None:
            weight = max(self.weights.get(name, 1.0), SLACK)
            queue = _Queue(name=name, weight=weight, fair=0.0, held=[0] * self.floor.kinds)
            self.queues[name] = queue
        return queue

    def _line_up(self, running: Sequence[Holding], waiting: Iterable[Queued]) -> None:
        """Count what everybody holds and wants, put queued jobs in line, and share fairly."""
        for holding in running:
            queue = self._queue(holding.queue)
            _add(queue.held, holding.need, len(holding.nodes))
            for node in holding.nodes:
                self.floor.take(node, holding.need)
        wanted = {name: list(queue.held) for name, queue in self.queues.items()}
        for job in waiting:
            shape = (job.need, job.members, job.priority, job.classes)
            number = self._shapes.setdefault(shape, len(self._shapes))
            self._queue(job.queue).lines.setdefault(number, []).append(job)
        for queue in self.queues.values():
            demand = wanted.setdefault(queue.name, [0] * self.floor.kinds)
            for number, line in queue.lines.items():
                _add(demand, line[0].need, line[0].members * len(line))
                line.sort(key=lambda job: (job.since_ms, job.id), reverse=True)
                self._head(queue, number)
        total = self.floor.total
        fair = fair_shares(
            {name: dominant(amount, total) for name, amount in wanted.items()},
            {name: queue.weight for name, queue in self.queues.items()},
        )
        for name, share in fair.items():
            self.queues[name].fair = share

    def _head(self, queue: _Queue, number: int) -> None:
        """Put the first of a line on the queue's heap."""
        job = queue.lines[number][-1]
        heapq.heappush(queue.heads, (-job.priority, job.since_ms, job.id, number))

    def _evict(self, running: Sequence[Holding], protected: float) -> None:
        """Evict, tentatively, what stands above its queue's protected share."""
        total = self.floor.total
        above = {
            name: protected * queue.fair
            for name, queue in self.queues.items()
            if dominant(queue.held, total) > protected * queue.fair + SLACK
        }
        mine: dict[str, list[Holding]] = {name: [] for name in above}
        for holding in running:
            if holding.queue in mine:
                mine[holding.queue].append(holding)
        for name, holdings in mine.items():
            queue = self.queues[name]
            kept = self._kept(holdings, above[name])
            for holding in holdings:
                if holding.id not in kept:
                    queue.evicted.append(holding)
                    _add(queue.held, holding.need, -len(holding.nodes))
                    self.floor.evict(holding.nodes, holding.need, holding.cost_device_s)
            queue.evicted.reverse()

    def _kept(self, holdings: list[Holding], above: float) -> set[str]:
        """Return which of a queue's jobs make up its protected share, and no more than that: the
        dearest to stop first, and of those then the cheapest left out that the share can spare."""
        total, keeps = self.floor.total, [0] * self.floor.kinds
        holdings.sort(key=lambda h: (h.preemptible, -h.priority, -h.cost_device_s, h.id))
        kept: dict[str, Holding] = {}
        for holding in holdings:
            if not holding.preemptible or dominant(keeps, total) < above - SLACK:
                _add(keeps, holding.need, len(holding.nodes))
                kept[holding.id] = holding
        for holding in reversed(tuple(kept.values())):
            _add(keeps, holding.need, -len(holding.nodes))
            if not holding.preemptible or dominant(keeps, total) < above - SLACK:
                _add(keeps, holding.need, len(holding.nodes))
            else:
                del kept[holding.id]
        return set(kept)

    def _fill(self) -> None:
        """Give turns by the lowest weighted share until nobody can take one."""
        turns = [self._turn(queue) for queue in self.queues.values()]
        heapq.heapify(turns)
        while turns:
            queue = self.queues[turns[0][1]]
            if queue.evicted and (
                not queue.heads or queue.evicted[-1].priority >= -queue.heads[0][0]
            ):
                self._bring_back(queue, queue.evicted.pop())
            elif queue.heads:
                self._place(queue)
            else:
                heapq.heappop(turns)
                continue
            heapq.heapreplace(turns, self._turn(queue))

    def _turn(self, queue: _Queue) -> tuple[float, str]:
        return (dominant(queue.held, self.floor.total) / queue.weight, queue.name)

    def _bring_back(self, queue: _Queue, holding: Holding) -> None:
        """Let an evicted job stay where it was, or stop it."""
        if self.floor.return_to(holding.nodes, holding.need):
            _add(queue.held, holding.need, len(holding.nodes))
        else:
            self.stops.append(holding)
        self.floor.forget(holding.nodes, holding.need)

    def _place(self, queue: _Queue) -> None:
        """Start the queue's next job, whole, or give its shape up for this queue."""
        number = heapq.heappop(queue.heads)[3]
        line = queue.lines[number]
        job = line[-1]
        walk = self._walks.get(number)
        if walk is None:
            walk = self._walks[number] = Walk(self.floor, job.need, job.classes)
        displace = dominant(queue.held, self.floor.total) < queue.fair - SLACK
        nodes: list[int] = []
        while len(nodes) < job.members:
            node = walk.next_node(displace=displace)
            if node is None:
                for taken in nodes:
                    self.floor.take(taken, job.need, -1)
                return
            self.floor.take(node, job.need)
            nodes.append(node)
        self.starts[job.id] = tuple(nodes)
        _add(queue.held, job.need, job.members)
        line.pop()
        if line:
            self._head(queue, number)


def _add(amounts: list[int], need: Need, times: int) -> None:
    for kind, amount in enumerate(need):
        amounts[kind] += amount * times
