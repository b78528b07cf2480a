"""All attempts of one island in Slurm: what is Slurm's own about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from causeway.adapters.outside import ledger
from causeway.adapters.outside.attempts import UNSEEN_FOLDER
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.ledger import RUNNER_MS, Counts, Rules
from causeway.adapters.outside.showing import status_of
from causeway.adapters.runner.desk import FOLDER
from causeway.adapters.runner.ends import Key
from causeway.adapters.slurm import orders, reasons
from causeway.adapters.slurm.attempts import (
    Attempt,
    Submission,
    judge,
    taken_away,
    unseen,
    waiting,
)
from causeway.adapters.slurm.doomed import Doomed, tag_of
from causeway.adapters.slurm.values import FINAL, Accounted, JobRow, JobState
from causeway.model.protocol import Phase
from causeway.ports import Clock
from causeway.ports.engine import Status

ACCOUNTS_MS = 10_000
"""How long an end waits for what the accounting says of it."""
OUTPUT_BYTES = 2_048
LINES = 3
WORDS_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What Slurm has of ours."""

    rows: tuple[JobRow, ...]
    accounted: tuple[Accounted, ...] = ()


RULES = Rules(attempt=Attempt, judge=judge, waiting=waiting, taken_away=taken_away)


class Ledger(ledger.Ledger[Attempt, JobRow]):
    """The attempts."""

    engine = "Slurm"

    def __init__(self, *, kept: Kept[Submission], mark: str, clock: Clock) -> None:
        self.doomed = Doomed()
        super().__init__(rules=RULES, kept=kept, doomed=self.doomed, clock=clock)
        self.accounting = False
        """Whether the cluster keeps accounts; then they are the truth about usage."""
        self._mark = mark

    def stray_phase(self, stray: JobRow) -> str:
        return Phase.STARTING if stray.state is JobState.PENDING else Phase.RUNNING

    # -- ending ---------------------------------------------------------------------------------

    def end_stray(self, stray: JobRow) -> None:
        self.doomed.condemn(stray.id, tag_of(stray), at_ms=self.now())

    def condemn(self, at: Attempt, *, at_ms: int) -> None:
        if at.told.number:
            self.doomed.condemn(at.told.number, at.told.tag, at_ms=at_ms)

    def bury(self, at: Attempt, *, forgotten: bool) -> None:
        self.doomed.bury(at.told.tag)
        natural = at.outcome is not None and at.outcome.phase == Phase.SUCCEEDED
        if not natural and not at.final:
            self.condemn(at, at_ms=self.now() + (RUNNER_MS if at.begun else 0))

    # -- what Slurm says ------------------------------------------------------------------------

    def hear(self, seen: Seen, *, asked_ms: int) -> None:
        """Take an answer in that was asked for at `asked_ms`."""
        by_tag = {at.told.tag: at for at in self.attempts.values()}
        found: set[str] = set()
        strays: dict[Key, JobRow] = {}
        for row in seen.rows:
            mark = orders.parse_mark(row.comment)
            if mark is None or mark.island != self._mark:
                continue
            at = by_tag.get(mark.tag)
            if at is not None:
                found.add(mark.tag)
                self._seen(at, row, asked_ms)
            elif row.state not in FINAL:
                key = (mark.job, mark.fence)
                if self.doomed.is_over(mark.tag) or key in self.attempts:
                    self.doomed.condemn(row.id, mark.tag, at_ms=self.now())
                elif row.id not in self.doomed:
                    strays[key] = row
        self.show_strays(strays)
        self.doomed.hear({row.id: row for row in seen.rows})
        self._account({one.id: one for one in seen.accounted})
        for at in list(self.attempts.values()):
            if at.told.tag not in found:
                self.not_seen(at, asked_ms)

    def _account(self, known: Mapping[int, Accounted]) -> None:
        for at in self.attempts.values():
            at.accounted = known.get(at.told.number, at.accounted)

    def _seen(self, at: Attempt, row: JobRow, asked_ms: int) -> None:
        if not at.told.number and not at.submitting:
            self.make_sure(at, replace(at.told, number=row.id, taken=True))
        news = at.row != row
        at.row, at.row_ms, at.missing = row, asked_ms, 0
        if at.outcome is not None:
            # It arrived after all, too late to begin.
            if at.outcome.phase != Phase.SUCCEEDED and not at.final:
                self.doomed.condemn(row.id, at.told.tag, at_ms=self.now())
            return
        if not news:
            return
        at.look_ms = 0
        if row.exit_status >> 8 == UNSEEN_FOLDER and row.state is JobState.FAILED:
            self.is_unseen(unseen(row.nodes))
        never = reasons.never(row.reason) if row.state is JobState.PENDING else ""
        if never:
            self.withdraw(at, never)
        self.touch(at)

    # -- what is shown --------------------------------------------------------------------------

    def read_more(self, at: Attempt) -> None:
        """Read what the batch script itself said, where it failed."""
        if at.row is not None and at.final and at.row.exit_status and not at.output:
            at.output = _last_words(at.folder)

    def counts(self) -> Counts:
        counts = super().counts()
        return replace(counts, waiting=counts.waiting + len(self.accounts()))

    def accounts(self) -> tuple[int, ...]:
        """Return the numbers of the jobs whose accounts are waited for."""
        each = self.attempts.values()
        return tuple(at.told.number for at in each if self._wants_accounts(at))

    def is_settled(self, at: Attempt) -> bool:
        return at.outcome is not None and at.published

    def _wants_accounts(self, at: Attempt) -> bool:
        """Say whether an end is held back until the accounting has it."""
        if not self.accounting or at.outcome is None or not at.started_ms or not at.told.number:
            return False
        known = at.accounted is not None and at.accounted.over
        return not known and self.now() - at.over_ms < ACCOUNTS_MS

    def status(self, at: Attempt) -> Status:
        outcome = None if self._wants_accounts(at) else at.outcome
        at.published = outcome is not None
        accounted_ms = at.accounted.cpu_ms if at.accounted is not None else 0
        return status_of(
            at,
            outcome,
            waiting="" if at.started_ms else waiting(at),
            isolation=self.isolation,
            cpu_ms=accounted_ms if outcome is not None and accounted_ms else at.cpu_ms,
        )


def _last_words(folder: Path) -> str:
    """Return the end of what the batch script itself said; nothing when there is none."""
    try:
        data = (folder / FOLDER / "slurm.out").read_bytes()[-OUTPUT_BYTES:]
    except OSError:
        return ""
    lines: Sequence[str] = data.decode("utf-8", "replace").strip().splitlines()
    return " ".join(lines[-LINES:])[-WORDS_MAX:]
