"""The schedule room: a picture of the fleet and its queue in, one plan with reasons out.

`plan` decides a round, `explain` says why a job is where it is and what would change that,
`quote` says what would happen to a submission that is not sent yet, and `likely` where waiting jobs
will run as far as that is known. All of them run the same filters, scores and queue. This room
never talks to an island, never reads a clock and never changes a job; the shell carries a plan out
and may be refused, and then asks again with a newer picture.
"""

from causeway.schedule.ask import Matches, line_of
from causeway.schedule.changes import Change
from causeway.schedule.explain import (
    Explanation,
    Outlook,
    QuotaView,
    explain,
)
from causeway.schedule.likely import likely
from causeway.schedule.quote import Quote, Verdicts, quote
from causeway.schedule.round import plan

__all__ = [
    "Change",
    "Explanation",
    "Matches",
    "Outlook",
    "QuotaView",
    "Quote",
    "Verdicts",
    "explain",
    "likely",
    "line_of",
    "plan",
    "quote",
]
