"""The ledger of facts: every state change appends one event in the same transaction.

A job's story, the audit and the page are read from events. An event is never changed or removed;
retention moves old ones into an archive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact."""

    seq: int
    """Position in the ledger: 1, 2, 3, ... without gaps."""
    at_ms: int
    kind: str
    """`job.queued`, `job.placed`, `attempt.lost`, `island.joined`, `usage.booked`, ..."""
    subject: str
    """Identifier of the job or island that it is about."""
    tenant: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    """Plain JSON values."""
