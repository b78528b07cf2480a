"""Hands attempts to Slurm: the folder first, the record second, the job last."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from causeway.adapters.runner import Desk, Plan
from causeway.adapters.runner.ends import Outcome
from causeway.adapters.slurm import inventory, keeping, orders
from causeway.adapters.slurm.attempts import Submission
from causeway.adapters.slurm.settings import Settings
from causeway.adapters.slurm.speaker import Declined, Silent, Speaker
from causeway.adapters.slurm.values import Node, Order, Partition
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch

TAG_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a submission."""

    told: Submission
    outcome: Outcome | None = None
    """How it ended at once, when it was not taken."""
    doubt: str = ""
    """Why nobody knows whether Slurm has it."""


class Submitter:
    """Makes jobs of launches. Used by several threads at a time; each call blocks."""

    def __init__(
        self,
        speaker: Speaker,
        settings: Settings,
        *,
        mark: str,
        program: Path,
        view: Callable[[], tuple[tuple[Node, ...], tuple[Partition, ...]]],
    ) -> None:
        """`view` returns the nodes and partitions that were seen last."""
        self.isolation = "process"
        """The strongest level that the cluster keeps."""
        self._speaker = speaker
        self._settings = settings
        self._mark = mark
        self._program = program
        self._view = view

    def submission(self, launch: Launch) -> Submission:
        """Return what is to be written down of a launch."""
        spec, need = launch.spec, launch.spec.resources
        wanted = need.accelerator
        return Submission(
            tag=secrets.token_hex(TAG_BYTES),
            job=launch.job,
            fence=launch.fence,
            ranks=spec.num_nodes,
            guard=launch.deadline_stop,
            cores=orders.cpus(need.cpu_milli),
            memory_bytes=need.memory_bytes,
            accelerators=wanted.count if wanted else 0,
            watts=inventory.rated_w(wanted.model) if wanted else 0.0,
            time_limit_s=spec.time_limit_s,
        )

    def submit(self, launch: Launch, told: Submission) -> Done:
        """Submit one attempt. Raises nothing: what goes wrong is its outcome."""
        refusal = self._refusal(launch)
        if refusal is not None:
            return Done(told=told, outcome=refusal)
        desk = Desk(launch.folder, launch.spec.num_nodes)
        plan = Plan.of(
            launch,
            keep=orders.KEEP,
            address_env=("SLURMD_NODENAME",),
            rank_env="SLURM_PROCID",
            forward=False,
        )
        try:
            desk.prepare(launch, plan)
            keeping.write(launch.folder, told)
        except OSError as error:
            return Done(told=told, outcome=_engine(f"its folder could not be written: {error}"))
        try:
            number = self._speaker.submit(self._order(launch, told, desk))
        except Declined as declined:
            return Done(
                told=told,
                outcome=Outcome(
                    phase=Phase.FAILED, failure=FailureClass.REFUSED, message=declined.message
                ),
            )
        except Silent as silent:
            return Done(told=told, doubt=silent.message)
        try:
            return Done(told=keeping.submitted(launch.folder, told, number))
        except OSError as error:
            # The record without the number is enough to find the job again, by its tag.
            return Done(told=told, doubt=f"its record could not be written: {error}")

    def _refusal(self, launch: Launch) -> Outcome | None:
        """Return why Slurm is not even asked."""
        spec = launch.spec
        why = ""
        if launch.terminal is not None:
            why = "this island runs its work through Slurm, where a terminal cannot be attached"
        elif spec.isolation not in ("", "process", self.isolation):
            why = f"isolation {spec.isolation!r} does not work here; what does: {self.isolation}"
        elif spec.image:
            why = "this island runs its work through Slurm, without container images"
        wanted = spec.resources.accelerator
        nodes, partitions = self._view()
        if wanted is not None and wanted.model and nodes:
            offered = inventory.offered(nodes, partitions, self._settings.partitions)
            kinds = {one.type for node in offered for one in node.gres if one.name == "gpu"}
            found = inventory.gres_type(wanted.model, offered, self._settings.devices)
            if not found and kinds != {""}:
                why = f"no node here has a GRES type for {wanted.model}"
        if not why:
            return None
        return Outcome(phase=Phase.FAILED, failure=FailureClass.REFUSED, message=why)

    def _order(self, launch: Launch, told: Submission, desk: Desk) -> Order:
        settings = self._settings
        nodes, partitions = self._view()
        offered = inventory.offered(nodes, partitions, settings.partitions)
        wanted = launch.spec.resources.accelerator
        single = launch.spec.num_nodes == 1
        command = desk.command(self._program, python=settings.python, rank=0 if single else None)
        there = inventory.chosen(partitions, settings.partitions) if partitions else ()
        return orders.order(
            launch,
            settings,
            mark=orders.Mark(island=self._mark, tag=told.tag, job=told.job, fence=told.fence),
            command=command,
            gres_type=inventory.gres_type(wanted.model, offered, settings.devices)
            if wanted
            else "",
            partitions=there or settings.partitions,
        )


def _engine(message: str) -> Outcome:
    return Outcome(phase=Phase.FAILED, failure=FailureClass.ENGINE, message=message)
