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
from causeway.model.errors import CausewayError, Unavailable
from causeway.model.protocol import (
    JoinRequest,
    SessionReply,
    SessionRequest,
    SyncReply,
    SyncRequest,
)
from causeway.ports.store import Batch
from causeway.twin.loop import Loop, VirtualChance, VirtualClock


@dataclass(slots=True)
class Held:
    """A sync that waits for news."""

    synced: agents.Synced
    seq: int
    known: str
    answer: Callable[[SyncReply], None]
    done: bool = False


@dataclass(slots=True)
class Process:
    """One control plane process; `alive` turns false when it is killed."""

    plane: Plane
    store: MemoryStore
    alive: bool = True
    held: dict[str, list[Held]] = field(default_factory=dict)


class Centre:
    """The control planes of one simulation. The newest is the one that messages reach, but an
    older one that was usurped goes on for a while, as a real one would."""

    def __init__(
        self, loop: Loop, *, settings: Settings, verdicts: Verdicts, matches: Matches
    ) -> None:
        self.loop = loop
        self.settings = settings
        self.verdicts = verdicts
        self.matches = matches
        self.shelf = Shelf()
        self.processes: list[Process] = []
        self.refuse_share = 0.0
        """Share of commits that fail before writing."""
        self.forget_share = 0.0
        """Share of commits that are written but not confirmed."""
        self.checked: Callable[[Process], None] = lambda process: None
        self.starts = 0

    @property
    def newest(self) -> Process | None:
        """The process that new connections reach; None while there is none."""
        alive = [process for process in self.processes if process.alive]
        return alive[-1] if alive else None

    def start(self) -> Process:
        """Start a control plane."""
        store = MemoryStore(self.shelf, checks=False)
        store.before_commit = self._before
        store.after_commit = self._after
        plane = Plane(
            store,
            VirtualClock(self.loop),
            VirtualChance(self.loop),
            settings=self.settings,
            verdicts=self.verdicts,
            matches=self.matches,
        )
        process = Process(plane, store)
        self.processes.append(process)
        self.starts += 1
        self._ticking(process)
        return process

    def kill(self) -> None:
        """Kill -9 the newest process: its memory is gone, its leadership free."""
        process = self.newest
        if process is not None:
            process.alive = False
            process.store.lose()
            self.processes.remove(process)

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
            process.alive = process is newest
        self.processes = [process for process in self.processes if process.alive]

    def pick(self) -> Process | None:
        """Return the process that a message reaches: any that is alive."""
        alive = [process for process in self.processes if process.alive]
        return self.loop.chance.choice(alive) if alive else None

    def run(self, process: Process, command: Command[Any]) -> Any:
        """Run one command and check everything that must hold afterwards."""
        (outcome,) = process.plane.run([command])
        self._settle(process)
        return outcome.get()

    # -- what islands ask -------------------------------------------------------------------

    def join(self, request: JoinRequest) -> Any:
        """Answer a join."""
        process = self.pick()
        if process is None:
            raise Unavailable("no control plane runs")
        return self.run(process, lambda tx: agents.join(tx, request, self.settings))

    def session(self, request: SessionRequest) -> SessionReply:
        """Answer a session request."""
        process = self.pick()
        if process is None:
            raise Unavailable("no control plane runs")
        secret = f"{self.loop.chance.getrandbits(128):032x}"

        def command(tx: Tx) -> SessionReply:
            reply = agents.open_session(tx, request, self.settings, secret)
            tx.after.append(
                lambda state: agents.remember_session(state, request.island, reply.session, secret)
            )
            return reply

        reply: SessionReply = self.run(process, command)
        return reply

    def sync(self, token: str, request: SyncRequest, answer: Callable[[SyncReply], None]) -> None:
        """Take in a sync and answer it now or, without news, when the hold is over."""
        process = self.pick()
        if process is None:
            raise Unavailable("no control plane runs")

        def command(tx: Tx) -> agents.Synced:
            session = agents.session_of(tx.state, token)
            return agents.sync(tx, session, request, self.settings)

        synced: agents.Synced = self.run(process, command)
        reply = agents.reply(process.plane.state, synced, request.seq, self.settings)
        if reply.version != request.known or synced.answer_now:
            answer(reply)
            return
        held = Held(synced, request.seq, request.known, answer)
        process.held.setdefault(synced.island, []).append(held)
        self.loop.after(self.settings.hold_ms, lambda: self._release(process, held))

    def keep(self, token: str, made: Artifact, raw: bytes) -> str:
        """Record an artefact that an island brings."""
        process = self.pick()
        if process is None:
            raise Unavailable("no control plane runs")

        def command(tx: Tx) -> str:
            session = agents.session_of(tx.state, token)
            return keeping.vouch(tx, session.island, made, raw)

        kept: str = self.run(process, command)
        return kept

    # -- inside -----------------------------------------------------------------------------

    def _ticking(self, process: Process) -> None:
        if not process.alive:
            return
        try:
            if process.plane.lead():
                process.plane.tick()
        except CausewayError:
            # As in the service: the plane loads again, or follows, on its next turn.
            pass
        self._settle(process)
        self.loop.after(self.settings.tick_ms, lambda: self._ticking(process))

    def _settle(self, process: Process) -> None:
        state = process.plane.state
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
        if self.refuse_share and self.loop.chance.random() < self.refuse_share:
            raise Unavailable("the store failed before the write (injected)")

    def _after(self, batch: Batch) -> None:
        if self.forget_share and self.loop.chance.random() < self.forget_share:
            raise Unavailable("the store failed after the write (injected)")
