"""What a policy is, and six published ones as their common simulator runs them.

A policy compares nodes for one task and then picks devices of the best. The six are those of Weng
et al., Beware of Fragmentation (USENIX ATC 2023), whose simulator is
hkust-adsl/kubernetes-scheduler-simulator. Kept of it, because the published figures depend on it:
scores are whole numbers from 0 to 100, so that many nodes tie, and of equal nodes the first by
name is taken. What each does with a task without a device is kept too: Clustering and Packing
give every node 0, so that such a task goes to the first node by name that has room.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from causeway.schedule.devices.absorption import Absorption
from causeway.schedule.devices.demand import Demand, Learnt
from causeway.schedule.devices.fragmentation import Fragmentation, State
from causeway.schedule.devices.nodes import (
    DEVICE_MILLI,
    DeviceAsk,
    Floats,
    Ints,
    Nodes,
    tightest_devices,
)
from causeway.schedule.devices.placements import Placements

LARGEST_CPU_MILLI = 128_000
LARGEST_MILLI = 8 * DEVICE_MILLI
"""What the original divides CPU and devices by: the largest node of its fleet."""

LOOK_EVERY = 10
"""Ours sees how scarce whole sets are once in so many tasks, in a fleet of 1,000 nodes or more;
oftener in smaller ones, where one task changes more."""


def first_of_best(scores: Floats) -> int:
    """Return the first row of the highest score."""
    return int(scores.argmax())


def tightest(nodes: Nodes, node: int, ask: DeviceAsk) -> tuple[int, ...]:
    """Return the devices of a node on which the least stays free."""
    return tightest_devices(nodes.free_milli[node], ask)


def learns_nothing(ask: DeviceAsk) -> bool:
    """Hear of a task, and keep every score."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How to place one task. Scores of a node may be remembered until the node changes. A policy
    that hears is for one packer only."""

    scores: Callable[[Nodes, Ints, DeviceAsk], Floats]
    """A score for each of those rows, on all of which the task fits; the highest wins."""
    devices: Callable[[Nodes, int, DeviceAsk], tuple[int, ...]] = tightest
    """Which devices of the chosen node."""
    pick: Callable[[Floats], int] = first_of_best
    """The row to take, from a score for every node; -inf where the task does not fit."""
    hears: Callable[[DeviceAsk], bool] = learns_nothing
    """Told of each task before it is placed; True when remembered scores no longer hold."""


def random_fit(chance: np.random.Generator) -> Policy:
    """Any node that fits, and for a share any device of it, all equally likely."""

    def pick(scores: Floats) -> int:
        fits = np.flatnonzero(scores > -np.inf)
        return int(fits[chance.integers(len(fits))]) if len(fits) else 0

    def devices(nodes: Nodes, node: int, ask: DeviceAsk) -> tuple[int, ...]:
        if not ask.shares:
            return tightest(nodes, node, ask)
        enough = np.flatnonzero(nodes.free_milli[node] >= ask.device_milli)
        return (int(enough[chance.integers(len(enough))]),)

    return Policy(scores=_nothing, pick=pick, devices=devices)


def dot_product() -> Policy:
    """The smallest inner product of what is free and what is asked, CPU and devices as shares of
    the largest node's (Tetris turned round, as the original has it)."""

    def scores(nodes: Nodes, at: Ints, ask: DeviceAsk) -> Floats:
        cpu = nodes.cpu_milli[at] / LARGEST_CPU_MILLI * (ask.cpu_milli / LARGEST_CPU_MILLI)
        free = nodes.free_milli[at].sum(axis=1) / LARGEST_MILLI
        return _whole(100 * (1 - (cpu + free * (ask.total_milli / LARGEST_MILLI)) / 2))

    return Policy(scores=scores)


def best_fit() -> Policy:
    """The least left over, CPU and devices weighed alike as shares of the largest node's."""

    def scores(nodes: Nodes, at: Ints, ask: DeviceAsk) -> Floats:
        cpu = (nodes.cpu_milli[at] - ask.cpu_milli) / LARGEST_CPU_MILLI
        free = (nodes.free_milli[at].sum(axis=1) - ask.total_milli) / LARGEST_MILLI
        return _whole((1 - (cpu * 0.5 + free * 0.5)) * 100)

    return Policy(scores=scores)


