"""Tiresias (Gu et al., NSDI 2019): two queues by attained service, no sizes changed.

Discretised two-dimensional least attained service, as the Pollux study configures it: a job is in
the first queue until devices times seconds of running pass a threshold, then at the end of the
second one, for good. Each round the queues are walked in order; who fits whole runs, who does not
is stopped, and smaller ones behind may pass. A shape that is held stays. New ones are placed on
the nodes with the most free devices, over as many as it takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from causeway.schedule.elastic.asking import Asking, Fleet
from causeway.schedule.elastic.pack import Shape

THRESHOLD_DEVICE_S = 16 * 3600
"""Of the Pollux study."""


def tiresias(
    askings: Sequence[Asking], fleet: Fleet, *, demoted: tuple[str, ...]
) -> tuple[dict[str, Shape], tuple[str, ...]]:
    """Return who runs where, and the second queue as it is now.

    `askings` come in the order of arrival; `demoted` is what the round before returned.
    """
    here = {asking.name: asking for asking in askings}
    second = [name for name in demoted if name in here]
    known = set(second)
    second += [
        asking.name
        for asking in askings
        if asking.name not in known and asking.service_device_s >= THRESHOLD_DEVICE_S
    ]
    known = set(second)
    order = [name for name in here if name not in known] + second
    left, running = fleet.devices, []
    for name in order:
        if here[name].devices_asked <= left:
            running.append(name)
            left -= here[name].devices_asked
    shapes = {name: here[name].held for name in running if here[name].held}
    place_loose({name: here[name].devices_asked for name in running}, shapes, fleet)
    return shapes, tuple(second)


def place_loose(shares: dict[str, int], shapes: dict[str, Shape], fleet: Fleet) -> None:
    """Add a shape for each share that has none, fullest free nodes first; shares must fit."""
    free = [fleet.per_node] * fleet.nodes
    for shape in shapes.values():
        for node, count in shape:
            free[node] -= count
    for name, share in shares.items():
        if name in shapes or share == 0:
            continue
        parts: list[tuple[int, int]] = []
        while share > 0:
            node = max(range(fleet.nodes), key=lambda at: (free[at], -at))
            count = min(free[node], share)
            parts.append((node, count))
            free[node] -= count
            share -= count
        shapes[name] = tuple(parts)
