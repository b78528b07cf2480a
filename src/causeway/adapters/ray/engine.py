"""`RayEngine`: attempts as jobs of a Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from causeway.adapters.outside.engine import OutsideEngine
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.ray import inventory
from causeway.adapters.ray.attempts import Submission
from causeway.adapters.ray.ledger import Ledger
from causeway.adapters.ray.settings import Settings
from causeway.adapters.ray.speaker import Speaker
from causeway.adapters.ray.submitting import Submitter
from causeway.adapters.ray.values import JobRow, View
from causeway.adapters.runner import install
from causeway.adapters.runner.ends import Key
from causeway.model.islands import Inventory
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Condition, Launch

ENTRYPOINT = Path(__file__).with_name("entrypoint.py")
NOT_ASKED = -1


class RayEngine(OutsideEngine[Ledger, tuple[JobRow, ...], View]):
    """Runs attempts in one Ray cluster."""

    def __init__(self, root: Path, *, clock: Clock, speaker: Speaker, settings: Settings) -> None:
        """Begin to watch; attempts of an earlier agent are found again below `root`."""
        root = root.resolve()
        root.mkdir(parents=True, exist_ok=True)
        kept = Kept(root, Submission, engine="ray")
        mark = kept.mark()
        ledger = Ledger(kept=kept, mark=mark, clock=clock)
        self._view: View | None = None
        """As the cluster was seen last; None: it never was."""
        self._weigh = False
        """Whether the cluster was seen anew, so that what waits may now wait in vain."""
        self._held: dict[Key, int] = {}
        """Of those that are coming: they wait until what was forgotten under their key is over in
        Ray. With the grace of a stop that was asked for since."""
        self._speaker = speaker
        self._settings = settings
        self._submitter = Submitter(
            speaker,
            settings,
            mark=mark,
            kept=kept,
            programs=(install(root, ENTRYPOINT, prefix="ray-"), install(root)),
            view=lambda: self._view.nodes if self._view is not None else (),
        )
        super().__init__(
            root,
            clock=clock,
            ledger=ledger,
            doomed=ledger.doomed,
            submitter=self._submitter,
            wait_s_max=settings.wait_s_max,
        )
        self.watch_on(poll_s=settings.poll_s)

    # -- questions, in threads of their own -----------------------------------------------------

    def ask_jobs(self, waiting: bool) -> tuple[JobRow, ...]:
        return self._speaker.jobs()

    def ask_cluster(self) -> View:
        return View(cluster=self._speaker.cluster(), nodes=self._speaker.nodes())

    def carry_out(self, ends: Sequence[str], kills: Sequence[str]) -> None:
        """Ray kills what it ends; what is over is to be forgotten."""
        for job in ends:
            self._speaker.stop(job)
        for job in kills:
            self._speaker.delete(job)

    # -- in the engine's thread -----------------------------------------------------------------

    def see_cluster(self, cluster: View) -> None:
        self._view, self._weigh = cluster, True

    def heard_jobs(self, jobs: tuple[JobRow, ...], asked_ms: int) -> None:
        self.ledger.hear(jobs, asked_ms=asked_ms)
        if self._weigh:
            self._weigh = False
            self.ledger.weigh(self._submitter.never)
        for key in list(self._held):
            launch = self.is_coming(key)
            if launch is None:
                # It was forgotten again.
                del self._held[key]
            else:
                self.begin(launch)

    def begin(self, launch: Launch) -> bool:
        key = launch.job, launch.fence
        if self.ledger.is_leaving(key) and self.is_coming(key) is launch:
            self._held.setdefault(key, NOT_ASKED)
            return False
        begun = super().begin(launch)
        grace_ms = self._held.pop(key, NOT_ASKED) if begun else NOT_ASKED
        if grace_ms != NOT_ASKED:
            self.ledger.stop(key, grace_ms)
        return begun

    def end(self, key: Key, grace_ms: int) -> None:
        asked_ms = self._held.get(key)
        if asked_ms is None:
            super().end(key, grace_ms)
        else:
            self._held[key] = grace_ms if asked_ms == NOT_ASKED else min(asked_ms, grace_ms)

    def inventory(self, *, disk_bytes: int, agent_version: str) -> Inventory:
        assert self._view is not None, "it is seen before it is described"
        return inventory.inventory(
            inventory.offered(self._view.nodes, self._settings.resources),
            self._view.cluster,
            devices=self._settings.devices,
            disk_bytes=disk_bytes,
            agent_version=agent_version,
        )

    def judged(self) -> Condition:
        if self._view is None:
            return Condition(occupied=Capacity(), problems=self.problems(()))
        nodes, settings = self._view.nodes, self._settings
        offered = inventory.offered(nodes, settings.resources)
        held = inventory.occupied(offered, self.ledger.holds())
        problems = self.problems(inventory.problems(nodes, settings))
        return Condition(occupied=held if offered else Capacity(), problems=problems)
