"""The job level of placement: which node, and which devices of it.

`Nodes` is the fleet as columns, a `DeviceAsk` is what one task needs, a `Policy` compares nodes
for it and a `Packer` places one task after another without comparing all nodes anew.
`most_absorbing` is ours; the others are published policies to measure against. Nothing here reads
a clock or draws a number that it was not given.
"""

from causeway.schedule.devices.absorption import Absorption
from causeway.schedule.devices.demand import Demand, Learnt, Shape, typical
from causeway.schedule.devices.fragmentation import Fragmentation, State
from causeway.schedule.devices.nodes import DEVICE_MILLI, Choice, DeviceAsk, Nodes
from causeway.schedule.devices.packer import Packer
from causeway.schedule.devices.policies import (
    Policy,
    absorbing_what_came,
    best_fit,
    clustering,
    dot_product,
    least_fragmentation,
    most_absorbing,
    packing,
    random_fit,
)
from causeway.schedule.devices.topology import choose, in_slices

__all__ = [
    "DEVICE_MILLI",
    "Absorption",
    "Choice",
    "Demand",
    "DeviceAsk",
    "Fragmentation",
    "Learnt",
    "Nodes",
    "Packer",
    "Policy",
    "Shape",
    "State",
    "absorbing_what_came",
    "best_fit",
    "choose",
    "clustering",
    "dot_product",
    "in_slices",
    "least_fragmentation",
    "most_absorbing",
    "packing",
    "random_fit",
    "typical",
]
