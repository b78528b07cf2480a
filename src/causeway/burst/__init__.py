"""The burst room: how many machines to rent or give back, and when a rented one turns itself in.

    terms     the nouns: an offer, a rental with its table of stages, who waits, what was decided
    cost      integer arithmetic: the most that a rental may still cost, and what it did cost
    observe   what was seen of a rental -> the rental as it is now
    decide    waiting jobs + rentals + offers + budget -> what to do, each with reasons
    watch     at the machine itself: what its watchman sees -> stay, or leave and say why

Pure functions over values, for whichever cloud is behind them. Two promises hold for every sequence
of answers, also wrong and late ones: what is committed and spent never exceeds the budget by a
decision of this room, and no decision comes without a reason.
"""

from causeway.burst.cost import committed_micros, most_micros
from causeway.burst.decide import decide
from causeway.burst.observe import Launch, Machine, Sight, observe
from causeway.burst.terms import (
    OPEN,
    Decision,
    Offer,
    Picture,
    Policy,
    Rental,
    Stage,
    Waiting,
    Wish,
    moved,
)
from causeway.burst.watch import Limits, Watched, watch

__all__ = [
    "OPEN",
    "Decision",
    "Launch",
    "Limits",
    "Machine",
    "Offer",
    "Picture",
    "Policy",
    "Rental",
    "Sight",
    "Stage",
    "Waiting",
    "Watched",
    "Wish",
    "committed_micros",
    "decide",
    "most_micros",
    "moved",
    "observe",
    "watch",
]
