"""`KubernetesEngine`: attempts as Jobs of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from causeway.adapters.kubernetes import inventory
from causeway.adapters.kubernetes.access import Access
from causeway.adapters.kubernetes.attempts import Submission
from causeway.adapters.kubernetes.ledger import Ledger
from causeway.adapters.kubernetes.settings import Settings
from causeway.adapters.kubernetes.speaker import Seen, Speaker
from causeway.adapters.kubernetes.submitting import Submitter
from causeway.adapters.kubernetes.values import Cluster
from causeway.adapters.outside.engine import OutsideEngine
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.runner import install
from causeway.model.errors import InvalidInput
from causeway.model.islands import Inventory
from causeway.ports import Clock
from causeway.ports.engine import Condition

EVENTS_TIMES = 2
"""Every so many rounds events are asked for, while something waits."""


class KubernetesEngine(OutsideEngine[Ledger, Seen, Cluster]):
    """Runs attempts in one namespace of a cluster."""

    def __init__(self, root: Path, *, clock: Clock, access: Access, settings: Settings) -> None:
        """Begin to watch; attempts of an earlier agent are found again below `root`."""
        root = root.resolve()
        root.mkdir(parents=True, exist_ok=True)
        if not root.is_relative_to(Path(settings.mount).resolve()):
            raise InvalidInput(
                f"the agent's root {root} is not on the volume at {settings.mount}",
                where="$.engine.mount",
                hint="jobs see the agent's folder through that volume; put --root below it",
            )
        kept = Kept(root, Submission, engine="kubernetes")
        mark = kept.mark()
        image_ms_max = round(settings.image_s_max * 1000)
        ledger = Ledger(kept=kept, mark=mark, clock=clock, image_ms_max=image_ms_max)
        self._cluster = Cluster()
        """As it was seen last."""
        self._rounds = 0
        self._settings = settings
        self._speaker = Speaker(access, settings, mark=mark)
        super().__init__(
            root,
            clock=clock,
            ledger=ledger,
            doomed=ledger.doomed,
            submitter=Submitter(
                self._speaker,
                settings,
                mark=mark,
                kept=kept,
                program=install(root),
                view=lambda: self._cluster,
            ),
            wait_s_max=settings.wait_s_max,
        )
        self.watch_on(poll_s=settings.poll_s)

    def close(self) -> None:
        super().close()
        self._speaker.close()

    # -- questions, in threads of their own -----------------------------------------------------

    def ask_jobs(self, waiting: bool) -> Seen:
        self._rounds += 1
        return self._speaker.seen(events=waiting and self._rounds % EVENTS_TIMES == 0)

    def ask_cluster(self) -> Cluster:
        return self._speaker.cluster()

    def carry_out(self, ends: Sequence[str], kills: Sequence[str]) -> None:
        self._speaker.delete(ends, kill=False)
        self._speaker.delete(kills, kill=True)

    # -- in the engine's thread -----------------------------------------------------------------

    def see_cluster(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def heard_jobs(self, jobs: Seen, asked_ms: int) -> None:
        self.ledger.hear(jobs, asked_ms=asked_ms)

    def inventory(self, *, disk_bytes: int, agent_version: str) -> Inventory:
        return inventory.inventory(
            self._cluster,
            self._settings,
            name=self._speaker.name,
            disk_bytes=disk_bytes,
            agent_version=agent_version,
        )

    def judged(self) -> Condition:
        problems = inventory.problems(self._cluster, self._settings)
        held = inventory.occupied(self._cluster, self._settings, self.ledger.holds())
        return Condition(occupied=held, problems=self.problems(problems))
