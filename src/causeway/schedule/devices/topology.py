"""Devices that belong together, and devices that are cut into fixed slices.

An island here is a group of devices of one node with a fast link among them (NVLink, or one
switch). A task of several devices is given devices of as few islands as can be, and nodes where
one island is enough come before nodes where it is not. A slice is a part of a device of one of a
few fixed sizes (such as NVIDIA's MIG profiles): a share is rounded up to the smallest that holds
it. Where on a device a slice may begin is not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from causeway.model.errors import InvalidInput
from causeway.schedule.devices.nodes import DEVICE_MILLI, Choice, DeviceAsk, Ints, Nodes
from causeway.schedule.devices.packer import Packer
from causeway.schedule.devices.policies import Policy


def choose(
    nodes: Nodes, policy: Policy, ask: DeviceAsk, *, islands: Ints | None = None
) -> Choice | None:
    """Return where one task would go, comparing every node; None if it fits nowhere.

    `islands` is (nodes, devices): which island of its node each device is in.
    """
    if islands is None or ask.devices < 2:
        return Packer(nodes=nodes, policy=policy).choose(ask)
    if islands.shape != nodes.free_milli.shape:
        raise InvalidInput("islands name one island for each device of each node")
    policy.hears(ask)
    every = np.arange(len(nodes), dtype=np.int64)
    fits = every[nodes.fits(every, ask)]
    if not len(fits):
        return None
    near = [len(islands_of(nodes, islands, node, ask)) == 1 for node in fits.tolist()]
    among = fits[near] if any(near) else fits
    scores = np.full(len(nodes), -np.inf)
    scores[among] = policy.scores(nodes, among, ask)
    node = policy.pick(scores)
    taken = [d for some in islands_of(nodes, islands, node, ask).values() for d in some]
    return Choice(
        node=node,
        name=nodes.names[node],
        devices=tuple(taken[: ask.devices]),
        score=float(scores[node]),
    )


def islands_of(
    nodes: Nodes, islands: Ints, node: int, ask: DeviceAsk
) -> dict[int, tuple[int, ...]]:
    """Return the free whole devices of the fewest islands that have enough, by island.

    One island that is just large enough is best; else the largest are taken first.
    """
    whole = np.flatnonzero(nodes.free_milli[node] == DEVICE_MILLI)
    groups: dict[int, list[int]] = {}
    for device in whole.tolist():
        groups.setdefault(int(islands[node, device]), []).append(device)
    taken: dict[int, tuple[int, ...]] = {}
    missing = ask.devices
    while missing > 0 and groups:
        enough = [key for key, group in groups.items() if len(group) >= missing]
        best = (
            min(enough, key=lambda key: (len(groups[key]), key))
            if enough
            else max(groups, key=lambda key: (len(groups[key]), -key))
        )
        taken[best] = tuple(groups.pop(best))
        missing -= len(taken[best])
    return taken


def in_slices(ask: DeviceAsk, sizes_milli: Sequence[int]) -> DeviceAsk:
    """Return the ask with its share rounded up to a slice, or to a whole device if none holds it.

    >>> in_slices(DeviceAsk(devices=1, device_milli=200), (143, 286, 429, 571)).device_milli
    286
    """
    if not ask.shares:
        return ask
    holding = [size for size in sizes_milli if ask.device_milli <= size <= DEVICE_MILLI]
    return replace(ask, device_milli=min(holding, default=DEVICE_MILLI))
