"""The control plane's core: commands and time in, one durable transaction out.

Commands are functions of an overlay (`Tx`). `run` applies a group of them, writes one batch, and
only then answers: nothing is acknowledged that is not durable. A command that raises leaves no
trace. When the store refuses or cannot say whether it wrote, the state in memory is thrown away and
loaded again, and every command of the group is answered with `Unavailable`; commands are
idempotent, so the caller repeats them.

This class is synchronous and reads time and chance from its ports only. The service runs it in a
thread; the simulation runs it under a virtual clock with a store that fails on purpose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from causeway import schedule
from causeway.control import rounds
from causeway.control.settings import Settings
from causeway.control.state import State, Tx, merge
from causeway.model.errors import CausewayError, InvalidInput, Unavailable
from causeway.model.fleet import Plan
from causeway.model.islands import IslandState
from causeway.model.values import replace
from causeway.ports import Chance, Clock
from causeway.ports.store import Batch, Store

T = TypeVar("T")
Command = Callable[[Tx], T]
STEP_MS = 20
"""A wall clock that moved by more than this against the monotonic one was set, and did not run."""
LINE_SEEN = 32
LINE_SEEN_MIN = 4
LINES_SEEN = 512
LINE_SEEN_MAX = 2_048
"""Equal waiting jobs that a round looks at: few, fewer where there are many lines, and more after a
round that placed them all. Now and then a round looks at every job, so that each says why it
waits."""
WHOLE_REST = 20
"""Such a round is followed by that many times its length before the next one."""


class Outcome(Generic[T]):
    """A command's result, or the error that it is answered with."""

    __slots__ = ("error", "value")

    def __init__(self, value: T | None, error: Exception | None) -> None:
        self.value = value
        self.error = error

    def get(self) -> T:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class Plane:
    """One control plane's core. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        chance: Chance,
        *,
        settings: Settings,
        verdicts: rounds.Verdicts,
        matches: rounds.Matches,
    ) -> None:
        self.store = store
        self.clock = clock
        self.chance = chance
        self.settings = settings
        self.verdicts = verdicts
        self.matches = matches
        self.state = State()
        self.epoch: int | None = None
        self.commits = 0
        self.rounds = 0
        self._ahead_ms = 0
        """Wall clock minus monotonic clock, when it was last looked at."""
        self._verified_ms = 0
        self._round_due_ms = 0
        self._next_retry_ms = 0
        self._whole_due_ms = 0
        self._line_times = 1
        self._pause_ms = 0

    @property
    def leading(self) -> bool:
        """Whether this plane may write."""
        return self.epoch is not None

    def lead(self) -> bool:
        """Try to become the leader and load the state; say whether it worked."""
        if self.epoch is not None:
            return True
        epoch = self.store.lead()
        if epoch is None:
            return False
        self._verified_ms = self.clock.monotonic_ms()
        self._load()
        self.epoch = epoch
        return True

    def now_ms(self) -> int:
        """Return the wall clock, having moved every lease along if somebody set it.

        Leases are spans of time: an administrator who sets the clock forwards must not end them
        while their attempts still run.
        """
        wall_ms = self.clock.now_ms()
        ahead_ms = wall_ms - self.clock.monotonic_ms()
        step_ms = ahead_ms - self._ahead_ms
        if abs(step_ms) > STEP_MS:
            self._ahead_ms = ahead_ms
            self.state.shift_leases(step_ms)
        return wall_ms

    def entropy(self) -> int:
        """Return 80 random bits."""
        return self.chance.bits(80)

    def run(self, commands: Sequence[Command[Any]]) -> list[Outcome[Any]]:
        """Apply a group of commands in order and make them durable together."""
        if not self._still_leads():
            error = Unavailable("this control plane is not the leader", hint="try the other one")
            return [Outcome(None, error) for _ in commands]
        batch: Batch | None = None
        next_event = self.state.next_event
        outcomes: list[Outcome[Any]] = []
        after: list[Callable[[State], None]] = []
        undo: list[Callable[[], None]] = []
        now_ms = self.now_ms()
        for command in commands:
            tx = Tx(self.state, now_ms, self.store.artifact, self.store.job, next_event)
            try:
                value = command(tx)
            except Exception as error:
                for take_back in reversed(tx.undo):
                    take_back()
                # Its overlay is dropped whole, so even a defect in one command hurts nobody else;
                # the door reports anything that is not a `CausewayError` as a defect.
                outcomes.append(Outcome(None, error))
                continue
            outcomes.append(Outcome(value, None))
            if tx:
                if batch is None:
                    batch = Batch()
                next_event = merge(batch, tx, next_event)
                self.state.absorb(tx)
            after.extend(tx.after)
            undo.extend(tx.undo)
        failure = None if batch is None else self._commit(batch, next_event)
        if isinstance(failure, InvalidInput):
            # Nothing was written, for something in the batch can never be. Each command on its own
            # shows whose it was, and nobody else pays for it. After any other failure the batch may
            # have been written, so nothing is taken back: an island's older sync, still on its way,
            # must not be believed after one that made an attempt known.
            for take_back in reversed(undo):
                take_back()
            if len(commands) > 1:
                return [outcome for command in commands for outcome in self.run([command])]
        if failure is not None:
            return [o if o.error else Outcome(None, failure) for o in outcomes]
        for act in after:
            act(self.state)
        return outcomes

    def _still_leads(self) -> bool:
        """Say whether this plane leads, asking the store at least once a tick.

        A renewed lease is written nowhere, so a leader that was replaced without noticing could
        go on renewing leases that its successor lets run out. It may do so for one tick at most,
        and a successor adds that tick to every lease that it takes over (`_load`).
        """
        now_ms = self.clock.monotonic_ms()
        if self.epoch is not None and now_ms - self._verified_ms >= self.settings.tick_ms:
            if not self.store.leading():
                self.epoch = None
            self._verified_ms = now_ms
        return self.epoch is not None

    def tick(self) -> None:
        """Do what time alone asks for: expire leases, then schedule when something may change."""
        if not self._still_leads():
            return
        due: list[Command[Any]] = [lambda tx: rounds.expire(tx, self.settings)]
        if self.state.rentals:
            due.append(rounds.end_terms)
        for outcome in self.run(due):
            outcome.get()
        now_ms = self.clock.monotonic_ms()
        if self.state.queue and now_ms >= self._next_retry_ms:
            self.state.dirty = True
            self._next_retry_ms = now_ms + self.settings.retry_round_ms
        self.schedule()

    def rest_ms(self) -> int:
        """Return how long nothing is due: until the next tick, or until a round that waits for its
        turn may begin."""
        if not self.state.dirty or not self.state.queue:
            return self.settings.tick_ms
        due_ms = self._round_due_ms - self.clock.monotonic_ms()
        return min(max(due_ms, 1), self.settings.tick_ms)

    def schedule(self) -> Plan | None:
        """Run a scheduling round if one is due. Rounds that look at jobs in vain take at most a
        third of the time, so that a long queue never starves commands; one that places what it
        looks at is followed by the next as soon as the commands that came meanwhile are done."""
        started_ms = self.clock.monotonic_ms()
        if not self.state.dirty or not self.state.queue or started_ms < self._round_due_ms:
            return None
        self.state.dirty = False
        of_a_line = None if started_ms >= self._whole_due_ms else self._of_a_line()
        picture = rounds.snapshot(
            self.state,
            self.verdicts,
            self.now_ms(),
            lease_ms=self.settings.lease_ms,
            of_a_line=of_a_line,
        )
        if of_a_line is None and self.settings.protected_share_percent:
            # Who is owed how much is known only where all that wait are seen.
            share = self.settings.protected_share_percent / 100
            picture = replace(picture, protected_share=share)
        (outcome,) = self.run([lambda tx: rounds.round_(tx, picture, self.matches, self.settings)])
        took_ms = self.clock.monotonic_ms() - started_ms
        self._round_due_ms = started_ms + 3 * took_ms
        plan: Plan = outcome.get()
        if of_a_line is None:
            rest_ms = max(self.settings.retry_round_ms, WHOLE_REST * took_ms)
            self._whole_due_ms = started_ms + rest_ms
            # It is rare, so only the usual pause follows it.
        else:
            in_vain = 1 - len(plan.places) / max(1, len(picture.waiting))
            self._pause_ms = round(2 * took_ms * in_vain)
        self._round_due_ms = started_ms + took_ms + self._pause_ms
        self.rounds += 1
        # Placing changes capacity, which marks the state dirty, but this round has seen it already,
        # unless it came to the end of what it saw of a line.
        came_to_end = of_a_line is not None and self._came_to_end(plan, of_a_line)
        self._line_times = min(4 * self._line_times, LINE_SEEN_MAX) if came_to_end else 1
        if not plan.preempts and not came_to_end:
            self.state.dirty = False
        return plan

    def _of_a_line(self) -> int:
        """Return how many jobs of one line the next round looks at."""
        few = LINES_SEEN // max(1, len(self.state.lines))
        return min(self._line_times * min(LINE_SEEN, max(LINE_SEEN_MIN, few)), LINE_SEEN_MAX)

    def _came_to_end(self, plan: Plan, of_a_line: int) -> bool:
        """Say whether a round may have placed all that it saw of a line."""
        if len(plan.places) < of_a_line:
            return False
        placed = (self.state.jobs[place.job] for place in plan.places)
        lines = Counter(schedule.line_of(job.tenant, job.spec) for job in placed)
        return max(lines.values()) >= of_a_line

    def _commit(self, batch: Batch, next_event: int) -> CausewayError | None:
        assert self.epoch is not None
        try:
            self.store.commit(self.epoch, batch)
        except InvalidInput as error:
            self._recover()
            return error
        except CausewayError as error:
            self._recover()
            return Unavailable(
                f"the store did not confirm the write: {error.message}",
                hint="repeat the request with the same idempotency key",
            )
        self.commits += 1
        self.state.next_event = next_event
        return None

    def _recover(self) -> None:
        """Throw the image away; the store's is the truth. Step down when it cannot be read."""
        self.epoch = None
        try:
            self.lead_again()
        except CausewayError:
            self.epoch = None

    def lead_again(self) -> None:
        """Load the state under a new epoch, keeping the agents' sessions, which are memory only."""
        old = self.state
        if self.lead():
            self.state.sessions = old.sessions
            self.state.session_of = old.session_of
            self.state.nonces = old.nonces
            # An agent may know a version from before; what it is told next must differ from it.
            for island in self.state.islands:
                self.state.news[island] = old.news.get(island, 0) + 1
                self.state.touched.add(island)

    def _load(self) -> None:
        image = self.store.load()
        state = State.of(image, finished_kept=self.settings.finished_jobs_kept)
        now_ms = self.clock.now_ms()
        self._ahead_ms = now_ms - self.clock.monotonic_ms()
        # A lease granted just before this moment may still be running, and a predecessor that has
        # not noticed yet may grant one for another tick: count each from then.
        for island_id, island in image.islands.items():
            if island.state in (IslandState.LOST, IslandState.LEFT):
                continue
            until_ms = now_ms + self.settings.lease_ms + self.settings.tick_ms
            state.islands[island_id] = replace(island, heard_ms=now_ms, lease_until_ms=until_ms)
        # The counters go on, so that who waits for news never takes an old one for the present;
        # islands that this plane never served (it followed, or has just started) begin theirs.
        for island_id, count in self.state.news.items():
            state.news[island_id] = state.news.get(island_id, 0) + count
        self._find_met_needs(state)
        self.state = state

    def _find_met_needs(self, state: State) -> None:
        """Refuse to start from an image in which a job waits for one that has ended: the end and
        the waking of those who wait are one transaction."""
        for needed in state.dependants:
            if needed not in state.jobs:
                job = self.store.job(needed)
                ended = "is missing" if job is None else f"is {job.state.value}"
                raise Unavailable(
                    f"the store is inconsistent: a job waits for {needed}, which {ended}"
                )
