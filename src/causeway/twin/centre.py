"""Control planes in virtual time: the real `Plane` on a shelf that outlives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from causeway.adapters.store.memory import MemoryStore, Shelf
from causeway.control import agents, keeping
from causeway.control.plane import Command, Plane
from causeway.control.rounds import Matches, Verdicts
from causeway.control.settings import Settings
from causeway.control.state import Tx
from causeway.model.artifacts import Artifact
from causeway.model.errors import CausewayError, Conflict, IllegalMove, Unavailable
from causeway.model.jobs import JobState
from causeway.model.protocol import (
    JoinRequest,
    SessionReply,
    SessionRequest,
    SyncReply,
    SyncRequest,
)
from causeway.ports.store import Batch
from causeway.twin.loop import Loop, VirtualChance, VirtualClock
from causeway.twin.witness import Violation, Witness


@dataclass(slots=True)
class Held:
    """A sync that waits for news."""

    synced: agents.Synced
    seq: int
    known: str
    answer: Callable[[SyncReply], None]
    done: bool = False


class WatchedStore(MemoryStore):
    """A store in memory whose every transaction is witnessed.

    The leader of the current epoch has no reason to write what its store must refuse, so a refusal
    is a defect and not a fault.
    """

    def __init__(self, shelf: Shelf, witness: Witness) -> None:
        super().__init__(shelf, checks=False)
        self._witness = witness

    def commit(self, epoch: int, batch: Batch) -> None:
        """Write the batch, as the parent does."""
        legitimate = epoch == self.shelf.epoch
        if legitimate:
            self._witness.before(batch, self.shelf.ticks)
        try:
            super().commit(epoch, batch)
        except Conflict as error:
            if legitimate:
                raise Violation("no defect", f"the leader wrote twice: {error}") from error
            raise


@dataclass(slots=True)
class Doom:
    """A failure of the store that waits for a transaction in which a job is in that state."""

    state: JobState
    after: bool
    """Whether it is written and only not confirmed."""
    struck: Callable[[], None]


@dataclass(slots=True)
class Process:
    """One control plane process; `alive` turns false when it is killed."""

    plane: Plane
    store: WatchedStore
    clock: VirtualClock
    alive: bool = True
    held: dict[str, list[Held]] = field(default_factory=dict)


class Centre:
    """The control planes of one simulation. The newest is the one that messages reach, but an
    older one that was usurped goes on for a while, as a real one would."""

    def __init__(
        self,
        loop: Loop,
        witness: Witness,
        *,
        settings: Settings,
        verdicts: Verdicts,
        matches: Matches,
    ) -> None:
        self.loop = loop
        self.witness = witness
        self.settings = settings
        self.verdicts = verdicts
        self.matches = matches
        self.shelf = Shelf()
        self.processes: list[Process] = []
        self.refuse_share = 0.0
        """Share of commits that fail before writing."""
        self.forget_share = 0.0
        """Share of commits that are written but not confirmed."""
        self.doomed: list[Doom] = []
        """Faults that wait for a transaction of their kind."""
        self.offset_ms = 0
        """How wrong the wall clock of the machines here is."""
        self._lines: dict[str, Process] = {}
        self.stepped_ms = 0
        """How far it was set, in all."""
        self.checked: Callable[[Process], None] = lambda process: None
        self.starts = 0

    @property
    def now_ms(self) -> int:
        """The wall clock of the machines here."""
        return self.loop.now_ms + self.offset_ms

    @property
    def newest(self) -> Process | None:
        """The process that new connections reach; None while there is none."""
        alive = [process for process in self.processes if process.alive]
        return alive[-1] if alive else None

    def start(self) -> Process:
        """Start a control plane."""
        store = WatchedStore(self.shelf, self.witness)
        store.before_commit = self._before
        store.after_commit = self._after
        clock = VirtualClock(self.loop, offset_ms=self.offset_ms)
        plane = Plane(
            store,
            clock,
            VirtualChance(self.loop),
            settings=self.settings,
            verdicts=self.verdicts,
            matches=self.matches,
        )
        process = Process(plane, store, clock)
        self.processes.append(process)
        self.starts += 1
        self._ticking(process)
        return process

    def kill(self) -> None:
        """Kill -9 the newest process: its memory is gone, its leadership free."""
        process = self.newest
        if process is not None:
            process.alive = False
            process.store.close()
            self.processes.remove(process)

    def step_clock(self, offset_ms: int) -> None:
        """Set the wall clock of every machine here, as an administrator would."""
        self.stepped_ms += abs(offset_ms - self.offset_ms)
        self.offset_ms = offset_ms
        for process in self.processes:
            process.clock.offset_ms = offset_ms

    def usurp(self) -> None:
        """Start a second process and take the leadership from the first, which does not know."""
        process = self.newest
        if process is not None:
            process.store.lose()
        fresh = self.start()
        fresh.plane.lead()

    def retire(self) -> None:
        """End every process but the newest."""
        newest = self.newest
        for process in self.processes:
            if process is not newest:
                process.alive = False
                # Its connection ends with it, and the leadership if it was the leader.
                process.store.close()
        self.processes = [process for process in self.processes if process.alive]

    def pick(self) -> Process | None:
        """Return the process that a person's request reaches: any that is alive."""
        alive = [process for process in self.processes if process.alive]
        return self.loop.chance.choice(alive) if alive else None

    def _line_of(self, island: str) -> Process:
        """Return the process that an island talks to: the same one as long as it answers."""
        line = self._lines.get(island)
        if line is None or not line.alive:
            line = self.pick()
            if line is None:
                raise Unavailable("no control plane runs")
            self._lines[island] = line
        return line

    def run(self, process: Process, command: Command[Any]) -> Any:
        """Run one command and check everything that must hold afterwards."""
        (outcome,) = process.plane.run([command])
        _no_defect(outcome.error)
        self._settle(process)
        return outcome.get()

    def _by(self, island: str, process: Process, command: Command[Any]) -> Any:
        """Run a command that an island's message asks for."""
        self.witness.writer = island
        try:
            return self.run(process, command)
        except Unavailable:
            # Whoever fails turns the island to the next address.
            self._lines.pop(island, None)
            raise
        finally:
            self.witness.hears_nobody()

    # -- what islands ask -------------------------------------------------------------------

    def join(self, request: JoinRequest) -> Any:
        """Answer a join."""
        island = request.profile.name
        process = self._line_of(island)
        return self._by(island, process, lambda tx: agents.join(tx, request, self.settings))

    def session(self, request: SessionRequest) -> SessionReply:
        """Answer a session request."""
        island = request.island
        process = self._line_of(island)
        secret = f"{self.loop.chance.getrandbits(128):032x}"

        def command(tx: Tx) -> SessionReply:
            reply = agents.open_session(tx, request, self.settings, secret)
            tx.after.append(
                lambda state: agents.remember_session(state, request.island, reply.session, secret)
            )
            return reply

        reply: SessionReply = self._by(island, process, command)
        return reply

    def sync(
        self,
        island: str,
        token: str,
        *,
        request: SyncRequest,
        answer: Callable[[SyncReply], None],
    ) -> None:
        """Take in a sync of an island and answer it now or, without news, when the hold is over."""
        process = self._line_of(island)
        self.witness.says(island, request.reports)

        def command(tx: Tx) -> agents.Synced:
            session = agents.session_of(tx.state, token)
            return agents.sync(tx, session, request, self.settings)

        synced: agents.Synced = self._by(island, process, command)
        state = process.plane.state
        if synced.answer_now or agents.version(state, synced.island) != request.known:
            answer(agents.reply(state, synced, request.seq, self.settings))
            return
        held = Held(synced, request.seq, request.known, answer)
        process.held.setdefault(synced.island, []).append(held)
        self.loop.after(self.settings.hold_ms, lambda: self._release(process, held))

    def keep(self, island: str, token: str, *, made: Artifact, raw: bytes) -> str:
        """Record an artefact that an island brings."""
        process = self._line_of(island)
        self.witness.brings(island, made.job, made.fence)

        def command(tx: Tx) -> str:
            session = agents.session_of(tx.state, token)
            return keeping.vouch(tx, session.island, made, raw)

        kept: str = self._by(island, process, command)
        return kept

    # -- inside -----------------------------------------------------------------------------

    def _ticking(self, process: Process) -> None:
        if not process.alive:
            return
        try:
            if process.plane.lead():
                process.plane.tick()
        except Unavailable:
            # As in the service: the plane loads again, or follows, on its next turn.
            pass
        self._settle(process)
        self.loop.after(self.settings.tick_ms, lambda: self._ticking(process))

    def _settle(self, process: Process) -> None:
        state = process.plane.state
        if state.touched:
            touched, state.touched = sorted(state.touched), set()
            for island in touched:
                for held in process.held.pop(island, []):
                    self._release(process, held)
        self.checked(process)

    def _release(self, process: Process, held: Held) -> None:
        if held.done or not process.alive or held.synced.island not in process.plane.state.islands:
            return
        held.done = True
        waiting = process.held.get(held.synced.island, [])
        if held in waiting:
            waiting.remove(held)
        held.answer(agents.reply(process.plane.state, held.synced, held.seq, self.settings))

    def _before(self, batch: Batch) -> None:
        if self._strikes(batch, after=False):
            raise Unavailable("the store failed before the write (injected)")
        if self.refuse_share and self.loop.chance.random() < self.refuse_share:
            raise Unavailable("the store failed before the write (injected)")

    def _after(self, batch: Batch) -> None:
        self.witness.after(batch)
        if self._strikes(batch, after=True):
            raise Unavailable("the store failed after the write (injected)")
        if self.forget_share and self.loop.chance.random() < self.forget_share:
            raise Unavailable("the store failed after the write (injected)")

    def _strikes(self, batch: Batch, *, after: bool) -> bool:
        """Say whether a fault that waited for such a transaction strikes it."""
        for doom in self.doomed:
            if doom.after is after and any(j.state is doom.state for j in batch.jobs.values()):
                self.doomed.remove(doom)
                doom.struck()
                return True
        return False


def _no_defect(error: Exception | None) -> None:
    """Raise unless the error is one that a command may be answered with."""
    if error is None:
        return
    if isinstance(error, IllegalMove) or type(error) is CausewayError:
        raise Violation("no defect", str(error)) from error
    if not isinstance(error, CausewayError):
        raise Violation("no defect", f"{type(error).__name__}: {error}") from error
