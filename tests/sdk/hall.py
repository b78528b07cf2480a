"""A meeting place within one process: the centre's own rules, with threads for members."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from causeway.control.exchange import Gift, Meeting, OuterState, Standing
from causeway.model.errors import Conflict
from causeway.sdk.wide import meeting

PATIENCE_S = 60.0
"""A test that waits longer than this has failed; on a busy machine a step may take seconds."""


@dataclass(slots=True)
class Hall:
    """Where they meet. `fences` says whose attempt is the current one; 0: nobody's."""

    fences: dict[int, int]
    rules: Meeting = field(default_factory=Meeting)
    blobs: dict[int, bytes] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def settle(self) -> None:
        """Draw the consequences; called with the lock held."""
        self.rules.settle(self.fences, round(time.monotonic() * 1000))
        self.changed.notify_all()

    def lose(self, member: int) -> None:
        """A member's island is gone."""
        with self.changed:
            self.fences[member] = 0
            self.settle()

    def forget(self) -> None:
        """The control plane was restarted."""
        with self.changed:
            self.rules = Meeting()
            self.settle()

    def keep(self, data: bytes) -> int:
        number = len(self.blobs) + 1
        self.blobs[number] = data
        return number


@dataclass(slots=True)
class Seat:
    """One member's way to the hall; a `meeting.Meeting`."""

    hall: Hall
    member: int
    fence: int = 1
    states: int = 0
    """How often a state was taken."""

    def join(self, have: int, digest: str) -> meeting.Entry:
        hall = self.hall
        with hall.changed:
            hall.rules.join(self.member, fence=self.fence, have=have, digest=digest)
            hall.settle()
            assert hall.changed.wait_for(self._can_go_on, PATIENCE_S)
            seen = self._standing()
            if seen.ready:
                return meeting.Entry(round=seen.round, give_state=seen.give_state)
            assert seen.state is not None
            self.states += 1
            return meeting.Entry(round=seen.round, state=hall.blobs[seen.state.blob])

    def _standing(self) -> Standing:
        return self.hall.rules.standing(self.member, self.fence)

    def _can_go_on(self) -> bool:
        self.hall.settle()
        seen = self._standing()
        return seen.ready or seen.state is not None

    def give(self, round_: int, data: bytes, *, steps: int, digest: str, wait_s: float) -> bool:
        hall = self.hall
        with hall.changed:
            try:
                again = hall.rules.refuse(
                    self.member, fence=self.fence, round_=round_, digest=digest
                )
            except Conflict as error:
                if error.where == "query.round":
                    return False
                raise
            if not again:
                gift = Gift(member=self.member, steps=steps, bytes=len(data), blob=hall.keep(data))
                now_ms = round(time.monotonic() * 1000)
                hall.rules.give(gift, now_ms=now_ms, wait_ms=round(wait_s * 1000))
            hall.settle()
            return True

    def result(self, round_: int) -> meeting.Outcome:
        hall = self.hall
        until = time.monotonic() + PATIENCE_S
        with hall.changed:
            while (closed := hall.rules.result(round_)) is None:
                assert time.monotonic() < until
                hall.changed.wait(0.01)
                hall.settle()
            gifts = tuple(
                meeting.Gift(member=g.member, steps=g.steps, data=hall.blobs[g.blob])
                for g in closed.gifts
            )
            wanted = hall.rules.wants_state_of(self.member)
            return meeting.Outcome(gifts=gifts, open=hall.rules.round, give_state=wanted)

    def give_state(self, round_: int, data: bytes, digest: str) -> None:
        hall = self.hall
        with hall.changed:
            made = OuterState(round=round_, bytes=len(data), blob=hall.keep(data))
            hall.rules.give_state(made, digest=digest)
            hall.settle()
