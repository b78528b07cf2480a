"""The outer optimiser of one member: when a round begins, what is given, and what comes of it.

A round that closed without this member's gift costs it nothing but time: its progress stays in its
parameters, on top of the new start, and so is in what it gives next. The same holds for a member
that lost the meeting for a while, as long as the rounds that it missed are still kept; after that
it takes the newest state, and what it did since its own last round is lost.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from causeway.model.errors import Conflict, InvalidInput, NotFound
from causeway.sdk.states import Stateful
from causeway.sdk.wide.codec import Codec, Vector, decode
from causeway.sdk.wide.island import Island
from causeway.sdk.wide.meeting import Entry, Meeting, Outcome, of_this_process
from causeway.sdk.wide.state import Nesterov, OuterState

JOINS_MAX = 100
"""Times in a row that a member joins without getting anywhere."""
_OURS = -1
"""Key of the outer state among the optimizer's, which are numbered from 0."""
_NESTEROV, _INT8 = Nesterov(), Codec()


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What the last round was like."""

    number: int
    members: int
    """Of how many islands the progress was averaged."""
    included: bool
    """Whether this one's was among them; else it goes with the next round."""
    sent_bytes: int
    received_bytes: int
    waited_s: float
    """How long training stood still for it."""


@dataclass(slots=True, kw_only=True)
class _Pending:
    """A round that this member has given to and whose result has not been applied."""

    taken: Vector
    """Parameters at the moment of giving."""
    left: Vector
    """What rounding left over, if the gift counts."""
    steps: int
    data: bytes
    thread: threading.Thread | None = None
    included: bool = False
    outcomes: list[Outcome] | None = None
    failure: Exception | None = None


