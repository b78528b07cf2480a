"""What a run of the suite found, as a value, as JSON, and as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from causeway.model.errors import InvalidInput


class Outcome(StrEnum):
    """How one case went."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CLAIMED = "not claimed"
    NOT_RUN = "not run"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one case."""

    name: str
    shows: str
    outcome: Outcome
    message: str = ""
    """Why it failed, is not claimed or was not run; how it passed where there are two ways."""
    seconds: float = 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the suite on one engine."""

    engine: str
    engine_version: str
    causeway_version: str
    outlives: bool
    """Whether its attempts go on when the agent ends."""
    date: str
    """Of the run, as year-month-day."""
    many: int
    """Jobs at the same time in the cases about load."""
    seconds: float
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether no case failed."""
        return not self.of(Outcome.FAILED)

    def of(self, outcome: Outcome) -> tuple[Result, ...]:
        """Return the cases that went so."""
        return tuple(result for result in self.results if result.outcome is outcome)

    def find(self, name: str) -> Result:
        """Return the result of one case."""
        return next(result for result in self.results if result.name == name)

    def headline(self) -> str:
        """Return one line that says all.

        >>> Report(engine="e", engine_version="1.2", causeway_version="0", outlives=False,
        ...     date="2026-01-01", many=4, seconds=3.0, results=()).headline()
        'e 1.2: 0 passed, 0 failed, 0 not claimed, 0 not run, in 3 s'
        """
        counts = ", ".join(f"{len(self.of(outcome))} {outcome}" for outcome in Outcome)
        name = f"{self.engine} {self.engine_version}".strip()
        return f"{name}: {counts}, in {self.seconds:.0f} s"


def to_json(report: Report) -> bytes:
    """Return the report as it is kept beside the docs."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def from_json(path: Path) -> Report:
    """Read a kept report."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as error:
        raise InvalidInput(f"not a report: {error}", where=str(path)) from None


def rows(results: Sequence[Result]) -> list[list[str]]:
    """Return what the table on a terminal shows of each case."""
    return [
        [one.name, one.outcome.value, f"{one.seconds:.1f} s", one.message or one.shows]
        for one in results
    ]
