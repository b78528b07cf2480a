"""Hands attempts to Slurm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from causeway.adapters.outside import submitting
from causeway.adapters.outside.devices import rated_w
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.runner import Desk, Plan
from causeway.adapters.slurm import inventory, orders
from causeway.adapters.slurm.attempts import Submission
from causeway.adapters.slurm.settings import Settings
from causeway.adapters.slurm.speaker import Speaker
from causeway.adapters.slurm.values import Node, Order, View
from causeway.ports.engine import Launch


class Submitter(submitting.Submitter[Submission]):
    """Makes jobs of launches."""

    def __init__(
        self,
        speaker: Speaker,
        settings: Settings,
        *,
        mark: str,
        kept: Kept[Submission],
        program: Path,
        view: Callable[[], View],
    ) -> None:
        """`view` returns the cluster as it was seen last."""
        super().__init__(engine="Slurm", mark=mark, kept=kept)
        self.isolation = "process"
        """The strongest level that the cluster keeps."""
        self._speaker = speaker
        self._settings = settings
        self._program = program
        self._view = view

    def submission(self, launch: Launch) -> Submission:
        wanted = launch.spec.resources.accelerator
        return Submission(
            **self.common(launch),
            cpu_milli=orders.cpus(launch.spec.resources.cpu_milli) * 1000,
            watts=rated_w(wanted.model) if wanted else 0.0,
        )

    def plan(self, launch: Launch) -> Plan:
        return Plan.of(
            launch,
            keep=orders.KEEP,
            address_env=("SLURMD_NODENAME",),
            rank_env="SLURM_PROCID",
            forward=False,
        )

    def hand_over(self, launch: Launch, told: Submission, desk: Desk) -> Submission:
        # Never twice: Slurm would take it twice.
        number = self._speaker.submit(self._order(launch, told, desk))
        return replace(told, number=number, taken=True)

    def refusal(self, launch: Launch, told: Submission) -> str:
        levels = tuple(dict.fromkeys(("process", self.isolation)))
        why = self.unfit(launch, isolation=levels) or self.without_images(launch)
        wanted = launch.spec.resources.accelerator
        if not why and wanted is not None and wanted.model and self._view().nodes:
            offered = self._offered()
            kinds = {one.type for node in offered for one in node.gres if one.name == "gpu"}
            found = inventory.gres_type(wanted.model, offered, self._settings.devices)
            if not found and kinds != {""}:
                why = f"no node here has a GRES type for {wanted.model}"
        return why

    def _offered(self) -> tuple[Node, ...]:
        view = self._view()
        return inventory.offered(view.nodes, view.partitions, self._settings.partitions)

    def _order(self, launch: Launch, told: Submission, desk: Desk) -> Order:
        settings, partitions = self._settings, self._view().partitions
        wanted = launch.spec.resources.accelerator
        kind = ""
        if wanted is not None:
            kind = inventory.gres_type(wanted.model, self._offered(), settings.devices)
        there = inventory.chosen(partitions, settings.partitions) if partitions else ()
        return orders.order(
            launch,
            settings,
            mark=orders.Mark(island=self.mark, tag=told.tag, job=told.job, fence=told.fence),
            command=desk.command(
                self._program, python=settings.python, rank=0 if told.ranks == 1 else None
            ),
            gres_type=kind,
            partitions=there or settings.partitions,
        )
