"""The nodes of one round: what is free, what tentatively evicted work would need to come back.

Two amounts per node. *Open* is what nobody holds, evicted work not counted. *Spare* is open less
what the evicted work there needs to come back; taking spare room harms nobody. In a refill open
only ever shrinks, so a node that has become too small for a shape never fits it again: each shape
walks once over the nodes that it may use, and a round costs shapes x nodes (vectorised) and a step
or two per job, however many jobs there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from causeway.schedule.shares.fair import Need

Amounts = NDArray[np.int64]
LOOK, LOOK_MAX = 16, 4_096
"""Nodes that are looked at together: few at first, since the next one mostly has room."""


class Floor:
    """Capacity while a round decides: one row per node, one column per kind."""

    def __init__(self, capacity: Amounts, classes: NDArray[np.int64] | None = None) -> None:
        self.nodes, self.kinds = capacity.shape
        self.total: Need = tuple(int(amount) for amount in capacity.sum(axis=0))
        self.open = np.ascontiguousarray(capacity.T).copy()
        """Kinds x nodes: a column of one kind is read far more often than a row."""
        self.needed_back = np.zeros_like(self.open)
        self.cost = np.zeros(self.nodes)
        """Of stopping what was evicted there."""
        self.classes = np.zeros(self.nodes, dtype=np.int64) if classes is None else classes
        self.evicted = False
        """Whether anything was."""
        self._known: dict[frozenset[int], NDArray[np.bool_]] = {}
        """Sets of classes that were asked for -> their nodes."""

    def fits(self, node: int, need: Need) -> bool:
        """Say whether one member fits into what is open."""
        return all(self.open[k, node] >= need[k] for k in range(self.kinds))

    def spare(self, node: int, need: Need) -> bool:
        """Say whether one member fits beside all that evicted work needs to come back."""
        return all(
            self.open[k, node] - self.needed_back[k, node] >= need[k] for k in range(self.kinds)
        )

    def take(self, node: int, need: Need, times: int = 1) -> None:
        """Take what one member needs; `times=-1` gives it back."""
        for kind, amount in enumerate(need):
            self.open[kind, node] -= amount * times

    def evict(self, nodes: Sequence[int], need: Need, cost: float) -> None:
        """Open what a job holds, and remember what it needs to come back."""
        self.evicted = True
        for node in nodes:
            self.take(node, need, -1)
            self.cost[node] += cost / len(nodes)
            for kind, amount in enumerate(need):
                self.needed_back[kind, node] += amount

    def forget(self, nodes: Sequence[int], need: Need) -> None:
        """Need nothing any more for an evicted job to come back: it did, or never will."""
        for node in nodes:
            for kind, amount in enumerate(need):
                self.needed_back[kind, node] -= amount

    def return_to(self, nodes: Sequence[int], need: Need) -> bool:
        """Put an evicted job back where it was, whole, if it still fits; say whether it did."""
        taken: list[int] = []
        for node in nodes:
            if not self.fits(node, need):
                break
            self.take(node, need)
            taken.append(node)
        if len(taken) == len(nodes):
            return True
        for node in taken:
            self.take(node, need, -1)
        return False

    def room(
        self, need: Need, nodes: NDArray[np.int64] | slice, *, spare: bool
    ) -> NDArray[np.bool_]:
        """Return which of the nodes have room for one member."""
        found = np.ones(len(self.classes[nodes]), dtype=np.bool_)
        for kind, amount in enumerate(need):
            if amount:
                left = self.open[kind, nodes]
                if spare and self.evicted:
                    left = left - self.needed_back[kind, nodes]
                found &= left >= amount
        return found

    def suited(self, need: Need, classes: Iterable[int] | None) -> NDArray[np.bool_]:
        """Return which nodes could hold one member in what is open."""
        found = self.room(need, slice(None), spare=False)
        if classes is not None:
            found &= self._of_classes(frozenset(classes))
        return found

    def _of_classes(self, wanted: frozenset[int]) -> NDArray[np.bool_]:
        found = self._known.get(wanted)
        if found is None:
            found = self._known[wanted] = np.isin(self.classes, list(wanted))
        return found


class Walk:
    """One shape's way over the nodes. Nodes with spare room come first, in the order of their
    numbers; then those where making room costs least."""

    def __init__(self, floor: Floor, need: Need, classes: Iterable[int] | None) -> None:
        self._floor = floor
        self._need = need
        suited = floor.suited(need, classes)
        self._spare = _Line(np.flatnonzero(suited & floor.room(need, slice(None), spare=True)))
        self._suited = suited
        self._tight: _Line | None = None

    def next_node(self, *, displace: bool) -> int | None:
        """Return a node for one more member, or None. `displace`: even one that evicted work would
        then not come back to."""
        node = self._spare.first(self._floor, self._need, spare=True)
        if node is not None or not displace or not self._floor.evicted:
            return node
        if self._tight is None:
            nodes = np.flatnonzero(self._suited)
            self._tight = _Line(nodes[np.argsort(self._floor.cost[nodes], kind="stable")])
        return self._tight.first(self._floor, self._need, spare=False)


class _Line:
    """Nodes in an order, and how far a shape has come."""

    __slots__ = ("_at", "_nodes")

    def __init__(self, nodes: NDArray[np.int64]) -> None:
        self._nodes = nodes
        self._at = 0

    def first(self, floor: Floor, need: Need, *, spare: bool) -> int | None:
        """Return the first node that has room, and pass for good those before it."""
        look = LOOK
        while self._at < len(self._nodes):
            node = int(self._nodes[self._at])
            if floor.spare(node, need) if spare else floor.fits(node, need):
                return node
            block = self._nodes[self._at + 1 : self._at + 1 + look]
            enough = floor.room(need, block, spare=spare)
            at = int(enough.argmax()) if len(block) else 0
            self._at += 1 + (at if len(block) and enough[at] else len(block))
            look = min(4 * look, LOOK_MAX)
        return None
