"""Hands attempts to Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from causeway.adapters.outside import submitting
from causeway.adapters.outside.devices import rated_w
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.submitting import insist
from causeway.adapters.ray import inventory, orders
from causeway.adapters.ray.attempts import Submission
from causeway.adapters.ray.settings import Settings
from causeway.adapters.ray.speaker import Speaker
from causeway.adapters.ray.values import Mark, Need, Node
from causeway.adapters.runner import Desk, Plan
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
        programs: tuple[Path, Path],
        view: Callable[[], tuple[Node, ...]],
    ) -> None:
        """`programs` are the entrypoint and the runner; `view` returns the nodes that were seen
        last, none where none were."""
        super().__init__(engine="Ray", mark=mark, kept=kept)
        self._speaker = speaker
        self._settings = settings
        self._programs = programs
        self._view = view

    def submission(self, launch: Launch) -> Submission:
        asked = launch.spec.resources
        wanted, need = asked.accelerator, self._need(launch)
        plain, ranks = need.plain() if need is not None else {}, launch.spec.num_nodes
        told = Submission(
            **self.common(launch),
            cpu_milli=asked.cpu_milli,
            watts=rated_w(wanted.model) if wanted else 0.0,
            asked=plain,
            strategy=inventory.strategy(plain, ranks, self._offered(), self._settings),
        )
        return replace(told, id=orders.submission_id(self._marked(told)))

    def plan(self, launch: Launch) -> Plan:
        return Plan.of(launch, keep=orders.KEEP, address_env=(orders.NODE_ADDRESS,))

    def hand_over(self, launch: Launch, told: Submission, desk: Desk) -> Submission:
        need = self._need(launch)
        assert need is not None, "a launch without one is refused"
        order = orders.order(
            launch,
            mark=self._marked(told),
            need=need,
            strategy=told.strategy,
            python=self._settings.python,
            programs=self._programs,
        )
        # Under its own name a job is never made twice.
        insist(lambda: self._speaker.submit(order), give_up_s=self._settings.timeout_s / 2)
        return replace(told, taken=True)

    def never(self, told: Submission) -> str:
        """Return why the nodes that were seen last can never hold an attempt; empty: they can, or
        more of them may come."""
        nodes = self._offered()
        if self._settings.grows or not nodes:
            return ""
        return inventory.lacking(told.asked, told.ranks, nodes, strategy=told.strategy)

    def refusal(self, launch: Launch, told: Submission) -> str:
        why = self.unfit(launch, isolation=("process",)) or self.without_images(launch)
        if not why and self._need(launch) is None:
            wanted = launch.spec.resources.accelerator
            why = f"no node of this Ray cluster has a {wanted.model if wanted else 'device'}"
        return why or self.never(told)

    def _need(self, launch: Launch) -> Need | None:
        return inventory.need(launch.spec.resources, self._offered(), self._settings)

    def _offered(self) -> tuple[Node, ...]:
        return inventory.offered(self._view(), self._settings.resources)

    def _marked(self, told: Submission) -> Mark:
        return Mark(island=self.mark, tag=told.tag, job=told.job, fence=told.fence)
