"""Candidates in, an order out: predicted seconds for each, and in a sentence why.

The prediction is `2 round trips + bytes / bandwidth`: reaching a source takes one round trip and
its first answer another, and after that the line decides. A bandwidth that was measured between the
two islands counts as it is. Where none was, it is estimated as the smaller of what each of the two
reached with the centre, since the access line is mostly the narrow place, and said to be an
estimate. What is too old is not used. A source without any figure comes last, and is still used
beside others: nothing else would ever measure it.

The centre is always there, and everybody's. So it is used from the start only where no island can
serve, or where its own line is predicted to be the faster one; otherwise it waits as the last
resort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from causeway.model.reasons import Reason, Severity, Token

CENTRE = ""
"""Name of the centre among the sources."""
SOURCES_MAX = 4
"""Islands that one fetch asks at once."""
FRESH_MS = 2 * 3_600_000
"""Older figures are not used. Transfers renew them; an idle island weighs its line every hour."""
SLOWER_SHARE = 8.0
"""A source that is predicted to take so many times the best one's time is left in peace."""
ROUND_TRIPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Who could serve, and what is known of the line to it."""

    name: str
    """Island, or `CENTRE`."""
    bandwidth_mbit_s: float = 0.0
    """0: not measured."""
    bandwidth_age_ms: int = 0
    estimated: bool = False
    """The bandwidth is that of the two lines to the centre, not of the direct one."""
    rtt_ms: float = 0.0
    """0: not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What becomes of one candidate."""

    name: str
    used: bool
    """Asked from the start; else only when those that are fail."""
    predicted_s: float
    """If it served alone; 0: not known."""
    reason: Reason


def choose(candidates: Sequence[Candidate], size_bytes: int) -> tuple[Choice, ...]:
    """Return every candidate in the order of preference; the centre last unless it is used.

    >>> near = Candidate(name="near", bandwidth_mbit_s=800.0, rtt_ms=1.0)
    >>> [choice.used for choice in choose([Candidate(name=CENTRE), near], 10**9)]
    [True, False]
    """
    timed = [(_predicted_s(c, size_bytes), c) for c in candidates]
    timed.sort(key=lambda pair: (pair[0] == 0, pair[0], pair[1].name))
    best_s = next((s for s, c in timed if s and c.name != CENTRE), 0.0)
    islands = [(s, c) for s, c in timed if c.name != CENTRE]
    centres = [(s, c) for s, c in timed if c.name == CENTRE]
    chosen = [
        _island(seconds, one, used=place < SOURCES_MAX and not _too_slow(seconds, best_s))
        for place, (seconds, one) in enumerate(islands)
    ]
    for seconds, one in centres:
        faster = bool(seconds and best_s and seconds < best_s)
        choice = _centre(seconds, one, faster=faster, alone=not islands)
        chosen.insert(0 if choice.used else len(chosen), choice)
    return tuple(chosen)


def _predicted_s(one: Candidate, size_bytes: int) -> float:
    """Return the predicted seconds; 0 where nothing is known or it is too old."""
    if one.bandwidth_mbit_s <= 0 or one.bandwidth_age_ms > FRESH_MS:
        return 0.0
    return ROUND_TRIPS * one.rtt_ms / 1000 + size_bytes * 8 / (one.bandwidth_mbit_s * 1e6)


def _too_slow(seconds: float, best_s: float) -> bool:
    return bool(seconds and best_s) and seconds > SLOWER_SHARE * best_s


def _island(seconds: float, one: Candidate, *, used: bool) -> Choice:
    words = _words(seconds, one)
    if used:
        return _choice(one, seconds, used=True, message=f"It holds the artefact; {words}.")
    return _choice(one, seconds, used=False, message=f"Others hold it nearer; {words}.")


def _centre(seconds: float, one: Candidate, *, faster: bool, alone: bool) -> Choice:
    words = _words(seconds, one)
    if alone:
        message = f"No island that may serve it holds the artefact; {words}."
    elif faster:
        message = f"The line to the centre is the faster one; {words}."
    else:
        message = f"The centre is the last resort; {words}."
    return _choice(one, seconds, used=alone or faster, message=message)


def _words(seconds: float, one: Candidate) -> str:
    if one.bandwidth_mbit_s <= 0:
        return "its bandwidth was never measured"
    age_s = one.bandwidth_age_ms / 1000
    figure = f"{one.bandwidth_mbit_s:,.1f} Mbit/s, {age_s:,.0f} s ago"
    if not seconds:
        return f"its bandwidth is too old to be used ({figure})"
    how = "estimated from the lines to the centre" if one.estimated else "measured"
    return f"{seconds:,.1f} s predicted ({how}: {figure})"


def _choice(one: Candidate, seconds: float, *, used: bool, message: str) -> Choice:
    reason = Reason(
        token=Token.CHOSEN if used else Token.OUTSCORED,
        severity=Severity.INFO,
        message=message,
        evidence={
            "predicted_s": round(seconds, 3),
            "bandwidth_mbit_s": one.bandwidth_mbit_s,
            "bandwidth_age_ms": one.bandwidth_age_ms,
            "estimated": one.estimated,
            "rtt_ms": one.rtt_ms,
        },
    )
    return Choice(name=one.name, used=used, predicted_s=seconds, reason=reason)
