"""Runs the cases on one engine, in a throw-away root, and returns what became of them.

    the shared engine   most cases, several at the same time
    roots of their own  cases that close, kill or misguide their engine, beside them
    alone               what would disturb others, or be disturbed, one after another at the end

Two cases never share an attempt. A case that fails leaves the others as they are; an engine that
raises fails every case that waits for it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from causeway import __version__
from causeway.conformance.bench import Bench
from causeway.conformance.case import Case, Claim, Place, registered
from causeway.conformance.island import Island
from causeway.conformance.report import Outcome, Report, Result
from causeway.conformance.subject import OPENER, Settings, Subject, read
from causeway.model.errors import CausewayError, InvalidInput
from causeway.model.islands import Inventory
from causeway.model.resources import Resources

CANARY = "CONFORMANCE_CANARY"
"""A variable of the agent's own process, which no job may see."""
CANARY_VALUE = "seen-outside-of-its-cage"
Said = Callable[[Result], None]


def run_suite(
    profile: Path,
    *,
    opener: str = OPENER,
    only: Sequence[str] = (),
    root: Path | None = None,
    said: Said = lambda result: None,
) -> Report:
    """Run the suite on the engine that a profile names.

    `only` names cases, or beginnings of their names; `root` is a folder that the engine's nodes
    see too (default: below the system's folder for temporary files); `said` is told each result as
    it comes, from any thread. Raises `InvalidInput` for what is wrong with the profile.
    """
    subject = read(profile, opener=opener)
    cases = _chosen(registered(), only)
    place = Path(tempfile.mkdtemp(prefix="conformance-", dir=root)).resolve()
    try:
        # It stays where it is: several runs may share this process.
        os.environ[CANARY] = CANARY_VALUE
        return _Run(subject=subject, place=place, said=said).all(cases)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run."""

    subject: Subject
    place: Path
    said: Said
    lacks: dict[Claim, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def all(self, cases: Sequence[Case]) -> Report:
        """Run all of them."""
        began = time.monotonic()
        shared = Island(self.subject, self.place / "shared")
        try:
            inventory, outlives = shared.probe(), shared.outlives
            self.lacks = lacking(self.subject.settings, inventory)
            results = self._together([c for c in cases if c.place is not Place.ALONE], shared)
        finally:
            shared.close()
        for case in cases:
            if case.place is Place.ALONE:
                results[case.name] = self._one(case, shared)
        return Report(
            engine=inventory.engine,
            engine_version=inventory.engine_version,
            causeway_version=__version__,
            outlives=outlives,
            date=time.strftime("%Y-%m-%d", time.gmtime()),
            many=self.subject.settings.many,
            seconds=round(time.monotonic() - began, 1),
            results=tuple(results[case.name] for case in cases),
        )

    def _together(self, cases: Sequence[Case], shared: Island) -> dict[str, Result]:
        pool = ThreadPoolExecutor(max(1, self.subject.settings.at_once))
        try:
            found = pool.map(lambda case: self._one(case, shared), cases)
            return {result.name: result for result in found}
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, case: Case, shared: Island) -> Result:
        began = time.monotonic()
        outcome, message = self._unasked(case)
        if outcome is Outcome.PASSED:
            outcome, message = self._tried(case, shared)
        result = Result(
            name=case.name,
            shows=case.shows,
            outcome=outcome,
            # Whose machine it was, and where on it, is nobody's business who reads the report.
            message=message.replace(str(self.place), "ROOT"),
            seconds=round(time.monotonic() - began, 1),
        )
        with self.lock:
            self.said(result)
        return result

    def _unasked(self, case: Case) -> tuple[Outcome, str]:
        """Say whether there is a reason not to try a case."""
        for claim in case.claims:
            if claim in self.lacks:
                return Outcome.NOT_CLAIMED, self.lacks[claim]
        for hook in case.hooks:
            if not getattr(self.subject.settings, hook.value):
                return Outcome.NOT_RUN, f"the profile gives no {hook.value}"
        return Outcome.PASSED, ""

    def _tried(self, case: Case, shared: Island) -> tuple[Outcome, str]:
        scratch = self.place / case.name
        scratch.mkdir()
        bench = Bench(self.subject, shared, scratch=scratch)
        try:
            try:
                case.check(bench)
                bench.judge()
            finally:
                bench.clear()
        except CausewayError as error:
            return Outcome.FAILED, " ".join(error.message.split())
        except Exception as error:
            # The engine's own mistake or the case's: either way this case did not pass.
            return Outcome.FAILED, f"{type(error).__name__}: {error}"
        return Outcome.PASSED, bench.note


def lacking(settings: Settings, inventory: Inventory) -> dict[Claim, str]:
    """Return what is not claimed, and why: what the profile says, and what does not fit."""
    lacks = dict(settings.lacks)
    rank = Resources(cpu_milli=settings.cpu_milli, memory_bytes=settings.memory_mib * 1024**2)
    if not inventory.capacity.fits(rank, 2):
        lacks.setdefault(Claim.GANGS, "what is offered here does not hold two ranks")
    return lacks


def _chosen(cases: Mapping[str, Case], only: Sequence[str]) -> list[Case]:
    """Return the cases whose names are among `only`, or begin so where no name is just that."""
    chosen: set[str] = set()
    for word in only:
        found = [word] if word in cases else [name for name in cases if name.startswith(word)]
        if not found:
            raise InvalidInput(f"no case is called {word!r}", hint=f"one of: {', '.join(cases)}")
        chosen.update(found)
    return [case for name, case in cases.items() if not only or name in chosen]
