"""Where waiting jobs will run, as far as that is known before they are placed.

It is known where other work was made to give way for a job, and where only one island's offers may
and could ever hold it. Anything else would be a guess: which of several islands is free first is
decided when one is. What is known lets a job's inputs travel while it queues.
"""

from __future__ import annotations

from collections.abc import Mapping

from causeway.model.fleet import Snapshot
from causeway.schedule.ask import Matches
from causeway.schedule.round import Round


def likely(snapshot: Snapshot, *, matches: Matches, limit: int) -> Mapping[str, str]:
    """Return job -> island for the first `limit` waiting jobs whose island is known."""
    fresh = Round(snapshot, matches, limit=1)
    found: dict[str, str] = {}
    for job in snapshot.waiting[:limit]:
        rows = fresh.ranking_of(job).eligible
        islands = {row.offer.pool.island for row in rows}
        promised = {row.offer.pool.island for row in rows if row.offer.pool.pool == job.promised}
        known = promised or islands
        if len(known) == 1:
            found[job.id] = known.pop()
    return found
