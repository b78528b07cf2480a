"""Hands attempts to Ray: the folder first, the record second, the job last."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from causeway.adapters.ray import inventory, keeping, orders
from causeway.adapters.ray.attempts import Submission
from causeway.adapters.ray.settings import Settings
from causeway.adapters.ray.speaker import Declined, Silent, Speaker
from causeway.adapters.ray.values import Mark, Need, Node
from causeway.adapters.runner import Desk, Plan
from causeway.adapters.runner.ends import Outcome
from causeway.adapters.slurm.inventory import rated_w
from causeway.model.jobs import FailureClass
from causeway.model.protocol import Phase
from causeway.ports.engine import Launch

TAG_BYTES = 8
TRIES = 3
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a submission."""

    told: Submission
    outcome: Outcome | None = None
    """How it ended at once, when it was not taken."""
    doubt: str = ""
    """Why nobody knows whether Ray has it."""


class Submitter:
    """Makes jobs of launches. Used by several threads at a time; each call blocks."""

    def __init__(
        self,
        speaker: Speaker,
        settings: Settings,
        *,
        mark: str,
        programs: tuple[Path, Path],
        view: Callable[[], tuple[Node, ...]],
    ) -> None:
        """`programs` are the entrypoint and the runner; `view` returns the nodes that were seen
        last, none where none were."""
        self._speaker = speaker
        self._settings = settings
        self._mark = mark
        self._programs = programs
        self._view = view

    def submission(self, launch: Launch) -> Submission:
        """Return what is to be written down of a launch."""
        spec, asked = launch.spec, launch.spec.resources
        wanted, need = asked.accelerator, self._need(launch)
        plain = need.plain() if need is not None else {}
        told = Submission(
            tag=secrets.token_hex(TAG_BYTES),
            job=launch.job,
            fence=launch.fence,
            ranks=spec.num_nodes,
            guard=launch.deadline_stop,
            cpu_milli=asked.cpu_milli,
            memory_bytes=asked.memory_bytes,
            accelerators=wanted.count if wanted else 0,
            watts=rated_w(wanted.model) if wanted else 0.0,
            time_limit_s=spec.time_limit_s,
            asked=plain,
            strategy=inventory.strategy(plain, spec.num_nodes, self._offered(), self._settings),
        )
        return replace(told, id=orders.submission_id(self._marked(told)))

    def submit(self, launch: Launch, told: Submission) -> Done:
        """Submit one attempt. Raises nothing: what goes wrong is its outcome."""
        need = self._need(launch)
        refusal = self._refusal(launch, told, need)
        if refusal or need is None:
            return Done(told=told, outcome=_failed(FailureClass.REFUSED, refusal))
        order = orders.order(
            launch,
            mark=self._marked(told),
            need=need,
            strategy=told.strategy,
            python=self._settings.python,
            programs=self._programs,
        )
        desk = Desk(launch.folder, told.ranks)
        plan = Plan.of(launch, keep=orders.KEEP, address_env=(orders.NODE_ADDRESS,))
        try:
            desk.prepare(launch, plan)
            keeping.write(launch.folder, told)
        except OSError as error:
            why = f"its folder could not be written: {error}"
            return Done(told=told, outcome=_failed(FailureClass.ENGINE, why))
        try:
            self._insist(lambda: self._speaker.submit(order))
            return Done(told=keeping.taken(launch.folder, told))
        except Declined as declined:
            return Done(told=told, outcome=_failed(FailureClass.REFUSED, declined.message))
        except Silent as silent:
            return Done(told=told, doubt=silent.message)
        except OSError as error:
            # The record without Ray's word is enough to find the job again, by its name.
            return Done(told=told, doubt=f"its record could not be written: {error}")

    def never(self, told: Submission) -> str:
        """Return why the nodes that were seen last can never hold an attempt; empty: they can, or
        more of them may come."""
        nodes = self._offered()
        if self._settings.grows or not nodes:
            return ""
        return inventory.lacking(told.asked, told.ranks, nodes, strategy=told.strategy)

    def _refusal(self, launch: Launch, told: Submission, need: Need | None) -> str:
        """Return why Ray is not even asked."""
        spec = launch.spec
        if launch.terminal is not None:
            return "this island runs its work through Ray, where a terminal cannot be attached"
        if spec.isolation not in ("", "process"):
            return f"isolation {spec.isolation!r} does not work here; what does: process"
        if spec.image:
            return "this island runs its work through Ray, without container images"
        if need is None:
            wanted = spec.resources.accelerator
            return f"no node of this Ray cluster has a {wanted.model if wanted else 'device'}"
        return self.never(told)

    def _need(self, launch: Launch) -> Need | None:
        return inventory.need(launch.spec.resources, self._offered(), self._settings)

    def _offered(self) -> tuple[Node, ...]:
        return inventory.offered(self._view(), self._settings.resources)

    def _insist(self, act: Callable[[], None]) -> None:
        """Try a few times, unless Ray took all its time to be silent: under its own name a job is
        never made twice."""
        give_up = time.monotonic() + self._settings.timeout_s / 2
        for _ in range(TRIES - 1):
            try:
                return act()
            except Silent:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(PAUSE_S)
        return act()

    def _marked(self, told: Submission) -> Mark:
        return Mark(island=self._mark, tag=told.tag, job=told.job, fence=told.fence)


def _failed(failure: FailureClass, message: str) -> Outcome:
    return Outcome(phase=Phase.FAILED, failure=failure, message=message)
