"""How attempts end where a runner keeps the record: the words that every such engine uses. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from causeway.adapters.runner.record import End, RankSeen
from causeway.model.jobs import FailureClass

Key = tuple[str, int]
"""A job and its fence."""
SIGNAL_BASE = 128
"""An exit code above it is that of a program which a signal ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    phase: str
    exit_code: int | None = None
    failure: FailureClass | None = None
    message: str = ""


def how(code: int) -> str:
    """Say how a program ended.

    >>> how(3), how(137)
    ('ended with exit code 3', 'was killed by signal 9 (SIGKILL)')
    """
    number = code - SIGNAL_BASE
    names = {int(one): f" ({one.name})" for one in signal.Signals}
    if 0 < number <= 64:
        return f"was killed by signal {number}{names.get(number, '')}"
    return f"ended with exit code {code}"


def failed_rank(ranks: Sequence[RankSeen]) -> int | None:
    """Return the rank whose program failed first by itself; those that were told to end last."""
    failed = [
        (rank.end is not End.EXIT, rank.ended_ms, number)
        for number, rank in enumerate(ranks)
        if rank.end is not None and rank.code
    ]
    return min(failed)[2] if failed else None


def is_plain(rank: RankSeen) -> bool:
    """Say whether its end is its own beyond doubt: no signal was in it."""
    return rank.end is End.EXIT and rank.code is not None and rank.code < SIGNAL_BASE
