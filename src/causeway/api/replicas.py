"""What islands said that they hold: the last report of each, in memory, for as long as it is fresh.

One event loop. Bounded by the number of islands, and each report by its own bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from causeway.model.errors import InvalidInput, TooLarge
from causeway.model.sharing import ContentReport

ARTIFACTS_MAX = 256
LINKS_MAX = 64
TEXT_CHARS_MAX = 300
FRESH_MS = 10 * 60_000
"""A report is renewed every minute, so an older one is of an island that has gone."""
ISLANDS_MAX = 16_384
MBIT_S_MAX = 10_000_000
AGE_MS_MAX = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One island's report."""

    session: int
    report: ContentReport
    age_ms: int
    """Since it came."""
    at_ms: int
    """Monotonic."""
    artifacts: frozenset[str]


class Replicas:
    """All reports."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    def put(self, island: str, session: int, report: ContentReport, now_ms: int) -> None:
        """Take a report in place of the last one; `InvalidInput` when it is out of bounds."""
        _check(report)
        self._held.pop(island, None)
        while len(self._held) >= ISLANDS_MAX:
            del self._held[next(iter(self._held))]
        self._held[island] = Held(
            session=session,
            report=report,
            age_ms=0,
            at_ms=now_ms,
            artifacts=frozenset(report.artifacts),
        )

    def of(self, island: str, now_ms: int) -> Held | None:
        """Return an island's report, if it is fresh."""
        held = self._held.get(island)
        if held is None or now_ms - held.at_ms > FRESH_MS:
            return None
        return replace(held, age_ms=now_ms - held.at_ms)

    def holding(self, artifact: str, now_ms: int) -> dict[str, Held]:
        """Return the islands that said they hold an artefact whole."""
        found = {
            name: self.of(name, now_ms)
            for name, one in self._held.items()
            if artifact in one.artifacts
        }
        return {name: held for name, held in found.items() if held is not None}


def _check(report: ContentReport) -> None:
    if len(report.artifacts) > ARTIFACTS_MAX:
        raise TooLarge(f"more than {ARTIFACTS_MAX} artefacts", where="$.artifacts")
    if len(report.links) > LINKS_MAX:
        raise TooLarge(f"more than {LINKS_MAX} links", where="$.links")
    for text in (report.pin, *report.artifacts, *report.links):
        if len(text) > TEXT_CHARS_MAX:
            raise InvalidInput(f"a text of at most {TEXT_CHARS_MAX} characters belongs here")
    for link in report.links.values():
        if not 0 <= link.bandwidth_mbit_s <= MBIT_S_MAX or not 0 <= link.age_ms <= AGE_MS_MAX:
            raise InvalidInput("a bandwidth in Mbit/s and its age in ms", where="$.links")
