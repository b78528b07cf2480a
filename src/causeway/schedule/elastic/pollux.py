"""Pollux (Qiao et al., OSDI 2021): the fairest mean of speed-ups, restarts priced in.

A job's speed-up is its goodput over what an equal share of the fleet would give it. The fleet's
fitness is the power mean of the speed-ups with exponent -1, where a job whose shape changes counts
for less, by the share of its age that one more restart would eat:

    factor = max(age - restarts x delay, 0) / (age + delay)

Pollux looks for the fittest allocation by a genetic algorithm over all shapes. Here it is found
exactly among the shares that fit one node or are whole nodes: a mean of exponent -1 is the most
where the sum of -1/speed-up is, which is a division of devices by separate values. What differs,
then: no randomness, no local optimum, no shape looser than it has to be (unless nothing else is
free), no parts of nodes for jobs that span several, and no job that moves to make room.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from causeway.schedule.elastic.allot import divide, whole_nodes
from causeway.schedule.elastic.asking import Asking, Fleet
from causeway.schedule.elastic.curve import Floats
from causeway.schedule.elastic.pack import Shape, devices_of, pack

_NONE = 1e-3
"""Added to every speed-up, as Pollux does, so that none of them is infinitely bad."""


def pollux(askings: Sequence[Asking], fleet: Fleet) -> dict[str, Shape]:
    """Return who runs where. Jobs that had less service come first where places are few."""
    ranked = sorted(askings, key=lambda asking: (asking.service_device_s, -asking.age_s))
    shares = divide([_value(asking, fleet) for asking in ranked], fleet.devices)
    return pack(
        {asking.name: share for asking, share in zip(ranked, shares, strict=True)},
        {asking.name: asking.held for asking in ranked},
        nodes=fleet.nodes,
        per_node=fleet.per_node,
    )


def _value(asking: Asking, fleet: Fleet) -> Floats:
    speedup = asking.goodput / asking.goodput_fair
    spent_s = asking.restarts * fleet.restart_s
    factor = max(asking.age_s - spent_s, 0.0) / (asking.age_s + fleet.restart_s)
    held = devices_of(asking.held)
    counts = np.where(np.arange(len(speedup)) == held, speedup, speedup * factor)
    return whole_nodes(-1.0 / (counts / fleet.per_node + _NONE), fleet.per_node)