class Outer:
    """The outer optimiser of one member."""

    def __init__(
        self,
        model: Any,
        optimizer: Stateful | None = None,
        *,
        every: int = 50,
        settings: Nesterov = _NESTEROV,
        codec: Codec = _INT8,
        delay: int = 0,
        wait_s: float = 60.0,
        meeting: Meeting | None = None,
    ) -> None:
        """`every` local steps make a round. With `delay`, training goes on for so many steps while
        the round is exchanged. A round waits `wait_s` after its first gift for the others."""
        if every < 1 or not 0 <= delay < every:
            raise InvalidInput("a round has at least 1 local step, and less of a delay than steps")
        self.every, self.delay, self.wait_s = every, delay, wait_s
        self.settings, self.codec = settings, codec
        self.steps = 0
        """Local steps that the parameters have behind them, this member's own or, of rounds that
        went on without it, the others'."""
        self.last: Round | None = None
        self.waited_s = 0.0
        """How long training stood still for rounds so far."""
        self._inner = optimizer
        self._island = Island(model)
        self._meeting: Meeting = meeting or of_this_process()
        # Only the rank that speaks for the island needs to hold it.
        held = self._island.read() if self._island.first else np.zeros(0, np.float32)
        self._state = OuterState.of(held)
        self._left = np.zeros_like(held)
        self._local = 0
        """Local steps that no round has in it yet."""
        self._due = 0
        """Local steps since the last time that it gave."""
        self._joined = False
        self._pending: _Pending | None = None

    @property
    def rounds(self) -> int:
        """Rounds that the state has behind it."""
        return self._state.rounds

    def join(self) -> None:
        """Take part. Returns with the newest state, which may be further than this member was."""
        if self._island.first:
            self._enter()
        self._agree()
        self._joined = True

    def step(self) -> None:
        """Call it after each step of the inner optimiser."""
        if not self._joined:
            self.join()
        self.steps += 1
        self._local += 1
        self._due += 1
        if self._pending is None and self._due >= self.every:
            self._begin()
        if self._pending is not None and self._due >= self.delay:
            self._end()

    def finish(self) -> None:
        """End with a round that has all local steps in it, so that members end alike."""
        if self._pending is not None:
            self._end()
        if self._local:
            self._begin()
            self._end()

    # -- checkpoints: an `Outer` is saved and loaded in the place of the optimizer ---------------

    def state_dict(self) -> dict[str, Any]:
        """Return the inner optimiser's state and the outer one, for `Checkpointer.save`."""
        torch = self._island.torch
        inner = self._inner.state_dict() if self._inner else {"state": {}, "param_groups": []}
        mine = {
            "start": torch.from_numpy(self._state.start),
            "momentum": torch.from_numpy(self._state.momentum),
            "rounds": self._state.rounds,
            "steps": self.steps,
            "local": self._local + (self._pending.steps if self._pending else 0),
        }
        return {**inner, "state": {**inner["state"], _OURS: mine}}

    def load_state_dict(self, given: Any) -> None:
        """Take a state that `state_dict` gave."""
        entries = dict(given["state"])
        mine = entries.pop(_OURS, None)
        if mine is None:
            raise InvalidInput(
                "the checkpoint holds no outer state", hint="it was saved without an `Outer`"
            )
        if self._inner is not None:
            self._inner.load_state_dict({**given, "state": entries})
        self.steps, self._local = int(mine["steps"]), int(mine["local"])
        self._due = self._local % self.every
        self._state.rounds, self._joined = int(mine["rounds"]), False
        if self._island.first:
            if mine["start"].numel() != self._state.start.size:
                raise InvalidInput("the checkpoint's outer state is of another model")
            self._state.start = mine["start"].numpy().copy()
            self._state.momentum = mine["momentum"].numpy().copy()
            self._left[:] = 0

    # -- joining ---------------------------------------------------------------------------------

    def _enter(self, *, afresh: bool = False) -> None:
        """Join until there is a state to go on from, and catch up with the rounds that are kept."""
        for _ in range(JOINS_MAX):
            try:
                entry = self._meeting.join(-1 if afresh else self.rounds, self._state.digest())
                afresh = False
                if self._entered(entry):
                    return
            except NotFound:
                # Forgotten meanwhile, or what it missed is not kept any more: it joins anew.
                continue
        raise Conflict("this member joins again and again, and gets nowhere")

    def _entered(self, entry: Entry) -> bool:
        """Go on from how this member stands; False: it took a state, and has to say so."""
        if entry.state is not None:
            self.steps = self._state.take(entry.state)
            self._left[:] = 0
            self._local, self._due = 0, 0
            self._island.write(self._state.start)
            return False
        if entry.give_state:
            self._give_state()
        if self.rounds < entry.round:
            self._apply(self._missed(self.rounds), None)
        return True

    def _missed(self, round_: int) -> list[Outcome]:
        """Return the result of a round, once it is closed, and of those after it that are too."""
        found = [self._meeting.result(round_)]
        while round_ + len(found) < found[-1].open:
            found.append(self._meeting.result(round_ + len(found)))
        return found

    def _give_state(self) -> None:
        packed = self._state.packed(self.steps)
        self._meeting.give_state(self.rounds, packed, self._state.digest())

    # -- a round ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Give this member's progress; with a delay, in a thread."""
        steps, self._local, self._due = self._local, 0, 0
        if not self._island.first:
            nothing = self._left[:0]
            self._pending = _Pending(taken=nothing, left=nothing, steps=steps, data=b"")
            return
        taken = self._island.read()
        progress = self._state.start - taken
        progress += self._left
        data = self.codec.encode(progress)
        left = progress - decode(data, progress.size)
        pending = self._pending = _Pending(taken=taken, left=left, steps=steps, data=data)
        if self.delay:
            pending.thread = threading.Thread(
                target=self._exchange, args=(pending,), name="outer", daemon=True
            )
            pending.thread.start()

    def _exchange(self, pending: _Pending) -> None:
        """Bring the gift and fetch what the round was given."""
        try:
            pending.included = self._meeting.give(
                self.rounds,
                pending.data,
                steps=pending.steps,
                digest=self._state.digest(),
                wait_s=self.wait_s,
            )
            pending.outcomes = self._missed(self.rounds)
        except Exception as error:
            # Raised where training meets the round again.
            pending.failure = error

    def _end(self) -> None:
        """Apply the round's result; training stands still as long as it is not there."""
        pending, self._pending = self._pending, None
        assert pending is not None
        if self._island.first:
            began = time.monotonic()
            if pending.thread is None:
                self._exchange(pending)
            else:
                pending.thread.join()
            self._settle(pending, began)
        self._agree()

    def _settle(self, pending: _Pending, began: float) -> None:
        if pending.failure is not None:
            self._local += pending.steps
            self._recover(pending.failure)
            return
        outcomes = pending.outcomes or []
        first = self.rounds
        self._apply(outcomes, pending if pending.included else None)
        if not pending.included:
            self._local += pending.steps
        if outcomes[-1].give_state:
            self._give_state()
        waited_s = time.monotonic() - began
        self.waited_s += waited_s
        self.last = Round(
            number=first,
            members=len(outcomes[0].gifts),
            included=pending.included,
            sent_bytes=len(pending.data),
            received_bytes=sum(len(gift.data) for one in outcomes for gift in one.gifts),
            waited_s=waited_s,
        )

    def _recover(self, failure: Exception) -> None:
        """Join again when the meeting is not as this member knew it; else the error is raised."""
        differs = isinstance(failure, Conflict) and failure.where == "query.digest"
        if not differs and not isinstance(failure, NotFound):
            raise failure
        self._enter(afresh=differs)

    def _apply(self, outcomes: list[Outcome], mine: _Pending | None) -> None:
        """Follow rounds in order. `mine` is what this member gave to the first of them; what it has
        done besides stays on top of the new start."""
        before = self._state.start.copy() if mine is None else mine.taken
        missed = outcomes if mine is None else outcomes[1:]
        for outcome in outcomes:
            self._state.follow(outcome.gifts, self.settings)
        self.steps += sum(max(gift.steps for gift in one.gifts) for one in missed)
        now = self._island.read()
        now -= before
        number = self._meeting.member
        if any(gift.member == number for one in missed for gift in one.gifts):
            # An earlier attempt of this member gave, before it was killed, what is done here again.
            self.steps -= self._local
            self._local, self._due = 0, 0
            now[:] = 0
        now += self._state.start
        if mine is not None:
            self._left = mine.left
        self._island.write(now)

    def _agree(self) -> None:
        numbers = self._island.agree((self.steps, self._local, self._due, self.rounds))
        self.steps, self._local, self._due, self._state.rounds = numbers
