"""How attempts end where a runner keeps the record: the words that every such engine uses. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from causeway.adapters.runner.record import End, RankSeen
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase

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


def failed(failure: FailureClass, message: str, code: int | None = None) -> Outcome:
    """Return a bad end."""
    return Outcome(phase=Phase.FAILED, exit_code=code, failure=failure, message=message)


def own_end(ranks: Sequence[RankSeen], *, time_limit_s: float) -> Outcome | None:
    """Return what the runners themselves ended an attempt for."""
    ends = {rank.end: rank for rank in reversed(ranks) if rank.end is not None}
    if End.LEASE in ends:
        message = "its lease was not granted further, so its guard ended it"
        return failed(FailureClass.ISLAND, message, SIGNAL_BASE + int(signal.SIGKILL))
    if End.LIMIT in ends:
        message = f"it ran longer than its limit of {time_limit_s:g} s"
        return failed(FailureClass.LIMIT, message, ends[End.LIMIT].code)
    if End.START in ends:
        said = ends[End.START]
        where = f" on {said.host}" if said.host else ""
        message = f"its program could not be started{where}: {said.message}"
        return failed(FailureClass.ENGINE, message)
    return None


def program_end(ranks: Sequence[RankSeen], number: int) -> Outcome:
    """Return the end of an attempt whose program failed in that rank."""
    rank = ranks[number]
    code = rank.code or 0
    who = "setup" if rank.part == "setup" else f"rank {number}"
    return failed(FailureClass.USER, f"{who} {how(code)}", code)
