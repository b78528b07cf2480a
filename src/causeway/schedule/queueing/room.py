"""Devices that are free: a number, or nodes on which gangs lie close together.

Both answer the same three questions in a time that does not grow with the fleet. A job that lies
`close` takes the fewest nodes: within one node where it fits one (the fullest that holds it), else
whole nodes and one part of a node. A job that is `spread` takes devices wherever they are, from the
emptiest nodes first, so that it fits whenever the count does.
"""

from __future__ import annotations

from typing import Protocol

from causeway.model.errors import InvalidInput

Held = tuple[tuple[int, int], ...]
"""(node, devices) of one job; empty where devices are only counted."""


class Room(Protocol):
    """What a queue asks of its pool."""

    @property
    def free(self) -> int:
        """Devices that nobody holds."""

    def fits_empty(self, devices: int) -> bool:
        """Say whether the pool could hold such a job if nothing else were there."""

    def take(self, job: int, devices: int) -> bool:
        """Give devices to a job, all or none."""

    def give(self, job: int) -> Held:
        """Take a job's devices back, and return which they were."""

    def take_again(self, job: int, held: Held) -> bool:
        """Give a job the very devices that it just had, if all of them are still free."""


class Counted:
    """Devices that are all alike and nowhere in particular."""

    def __init__(self, devices: int) -> None:
        self.free = devices
        self._all = devices
        self._held: dict[int, int] = {}

    def fits_empty(self, devices: int) -> bool:
        """See `Room`."""
        return devices <= self._all

    def take(self, job: int, devices: int) -> bool:
        """See `Room`."""
        if devices > self.free:
            return False
        self.free -= devices
        self._held[job] = devices
        return True

    def give(self, job: int) -> Held:
        """See `Room`."""
        devices = self._held.pop(job)
        self.free += devices
        return ((0, devices),)

    def take_again(self, job: int, held: Held) -> bool:
        """See `Room`."""
        return self.take(job, held[0][1])


class Nodes:
    """Nodes of equal size. Those with as many free devices lie in one list, so none is searched."""

    def __init__(self, nodes: int, devices_each: int, *, close: bool = True) -> None:
        if nodes < 1 or devices_each < 1:
            raise InvalidInput(f"{nodes} nodes of {devices_each} devices are no fleet")
        self.free = nodes * devices_each
        self._nodes = nodes
        self._each = devices_each
        self._close = close
        self._free_of = [devices_each] * nodes
        # The last of a list is taken first; at the beginning that is the first node.
        self._with: list[list[int]] = [[] for _ in range(devices_each + 1)]
        self._with[devices_each] = list(range(nodes - 1, -1, -1))
        self._at = list(range(nodes - 1, -1, -1))
        """Where a node stands in its list."""
        self._held: dict[int, Held] = {}

    def fits_empty(self, devices: int) -> bool:
        """See `Room`."""
        return devices <= self._nodes * self._each

    def take(self, job: int, devices: int) -> bool:
        """See `Room`."""
        if devices > self.free:
            return False
        found = self._near(devices) if self._close else self._anywhere(devices)
        if found is None:
            return False
        self._hold(job, found)
        return True

    def give(self, job: int) -> Held:
        """See `Room`."""
        held = self._held.pop(job)
        for node, devices in held:
            self._set(node, self._free_of[node] + devices)
            self.free += devices
        return held

    def take_again(self, job: int, held: Held) -> bool:
        """See `Room`."""
        if any(self._free_of[node] < devices for node, devices in held):
            return False
        self._hold(job, held)
        return True

    def _hold(self, job: int, held: Held) -> None:
        for node, devices in held:
            self._set(node, self._free_of[node] - devices)
            self.free -= devices
        self._held[job] = held

    def _near(self, devices: int) -> Held | None:
        whole, part = divmod(devices, self._each)
        empty = self._with[self._each]
        if len(empty) < whole:
            return None
        found = [(node, self._each) for node in empty[len(empty) - whole :]] if whole else []
        if part:
            node = self._fullest(part, skip=whole)
            if node < 0:
                return None
            found.append((node, part))
        return tuple(found)

    def _fullest(self, devices: int, *, skip: int) -> int:
        """Return the node with the least that still holds so many, or -1."""
        for free in range(devices, self._each):
            if self._with[free]:
                return self._with[free][-1]
        empty = self._with[self._each]
        return empty[-1 - skip] if len(empty) > skip else -1

    def _anywhere(self, devices: int) -> Held:
        found = []
        left = devices
        for free in range(self._each, 0, -1):
            for node in reversed(self._with[free]):
                part = min(free, left)
                found.append((node, part))
                left -= part
                if not left:
                    return tuple(found)
        raise AssertionError("the count was compared before")

    def _set(self, node: int, free: int) -> None:
        """Move a node to the list of its new count."""
        row, at = self._with[self._free_of[node]], self._at[node]
        last = row.pop()
        if last != node:
            row[at] = last
            self._at[last] = at
        self._free_of[node] = free
        self._at[node] = len(self._with[free])
        self._with[free].append(node)
