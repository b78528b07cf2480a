"""`SlurmEngine`: attempts as jobs of a Slurm cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from causeway.adapters.outside.engine import OutsideEngine
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.runner import install
from causeway.adapters.slurm import inventory
from causeway.adapters.slurm.attempts import Submission
from causeway.adapters.slurm.ledger import Ledger, Seen
from causeway.adapters.slurm.settings import Settings
from causeway.adapters.slurm.speaker import Speaker
from causeway.adapters.slurm.submitting import Submitter
from causeway.adapters.slurm.values import Node, View
from causeway.model.islands import Inventory
from causeway.model.resources import Capacity
from causeway.ports import Clock
from causeway.ports.engine import Condition


class SlurmEngine(OutsideEngine[Ledger, Seen, View]):
    """Runs attempts in one Slurm cluster."""

    def __init__(self, root: Path, *, clock: Clock, speaker: Speaker, settings: Settings) -> None:
        """Begin to watch; attempts of an earlier agent are found again below `root`."""
        root = root.resolve()
        root.mkdir(parents=True, exist_ok=True)
        kept = Kept(root, Submission, engine="slurm")
        mark = kept.mark()
        ledger = Ledger(kept=kept, mark=mark, clock=clock)
        self._view = View()
        """As the cluster was seen last."""
        self._accounts: tuple[int, ...] = ()
        """Jobs whose accounts are waited for."""
        self._speaker = speaker
        self._settings = settings
        self._submitter = Submitter(
            speaker,
            settings,
            mark=mark,
            kept=kept,
            program=install(root),
            view=lambda: self._view,
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

    def ask_jobs(self, waiting: bool) -> Seen:
        rows, wanted = self._speaker.jobs(), self._accounts
        return Seen(rows=rows, accounted=self._speaker.accounted(wanted) if wanted else ())

    def ask_cluster(self) -> View:
        ask = self._speaker
        return View(cluster=ask.cluster(), nodes=ask.nodes(), partitions=ask.partitions())

    def carry_out(self, ends: Sequence[int], kills: Sequence[int]) -> None:
        self._speaker.cancel(ends, kill=False)
        self._speaker.cancel(kills, kill=True)

    # -- in the engine's thread -----------------------------------------------------------------

    def see_cluster(self, cluster: View) -> None:
        self._view = cluster
        level = inventory.isolation(cluster.cluster)[-1]
        self.ledger.accounting = cluster.cluster.accounting
        self.ledger.isolation = self._submitter.isolation = level

    def tell_asker(self) -> None:
        self._accounts = self.ledger.accounts()
        super().tell_asker()

    def heard_jobs(self, jobs: Seen, asked_ms: int) -> None:
        self.ledger.hear(jobs, asked_ms=asked_ms)

    def inventory(self, *, disk_bytes: int, agent_version: str) -> Inventory:
        return inventory.inventory(
            self._offered(),
            self._view.cluster,
            devices=self._settings.devices,
            disk_bytes=disk_bytes,
            agent_version=agent_version,
        )

    def judged(self) -> Condition:
        view, names = self._view, self._settings.partitions
        seen = inventory.problems(view.partitions, names) if view.partitions else ()
        held = inventory.occupied(self._offered(), self.ledger.holds())
        return Condition(occupied=held if view.nodes else Capacity(), problems=self.problems(seen))

    def _offered(self) -> tuple[Node, ...]:
        view = self._view
        return inventory.offered(view.nodes, view.partitions, self._settings.partitions)
