"""What goes wrong, and when: each fault has a beginning, and an end that undoes it.

Half of the faults come at an instant of their own; the others lie in wait for a job to come into a
chosen state and strike then, because the rare states are short and hold the rare mistakes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from causeway.control import rounds
from causeway.control.state import Tx
from causeway.model.errors import CausewayError
from causeway.model.jobs import Job, JobState
from causeway.model.values import replace
from causeway.twin.centre import Centre, Doom
from causeway.twin.island import SimIsland
from causeway.twin.loop import Loop
from causeway.twin.network import Link, Network

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
AMBUSHED = (
    JobState.PENDING,
    JobState.QUEUED,
    JobState.PLACED,
    JobState.STARTING,
    JobState.RUNNING,
    JobState.STOPPING,
    JobState.STOPPING,
    JobState.DISCONNECTED,
    JobState.DISCONNECTED,
)
"""States that faults lie in wait for."""
NORMAL = Link()


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

    traps: list[tuple[JobState, Callable[[], None]]] = field(default_factory=list)
    """Faults that lie in wait: (state, fault)."""
    struck: int = 0
    """Faults that happened."""
    _target: SimIsland | None = None
    """The island that a trap was sprung on."""

    def schedule(self, count: int, *, from_ms: int, until_ms: int) -> None:
        """Lay out `count` faults over the time."""
        everywhere: tuple[Callable[[], None], ...] = (
            self.kill_island,
            self.kill_island,
            self.partition,
            self.partition,
            self.slow_link,
            self.lossy,
            self.lie,
            self.wipe,
            self.kill_centre,
            self.usurp,
            self.store_refuses,
            self.store_forgets,
            self.store_strikes,
            self.store_strikes,
            self.restart_agent,
            self.declare_lost,
            self.drain,
            self.reclaim,
            self.sluggish,
            self.skew,
            self.step_clock,
        )
        for number in range(count):
            fault = self.loop.chance.choice(everywhere)
            at_ms = round(self.loop.chance.uniform(from_ms, until_ms))
            if number % 2:
                self.loop.at(at_ms, fault)
            else:
                self._lie_in_wait(fault, at_ms, until_ms)

    def _lie_in_wait(self, fault: Callable[[], None], at_ms: int, until_ms: int) -> None:
        """Strike when a job comes into a state, from `at_ms` on; at some time in any case."""
        trap = (self.loop.chance.choice(AMBUSHED), fault)

        def fallback() -> None:
            if trap in self.traps:
                self.traps.remove(trap)
                fault()

        self.loop.at(at_ms, lambda: self.traps.append(trap))
        latest_ms = min(at_ms + HOUR_MS, until_ms)
        self.loop.at(latest_ms, fallback)

    def moved(self, job: Job) -> None:
        """A job came into a state: spring the first trap that waits for it, a moment later."""
        trap = next((trap for trap in self.traps if trap[0] is job.state), None)
        if trap is None:
            return
        self.traps.remove(trap)
        current = job.current
        here = next((i for i in self.islands if current and i.id == current.island), None)

        def strike() -> None:
            self._target = here
            trap[1]()
            self._target = None

        # Sometimes before anybody has heard of the new state, sometimes a little after.
        self._later(self.loop.chance.choice((0, 30, 1_000, 10_000)), strike)

    def heal(self) -> None:
        """Mend everything, for good."""
        for island in self.islands:
            self.network.links[island.profile.name] = Link()
            island.liar.on = island.reclaiming = False
            island.slowness = 1.0
            if island.core is None:
                island.start(self.join_token)
        self.centre.refuse_share = self.centre.forget_share = 0.0
        self.centre.doomed.clear()
        self.traps.clear()
        self.centre.step_clock(0)
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

    def slow_link(self) -> None:
        """Make a link slow enough that messages outlive leases."""
        link = self._link(self._victim("slow_link"))
        link.delay_ms = self.loop.chance.choice((2_000.0, 20_000.0, 120_000.0))
        self._later(self._spell(5, 60), lambda: setattr(link, "delay_ms", NORMAL.delay_ms))

    def sluggish(self) -> None:
        """Make everything at an island but the work itself take ten times as long."""
        island = self._victim("sluggish")
        island.slowness = 10.0
        self._later(self._spell(5, 120), lambda: setattr(island, "slowness", 1.0))

    def reclaim(self) -> None:
        """Let an owner take the capacity back for a while, and tell the centre so."""
        island = self._victim("reclaim")
        island.reclaiming = True
        self._later(self._spell(10, 120), lambda: setattr(island, "reclaiming", False))

    def lossy(self) -> None:
        """Make a link lose and double many messages."""
        island = self._victim("lossy")
        link = self._link(island)
        link.loss_share, link.double_share = 0.4, 0.3

        def mend() -> None:
            link.loss_share, link.double_share = NORMAL.loss_share, NORMAL.double_share

        self._later(self._spell(5, 120), mend)

    def lie(self) -> None:
        """Let an island lie about fences, usage, progress and ends."""
        island = self._victim("lie")
        island.liar.on = True
        self._later(self._spell(5, 120), lambda: setattr(island.liar, "on", False))

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
            off = island.core is None
            if off and process is not None and process.alive and island.id:
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

    def store_strikes(self) -> None:
        """Fail the very transaction that brings a job into a state, before or after the write."""
        state = self.loop.chance.choice(AMBUSHED)
        after = self.loop.chance.random() < 0.5
        name = "store_forgets" if after else "store_refuses"

        def struck() -> None:
            self.struck += 1
            self.coverage[name, state.value] += 1

        self.centre.doomed.append(Doom(state, after, struck))

    def step_clock(self) -> None:
        """Set the wall clock of the centre's machines, forwards or back."""
        self._note_all("step_clock")
        self.centre.step_clock(self.loop.chance.randint(-200_000, 200_000))

    def kill_centre(self) -> None:
        """Kill -9 the control plane; another starts after seconds or minutes."""
        self._note_all("kill_centre")
        self.centre.kill()
        self._later(self._spell(0.1, 20), self._start_centre)

    def usurp(self) -> None:
        """Move the leadership while the old leader believes that it still leads."""
        self._note_all("usurp")
        self.centre.usurp()
        self._later(self._spell(0.5, 20), self.centre.retire)

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
        island = self._target or self.loop.chance.choice(self.islands)
        self.struck += 1
        hit = [
            job.state.value
            for job in self.centre.shelf.unfinished.values()
            if job.current is not None and job.current.island == island.id
        ]
        self.coverage.update((fault, state) for state in hit or ["idle"])
        return island

    def _note_all(self, fault: str) -> None:
        self.struck += 1
        states = [job.state.value for job in self.centre.shelf.unfinished.values()]
        self.coverage.update((fault, state) for state in dict.fromkeys(states or ["idle"]))
