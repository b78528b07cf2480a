"""What goes wrong, and when: each fault has a beginning, and an end that undoes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from causeway.control import rounds
from causeway.control.state import Tx
from causeway.model.errors import CausewayError
from causeway.twin.centre import Centre
from causeway.twin.island import SimIsland
from causeway.twin.loop import Loop
from causeway.twin.network import Link, Network

MINUTE_MS = 60_000
HOUR_MS = 3_600_000


@dataclass(slots=True)
class Faults:
    """Breaks things, and mends them."""

    loop: Loop
    network: Network
    centre: Centre
    islands: list[SimIsland]
    join_token: str
    coverage: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(fault, state of a job that it hit) -> how often."""

    def schedule(self, count: int, *, from_ms: int, until_ms: int) -> None:
        """Lay out `count` faults over the time."""
        kinds: tuple[Callable[[], None], ...] = (
            self.kill_island,
            self.kill_island,
            self.partition,
            self.partition,
            self.slow,
            self.lossy,
            self.lie,
            self.wipe,
            self.kill_centre,
            self.usurp,
            self.store_refuses,
            self.store_forgets,
            self.restart_agent,
            self.declare_lost,
            self.drain,
            self.skew,
        )
        for _ in range(count):
            kind = self.loop.chance.choice(kinds)
            self.loop.at(round(self.loop.chance.uniform(from_ms, until_ms)), kind)

    def heal(self) -> None:
        """Mend everything, for good."""
        for island in self.islands:
            self.network.links[island.profile.name] = Link()
            island.lies = False
            if island.core is None:
                island.start(self.join_token)
        self.centre.refuse_share = self.centre.forget_share = 0.0
        if self.centre.newest is None:
            self.centre.start()
        self.centre.retire()
        self._uncordon_all()

    # -- islands ------------------------------------------------------------------------------

    def kill_island(self) -> None:
        """Kill an island outright; it comes back after minutes or hours."""
        island = self._victim("kill_island")
        island.kill()
        self._later(self._spell(1, 240), lambda: self._revive(island))

    def restart_agent(self) -> None:
        """Kill an agent and start it again at once."""
        island = self._victim("restart_agent")
        island.kill()
        self._later(2_000, lambda: self._revive(island))

    def wipe(self) -> None:
        """Kill an island and lose its disk."""
        island = self._victim("wipe")
        island.kill()
        island.wipe()
        self._later(self._spell(5, 60), lambda: self._revive(island))

    def partition(self) -> None:
        """Cut an island off; it goes on running by itself."""
        island = self._victim("partition")
        link = self._link(island)
        link.cut = True
        self._later(self._spell(1, 180), lambda: setattr(link, "cut", False))

    def slow(self) -> None:
        """Make a link slow enough that messages outlive leases."""
        island = self._victim("slow")
        link = self._link(island)
        link.delay_ms = self.loop.chance.choice((2_000.0, 20_000.0, 60_000.0))
        self._later(self._spell(5, 60), lambda: setattr(link, "delay_ms", 40.0))

    def lossy(self) -> None:
        """Make a link lose and double many messages."""
        island = self._victim("lossy")
        link = self._link(island)
        link.loss_share, link.double_share = 0.4, 0.3

        def mend() -> None:
            link.loss_share, link.double_share = 0.01, 0.01

        self._later(self._spell(5, 120), mend)

    def lie(self) -> None:
        """Let an island lie about fences, usage and progress."""
        island = self._victim("lie")
        island.lies = True
        self._later(self._spell(5, 120), lambda: setattr(island, "lies", False))

    def skew(self) -> None:
        """Set an island's wall clock wrong, within what a session request may be off."""
        island = self._victim("skew")
        island.clock.offset_ms = self.loop.chance.randint(-250_000, 250_000)

    def declare_lost(self) -> None:
        """A person declares a cut-off island lost, as the documentation asks: only after it was
        switched off."""
        island = self._victim("declare_lost")
        island.kill()
        process = self.centre.newest

        def declare() -> None:
            if process is not None and process.alive and island.id:
                self._quietly(lambda: self.centre.run(process, self._lost_command(island)))

        self._later(MINUTE_MS, declare)
        self._later(self._spell(5, 60), lambda: self._revive(island))

    def drain(self) -> None:
        """An operator drains an island and lets it work again later."""
        island = self._victim("drain")
        if not island.id:
            return

        def command(tx: Tx) -> None:
            rounds.drain(tx, island.id, "an operator")

        self._ask(command)
        self._later(self._spell(10, 60), self._uncordon_all)

    # -- the centre ---------------------------------------------------------------------------

    def kill_centre(self) -> None:
        """Kill -9 the control plane; another starts after seconds or minutes."""
        self._note_all("kill_centre")
        self.centre.kill()
        self._later(self._spell(0.1, 20), self._start_centre)

    def usurp(self) -> None:
        """Move the leadership while the old leader believes that it still leads."""
        self._note_all("usurp")
        self.centre.usurp()
        self._later(self._spell(0.5, 5), self.centre.retire)

    def store_refuses(self) -> None:
        """Let commits fail before they are written."""
        self._note_all("store_refuses")
        self.centre.refuse_share = 0.3
        self._later(self._spell(1, 15), lambda: setattr(self.centre, "refuse_share", 0.0))

    def store_forgets(self) -> None:
        """Let commits be written without being confirmed."""
        self._note_all("store_forgets")
        self.centre.forget_share = 0.3
        self._later(self._spell(1, 15), lambda: setattr(self.centre, "forget_share", 0.0))

    # -- inside -------------------------------------------------------------------------------

    def _lost_command(self, island: SimIsland) -> Callable[[Tx], None]:
        return lambda tx: rounds.declare_lost(tx, island.id, "the operator")

    def _start_centre(self) -> None:
        if self.centre.newest is None:
            self.centre.start()

    def _uncordon_all(self) -> None:
        def command(tx: Tx) -> None:
            for island in list(tx.state.islands.values()):
                if island.cordoned or island.draining:
                    tx.put_island(
                        replace(island, cordoned=False, draining=False), "island.uncordoned"
                    )

        self._ask(command)

    def _ask(self, command: Callable[[Tx], None]) -> None:
        """Ask as an operator does: again and again until it is confirmed."""

        def attempt() -> None:
            process = self.centre.newest
            done = process is not None and self._quietly(lambda: self.centre.run(process, command))
            if not done:
                self.loop.after(10_000, attempt)

        attempt()

    def _quietly(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except CausewayError:
            return False
        return True

    def _revive(self, island: SimIsland) -> None:
        if island.core is None:
            island.start(self.join_token)

    def _link(self, island: SimIsland) -> Link:
        return self.network.links.setdefault(island.profile.name, Link())

    def _spell(self, least_min: float, most_min: float) -> float:
        return self.loop.chance.uniform(least_min, most_min) * MINUTE_MS

    def _later(self, wait_ms: float, act: Callable[[], None]) -> None:
        self.loop.after(wait_ms, act)

    def _victim(self, fault: str) -> SimIsland:
        island = self.loop.chance.choice(self.islands)
        hit = [
            job.state.value
            for job in self.centre.shelf.unfinished.values()
            if job.current is not None and job.current.island == island.id
        ]
        self.coverage.update((fault, state) for state in hit or ["idle"])
        return island

    def _note_all(self, fault: str) -> None:
        states = {job.state.value for job in self.centre.shelf.unfinished.values()}
        self.coverage.update((fault, state) for state in states or {"idle"})
