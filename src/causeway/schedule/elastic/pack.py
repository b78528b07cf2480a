"""A division of devices made into nodes, moving as few jobs as it can.

A job on several nodes is *wide*; two wide jobs never share a node, because their exchanges would
meet on its link (Pollux calls it interference avoidance). Jobs whose share did not change stay
where they are. The others are placed wide ones first, whole free nodes before parts of nodes;
narrow ones go where they leave the least free. What cannot be placed whole gets what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Shape = tuple[tuple[int, int], ...]
"""(node, devices on it), by node; empty for a job that holds nothing."""


def devices_of(shape: Shape) -> int:
    """Return how many devices a shape holds."""
    return sum(count for _, count in shape)


def tight_nodes(devices: int, per_node: int) -> int:
    """Return the fewest nodes that hold so many devices."""
    return -(-devices // per_node)


def pack(
    shares: Mapping[str, int], held: Mapping[str, Shape], *, nodes: int, per_node: int
) -> dict[str, Shape]:
    """Return a shape for every job with a share, over the fewest nodes where that can be.

    >>> pack({"a": 6, "b": 2}, {}, nodes=2, per_node=4)
    {'a': ((0, 4), (1, 2)), 'b': ((1, 2),)}
    """
    kept = {
        name: shape
        for name, shape in held.items()
        if shape and devices_of(shape) == shares.get(name, 0)
    }
    fresh = [name for name, share in shares.items() if share > 0 and name not in kept]
    placed = dict(kept)
    free = [per_node] * nodes
    wide = [False] * nodes
    for shape in kept.values():
        _occupy(shape, free, wide)
    for name in sorted(fresh, key=lambda name: -shares[name]):
        share = shares[name]
        shape = _wide(share, free, wide) if share > per_node else _narrow(share, free, wide)
        if shape:
            _occupy(shape, free, wide)
            placed[name] = shape
    return placed


def _occupy(shape: Shape, free: list[int], wide: list[bool]) -> None:
    for node, count in shape:
        free[node] -= count
        wide[node] = wide[node] or len(shape) > 1


def _narrow(share: int, free: Sequence[int], wide: Sequence[bool]) -> Shape:
    fits = [node for node, left in enumerate(free) if left >= share]
    if fits:
        return ((min(fits, key=lambda node: (free[node], node)), share),)
    return _wide(share, free, wide)


def _wide(share: int, free: Sequence[int], wide: Sequence[bool]) -> Shape:
    """Return the fullest of the free nodes, the last of them the one that fits best."""
    open_nodes = [node for node, left in enumerate(free) if left > 0 and not wide[node]]
    open_nodes.sort(key=lambda node: (-free[node], node))
    chosen: list[tuple[int, int]] = []
    left = share
    for place, node in enumerate(open_nodes):
        if left <= free[node]:
            tail = min(
                (other for other in open_nodes[place:] if free[other] >= left),
                key=lambda other: (free[other], other),
            )
            return tuple(sorted([*chosen, (tail, left)]))
        chosen.append((node, free[node]))
        left -= free[node]
    whole = max(range(len(free)), key=lambda node: (free[node], -node))
    if sum(count for _, count in chosen) > free[whole]:
        return tuple(sorted(chosen))
    return ((whole, free[whole]),) if free[whole] else ()
