"""Hands attempts to Kubernetes: the folder first, the record second, the objects last."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from causeway.adapters.kubernetes import inventory, keeping, objects
from causeway.adapters.kubernetes.attempts import Submission
from causeway.adapters.kubernetes.ledger import failed
from causeway.adapters.kubernetes.settings import Settings
from causeway.adapters.kubernetes.speaker import Declined, Silent, Speaker
from causeway.adapters.kubernetes.values import Cluster, Thing
from causeway.adapters.local import images
from causeway.adapters.runner import Desk, Plan
from causeway.adapters.runner.ends import Outcome
from causeway.model.jobs import FailureClass
from causeway.ports.engine import Launch

TAG_BYTES = 8
TRIES = 3
TRY_WAIT_S = 0.5
MIB = 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of handing an attempt over."""

    told: Submission
    outcome: Outcome | None = None
    """How it ended at once, when nothing of it was taken."""
    doubt: Outcome | None = None
    """How it ends when a part of it may be there, and must go first."""


class Submitter:
    """Makes objects of launches. Used by several threads at a time; each call blocks."""

    def __init__(
        self,
        speaker: Speaker,
        settings: Settings,
        *,
        mark: str,
        program: Path,
        view: Callable[[], Cluster],
    ) -> None:
        """`view` returns the cluster as it was seen last."""
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
            cpu_milli=max(objects.CPU_MILLI_MIN, need.cpu_milli),
            memory_bytes=need.memory_bytes,
            accelerators=wanted.count if wanted else 0,
            watts=inventory.rated_w(wanted),
            time_limit_s=spec.time_limit_s,
        )

    def submit(self, launch: Launch, told: Submission) -> Done:
        """Hand one attempt over. Raises nothing: what goes wrong is its outcome."""
        wish = inventory.wish(launch.spec.resources.accelerator, self._view(), self._settings)
        why = self._refusal(launch, wish)
        if why or wish is None:
            return Done(told=told, outcome=failed(FailureClass.REFUSED, why))
        terms = self._terms()
        desk = Desk(launch.folder, launch.spec.num_nodes)
        plan = Plan.of(
            launch, keep=objects.KEEP, address_env=(objects.ADDRESS,), rank_env=objects.INDEX_ENV
        )
        try:
            desk.prepare(launch, plan)
            keeping.write(launch.folder, told)
        except OSError as error:
            message = f"its folder could not be written: {error}"
            return Done(told=told, outcome=failed(FailureClass.ENGINE, message))
        command = desk.command(self._program, python=self._settings.python)
        wanted = objects.things(launch, terms, tag=told.tag, wish=wish, command=command)
        return self._make_all(wanted, launch.folder, told)

    def _make_all(self, wanted: tuple[Thing, ...], folder: Path, told: Submission) -> Done:
        for number, thing in enumerate(wanted):
            try:
                self._make(thing)
            except Declined as declined:
                outcome = failed(FailureClass.REFUSED, declined.message)
                return (
                    Done(told=told, doubt=outcome) if number else Done(told=told, outcome=outcome)
                )
            except Silent as silent:
                message = f"it was not handed over: {silent.message}"
                return Done(told=told, doubt=failed(FailureClass.ENGINE, message))
        made = replace(told, made=True)
        try:
            keeping.write(folder, made)
        except OSError as error:
            message = f"its record could not be written: {error}"
            return Done(told=told, doubt=failed(FailureClass.ENGINE, message))
        return Done(told=made)

    def _make(self, thing: Thing) -> None:
        """Make an object; asked again after a silence, since a second one would be a conflict."""
        for _ in range(TRIES - 1):
            try:
                self._speaker.make(thing)
                return
            except Silent:
                time.sleep(TRY_WAIT_S)
        self._speaker.make(thing)

    def _refusal(self, launch: Launch, wish: objects.Wish | None) -> str:
        """Return why Kubernetes is not even asked; nothing when it is."""
        spec = launch.spec
        if launch.terminal is not None:
            return "this island runs its work in Kubernetes, where a terminal cannot be attached"
        if spec.isolation not in ("", *inventory.ISOLATION):
            offers = ", ".join(inventory.ISOLATION)
            return f"isolation {spec.isolation!r} does not work here; what does: {offers}"
        image = images.refusal(spec.image) if spec.image else ""
        if image or spec.image.startswith(images.ARCHIVE):
            return image or "Kubernetes pulls images from registries, and takes no archive of one"
        if wish is None and spec.resources.accelerator is not None:
            model = spec.resources.accelerator.model or "accelerators"
            return f"no node that work may go to here has {model}"
        if wish is not None and wish.device_class and not self._terms().dra:
            return "the profile names a device class, and the cluster has no such (resource.k8s.io)"
        return ""

    def _terms(self) -> objects.Terms:
        return objects.Terms(
            settings=self._settings,
            island=self._mark,
            groups=self._view().groups,
            user=os.getuid(),
            group=os.getgid(),
            program=self._program,
        )