def packing() -> Policy:
    """Used devices first, then free devices of used nodes, free nodes last."""

    def scores(nodes: Nodes, at: Ints, ask: DeviceAsk) -> Floats:
        if not ask.devices:
            return _nothing(nodes, at, ask)
        free = nodes.free_milli[at]
        whole = (free == DEVICE_MILLI).sum(axis=1)
        if ask.shares:
            least = np.where(free >= ask.device_milli, free, DEVICE_MILLI).min(axis=1)
            shared = np.maximum(100 - least * 100 // DEVICE_MILLI // 10, 50)
            used = np.where(least == DEVICE_MILLI, 49, shared)
        else:
            used = np.full(len(at), max(50 - ask.devices, 33))
        return np.where(whole == nodes.devices[at], np.maximum(33 - whole, whole), used).astype(
            np.float64
        )

    return Policy(scores=scores)


def clustering() -> Policy:
    """Nodes that hold tasks with the same number of devices, and of these the fullest."""

    def scores(nodes: Nodes, at: Ints, ask: DeviceAsk) -> Floats:
        if not ask.devices:
            return _nothing(nodes, at, ask)
        alike = nodes.held[at, nodes.sort_of(ask)] > 0
        sorts = (nodes.held[at] > 0).sum(axis=1)
        rank = np.where(alike, np.where(sorts == 1, 75, 50), np.where(sorts == 0, 25, 0))
        full = 25 * (LARGEST_MILLI - nodes.free_milli[at].sum(axis=1)) // LARGEST_MILLI
        score: Floats = (full + rank).astype(np.float64)
        return score

    return Policy(scores=scores)


def least_fragmentation(demand: Demand, nodes: Nodes) -> Policy:
    """FGD: the way that adds the least fragmentation, squeezed to 0..100 by a sigmoid."""
    measure = Fragmentation(demand, nodes)

    def ways(nodes: Nodes, at: Ints, ask: DeviceAsk) -> tuple[Placements, Floats]:
        ways = Placements.of(nodes, at, ask)
        before = measure.of(State.of(nodes, at))[ways.row]
        less = (before - measure.of(ways.after)) / (measure.total * DEVICE_MILLI)
        return ways, _whole(100 / (1 + np.exp(-less)))

    return _by_ways(ways)


def most_absorbing(demand: Demand, nodes: Nodes) -> Policy:
    """Ours: the way after which the fleet is worth the most to what usually comes."""
    return _absorbing(lambda: demand, nodes, grew=lambda ask: False)


def absorbing_what_came(nodes: Nodes) -> Policy:
    """Ours, knowing of demand only the tasks that have come so far."""
    learnt = Learnt(share=1.0)
    return _absorbing(learnt.demand, nodes, grew=learnt.see)


def _absorbing(
    demand: Callable[[], Demand], nodes: Nodes, *, grew: Callable[[DeviceAsk], bool]
) -> Policy:
    heard, measure = 0, Absorption(demand(), nodes)
    every = min(LOOK_EVERY, max(1, len(nodes) // 100))

    def hears(ask: DeviceAsk) -> bool:
        nonlocal heard, measure
        heard += 1
        anew = grew(ask)
        if anew:
            measure = Absorption(demand(), nodes)
        if anew or heard % every == 1 % every:
            return measure.look(nodes) or anew
        return False

    def ways(nodes: Nodes, at: Ints, ask: DeviceAsk) -> tuple[Placements, Floats]:
        ways = Placements.of(nodes, at, ask)
        more = measure.of(ways.after) - measure.of(State.of(nodes, at))[ways.row]
        # What floating point adds in another order must not decide between equals.
        return ways, np.round(more, 6)

    return replace(_by_ways(ways), hears=hears)


def _by_ways(ways: Callable[[Nodes, Ints, DeviceAsk], tuple[Placements, Floats]]) -> Policy:
    """Return the policy that takes the best of all ways to place a task, which `ways` scores."""

    def scores(nodes: Nodes, at: Ints, ask: DeviceAsk) -> Floats:
        found, score = ways(nodes, at, ask)
        return found.best_of_each(score, len(at))

    def devices(nodes: Nodes, node: int, ask: DeviceAsk) -> tuple[int, ...]:
        if not ask.shares:
            return tightest(nodes, node, ask)
        found, score = ways(nodes, np.array([node], dtype=np.int64), ask)
        return (int(found.device[int(score.argmax())]),)

    return Policy(scores=scores, devices=devices)


def _whole(scores: Floats) -> Floats:
    cut: Floats = np.trunc(scores)
    return cut


def _nothing(nodes: Nodes, at: Ints, ask: DeviceAsk) -> Floats:
    return np.zeros(len(at))
