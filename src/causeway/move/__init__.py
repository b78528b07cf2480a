"""The move room: from where content is fetched, over how many connections, and why.

An artefact may be held by several islands and is always held by the centre. Which of them an island
asks is decided here from what was measured, each figure with its age; the fetch itself then gives
more to whoever delivers more (`sdk.fetching`), so a poor guess costs a moment, not a transfer.

    sources   candidates with their measured links -> an order with predicted seconds and reasons
    lanes     a round trip -> how many connections at once
"""

from causeway.move.lanes import lanes_for
from causeway.move.sources import CENTRE, Candidate, Choice, choose

__all__ = ["CENTRE", "Candidate", "Choice", "choose", "lanes_for"]
