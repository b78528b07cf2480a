"""Where the members of a job over several islands meet: rounds that close, and who takes part.

Deterministic and in memory: no clock, no wire, no bytes. What members bring is known here by number
and size; the door keeps the bytes (`api/exchange.py`), and nothing is understood of them.

    seat      a member's live attempt that has joined; it is *ready* once it holds the state that
              the open round starts from, or can work it out from rounds that are still kept
    gift      what a ready member gives to the open round, once
    round     closes when every ready member has given, or a set time after the first gift; from
              then on it never changes, so all who read it compute the same next state
    founding  with no ready member there is no state to go on from: once all members that are not
              over have joined, or waited long enough for those that have not, the one that has
              most rounds behind it founds, and the others take its state

A seat lasts as long as its attempt is the current one: the round does not wait for a member whose
lease has run out. All of it may be lost at any moment: members join again with the number of rounds
that they have behind them, and go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from causeway.model.errors import Conflict, InvalidInput, NotFound

KEPT = 4
"""Closed rounds that members which are late, or come back, can still read."""
GRACE_MS = 20_000
"""How long a founding waits for members that are not over and have not joined."""
WAIT_MS_MAX = 3_600_000
LATE, DIFFERS = "query.round", "query.digest"
"""`where` of the conflicts that a member answers by reading the round, or by joining anew."""


@dataclass(slots=True, kw_only=True)
class Seat:
    """A member's attempt that has joined."""

    fence: int
    have: int
    """Rounds that its state has behind it; -1: it has no state to go by."""
    digest: str
    """Of that state."""
    ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gift:
    """What one member gave to one round."""

    member: int
    steps: int
    """Local steps that are in it: its weight."""
    bytes: int
    blob: int
    """The number by which the door knows the bytes."""
    name: str = ""
    """What its member calls it: who still has it need not fetch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A round that is over; `gifts` in the order of the members."""

    number: int
    gifts: tuple[Gift, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterState:
    """The state that a round starts from, for those who have none or an old one."""

    round: int
    bytes: int
    blob: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a member stands."""

    round: int
    """The round that is open; -1 before the founding."""
    ready: bool
    state: OuterState | None
    """What it has to take to become ready, once it is here."""
    give_state: bool
    """Whether it is asked to give the state that it has now."""


@dataclass(slots=True)
class Meeting:
    """One group's meeting. Every call that may change it is followed by `settle`."""

    round: int = -1
    seats: dict[int, Seat] = field(default_factory=dict)
    gifts: dict[int, Gift] = field(default_factory=dict)
    """What the open round was given, by member."""
    closes_ms: int | None = None
    closed: deque[Closed] = field(default_factory=deque)
    digests: dict[int, str] = field(default_factory=dict)
    """Round -> digest of the state that it starts from, as far as anybody has said it."""
    state: OuterState | None = None
    since_ms: int | None = None
    """Since when members wait for a founding."""
    dropped: list[int] = field(default_factory=list)
    """Blobs that nobody will ask for any more; the door takes them from here."""

    def join(self, member: int, *, fence: int, have: int, digest: str) -> None:
        """Seat an attempt, or seat it anew: what it knew before is forgotten."""
        self.seats[member] = Seat(fence=fence, have=have, digest=digest)

    def settle(self, unfinished: Mapping[int, int], now_ms: int) -> None:
        """Draw the consequences. `unfinished`: member that is not over -> fence of its current
        attempt, 0 without one."""
        for member, seat in list(self.seats.items()):
            if unfinished.get(member) != seat.fence:
                del self.seats[member]
        if not self._ready():
            self._found(unfinished, now_ms)
        for seat in self.seats.values():
            seat.ready = seat.ready or self._can_follow(seat)
        ready = self._ready()
        if self.gifts and (
            all(member in self.gifts for member in ready) or now_ms >= (self.closes_ms or 0)
        ):
            self._close()
        if self.state is not None and all(seat.ready for seat in self.seats.values()):
            self._drop_state()

    def standing(self, member: int, fence: int) -> Standing:
        """Say how a seated member stands."""
        seat = self._seat(member, fence)
        return Standing(
            round=self.round,
            ready=seat.ready,
            state=None if seat.ready else self.state,
            give_state=self.wants_state_of(member),
        )

    def wants_state_of(self, member: int) -> bool:
        """Say whether this member should give its state: the first of those that have one."""
        waiting = any(not seat.ready for seat in self.seats.values())
        return waiting and self.state is None and member == min(self._ready(), default=-1)

    def refuse(self, member: int, *, fence: int, round_: int, digest: str) -> bool:
        """Raise why a gift of this member to this round would not be taken; say whether it was
        given already."""
        seat = self._seat(member, fence)
        if not seat.ready:
            raise NotFound("this member has not taken the state yet", hint="join, and take it")
        if round_ < self.round:
            raise Conflict(f"round {round_} is closed; {self.round} is open", where=LATE)
        if round_ > self.round:
            raise InvalidInput(f"round {round_} is not open yet; {self.round} is", where=LATE)
        if self.digests.setdefault(round_, digest) != digest:
            raise Conflict(
                f"round {round_} starts from another state than this member's",
                where=DIFFERS,
                hint="join again and take the state",
            )
        return member in self.gifts

    def give(self, gift: Gift, *, now_ms: int, wait_ms: int) -> None:
        """Take a gift that `refuse` let through."""
        if not self.gifts:
            self.closes_ms = now_ms + min(wait_ms, WAIT_MS_MAX)
        self.gifts[gift.member] = gift

    def result(self, round_: int) -> Closed | None:
        """Return a closed round, or None while it is open. `NotFound` when it is not kept."""
        if round_ == self.round:
            return None
        for closed in self.closed:
            if closed.number == round_:
                return closed
        raise NotFound(f"round {round_} is not known here (any more)", hint="join again")

    def give_state(self, state: OuterState, *, digest: str) -> None:
        """Take the state that a round starts from; one that nobody can follow from is refused."""
        if not self.round - len(self.closed) <= state.round <= self.round:
            raise Conflict(f"a state before round {state.round} helps nobody", where=LATE)
        if self.digests.setdefault(state.round, digest) != digest:
            raise Conflict(
                f"round {state.round} starts from another state than this one", where=DIFFERS
            )
        self._drop_state()
        self.state = state

    def _seat(self, member: int, fence: int) -> Seat:
        seat = self.seats.get(member)
        if seat is None or seat.fence != fence:
            raise NotFound("this attempt has not joined", hint="join first")
        return seat

    def _ready(self) -> list[int]:
        return [member for member, seat in self.seats.items() if seat.ready]

    def _can_follow(self, seat: Seat) -> bool:
        """Say whether rounds that are kept lead from a seat's state to the open one."""
        return seat.have in self.digests and self.digests[seat.have] == seat.digest

    def _found(self, unfinished: Mapping[int, int], now_ms: int) -> None:
        if not self.seats:
            self.since_ms = None
            return
        if self.since_ms is None:
            self.since_ms = now_ms
        if unfinished.keys() - self.seats.keys() and now_ms < self.since_ms + GRACE_MS:
            return
        most = max(seat.have for seat in self.seats.values())
        founder = min(member for member, seat in self.seats.items() if seat.have == most)
        self.since_ms = None
        self.dropped += [gift.blob for gift in self.gifts.values()]
        self.dropped += [gift.blob for closed in self.closed for gift in closed.gifts]
        self._drop_state()
        self.round, self.closes_ms = max(most, 0), None
        self.gifts, self.closed = {}, deque()
        self.digests = {self.round: self.seats[founder].digest}
        self.seats[founder].ready = True

    def _close(self) -> None:
        gifts = tuple(self.gifts[member] for member in sorted(self.gifts))
        self.closed.append(Closed(number=self.round, gifts=gifts))
        self.round += 1
        self.gifts, self.closes_ms = {}, None
        while len(self.closed) > KEPT:
            old = self.closed.popleft()
            self.dropped += [gift.blob for gift in old.gifts]
            self.digests.pop(old.number, None)
        if self.state is not None and self.state.round < self.closed[0].number:
            self._drop_state()

    def _drop_state(self) -> None:
        if self.state is not None:
            self.dropped.append(self.state.blob)
            self.state = None
