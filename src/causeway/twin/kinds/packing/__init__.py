"""Packing: tasks come one after another until more was asked for than the fleet has, and none ends.

What is measured is how much of the fleet's devices a policy gets allocated: the experiment of
Weng et al. (Beware of Fragmentation, USENIX ATC 2023) on the `openb` fleet. There is no clock.
Every task that fits somewhere has to be placed; one that fits nowhere is turned away for good.
"""

from causeway.twin.kinds.packing.run import KIND

__all__ = ["KIND"]
