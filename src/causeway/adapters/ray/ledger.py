"""All attempts of one island in Ray: what is Ray's own about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from causeway.adapters.outside import ledger
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.ledger import RUNNER_MS, Rules
from causeway.adapters.ray import reasons
from causeway.adapters.ray.attempts import Attempt, Submission, judge, taken_away, waiting
from causeway.adapters.ray.doomed import Doomed
from causeway.adapters.ray.values import FINAL, JobRow, JobState
from causeway.adapters.runner.ends import Key, failed
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.ports import Clock

RULES = Rules(attempt=Attempt, judge=judge, waiting=waiting, taken_away=taken_away)


class Ledger(ledger.Ledger[Attempt, JobRow]):
    """The attempts."""

    engine = "Ray"
    orphan_ms = 5_000

    def __init__(self, *, kept: Kept[Submission], mark: str, clock: Clock) -> None:
        self.doomed = Doomed()
        super().__init__(rules=RULES, kept=kept, doomed=self.doomed, clock=clock)
        self._mark = mark
        self._leaving: dict[Key, Attempt] = {}
        """Forgotten, and not seen to be over in Ray: one that waits there may yet take up its rank,
        and whatever lies in its folder then."""

    def stray_phase(self, stray: JobRow) -> str:
        return Phase.STARTING if stray.state is JobState.PENDING else Phase.RUNNING

    # -- ending ---------------------------------------------------------------------------------

    def end_stray(self, stray: JobRow) -> None:
        self.doomed.bury(stray.id)
        self.doomed.condemn(stray.id, at_ms=self.now(), delete=True)

    def condemn(self, at: Attempt, *, at_ms: int) -> None:
        if not at.final:
            self.doomed.condemn(at.told.id, at_ms=at_ms, delete=False)

    def bury(self, at: Attempt, *, forgotten: bool) -> None:
        self.doomed.bury(at.told.id)
        ended = at.outcome
        done = ended is not None and ended.phase == Phase.SUCCEEDED
        refused = ended is not None and ended.failure is FailureClass.REFUSED
        never = refused and not at.told.taken and not at.unsure
        if not forgotten and (done or never or at.final):
            return
        at_ms = self.now() + (RUNNER_MS if at.begun and not at.final else 0)
        self.doomed.condemn(at.told.id, at_ms=at_ms, delete=forgotten, final=at.final)

    def leaves(self, at: Attempt) -> None:
        if not at.final:
            self._leaving[at.key] = at

    def is_leaving(self, key: Key) -> bool:
        """Say whether an attempt that was forgotten under this key may not be over in Ray yet."""
        return key in self._leaving

    def _see_off(self, there: Mapping[str, JobRow], asked_ms: int) -> None:
        """Let go of what was forgotten and is over in Ray, or not there."""
        for key, at in list(self._leaving.items()):
            row = there.get(at.told.id)
            gone = row is None and not at.submitting and at.submitted_ms <= asked_ms
            if gone or (row is not None and row.state in FINAL):
                del self._leaving[key]

    # -- what Ray says --------------------------------------------------------------------------

    def hear(self, rows: Sequence[JobRow], *, asked_ms: int) -> None:
        """Take an answer in that was asked for at `asked_ms`."""
        by_id = {at.told.id: at for at in self.attempts.values()}
        there = {row.id: row for row in rows if row.mark.island == self._mark}
        strays: dict[Key, JobRow] = {}
        for row in there.values():
            at = by_id.get(row.id)
            key, final = (row.mark.job, row.mark.fence), row.state in FINAL
            if at is not None:
                self._seen(at, row, asked_ms)
            elif self.doomed.is_over(row.id) or final or key in self.attempts:
                self.doomed.condemn(row.id, at_ms=self.now(), delete=True, final=final)
            else:
                strays[key] = row
        self.show_strays(strays)
        self.doomed.hear(there, now_ms=self.now())
        self._see_off(there, asked_ms)
        for at in list(self.attempts.values()):
            if at.told.id not in there:
                self.not_seen(at, asked_ms)

    def _seen(self, at: Attempt, row: JobRow, asked_ms: int) -> None:
        if at.unsure and not at.submitting:
            self.make_sure(at, replace(at.told, taken=True))
        news = at.row != row
        at.row, at.row_ms, at.missing = row, asked_ms, 0
        if at.final and not at.final_ms:
            at.final_ms = self.now()
        if at.outcome is not None:
            if not at.final:
                # It arrived after all, too late to begin, or goes on after its end.
                at_ms = self.now() + (RUNNER_MS if at.begun else 0)
                self.doomed.condemn(at.told.id, at_ms=at_ms, delete=False)
            return
        if news:
            at.look_ms = 0
            if reasons.is_unseen(row):
                self.is_unseen(reasons.unseen(row.node))
            self.touch(at)

    def not_seen(self, at: Attempt, asked_ms: int) -> None:
        super().not_seen(at, asked_ms)
        lost = at.forgotten and not at.unsure and at.outcome is None
        if lost and at.desk.call_off():
            message = "Ray no longer knows the job, which had not begun"
            self.end(at, failed(FailureClass.ENGINE, message))

    def weigh(self, never: Callable[[Submission], str]) -> None:
        """Withdraw what waits for what the cluster has lost for good."""
        for at in list(self.attempts.values()):
            waits = at.outcome is None and not at.begun_ms and not at.submitting
            if waits and (why := never(at.told)):
                self.withdraw(at, why)
