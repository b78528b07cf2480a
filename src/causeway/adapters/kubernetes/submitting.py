"""Hands attempts to Kubernetes: its objects, one after another."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from causeway.adapters.kubernetes import inventory, objects
from causeway.adapters.kubernetes.attempts import Submission
from causeway.adapters.kubernetes.settings import Settings
from causeway.adapters.kubernetes.speaker import Speaker
from causeway.adapters.kubernetes.values import Cluster
from causeway.adapters.local import images
from causeway.adapters.outside import submitting
from causeway.adapters.outside.devices import rated_w
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.speaking import Declined, PartlyDeclined
from causeway.adapters.outside.submitting import insist
from causeway.adapters.runner import Desk, Plan
from causeway.ports.engine import Launch


class Submitter(submitting.Submitter[Submission]):
    """Makes objects of launches."""

    def __init__(
        self,
        speaker: Speaker,
        settings: Settings,
        *,
        mark: str,
        kept: Kept[Submission],
        program: Path,
        view: Callable[[], Cluster],
    ) -> None:
        """`view` returns the cluster as it was seen last."""
        super().__init__(engine="Kubernetes", mark=mark, kept=kept)
        self._speaker = speaker
        self._settings = settings
        self._program = program
        self._view = view

    def submission(self, launch: Launch) -> Submission:
        wanted = launch.spec.resources.accelerator
        return Submission(
            **self.common(launch),
            cpu_milli=max(objects.CPU_MILLI_MIN, launch.spec.resources.cpu_milli),
            watts=rated_w(wanted.model) if wanted else 0.0,
        )

    def plan(self, launch: Launch) -> Plan:
        return Plan.of(
            launch, keep=objects.KEEP, address_env=(objects.ADDRESS,), rank_env=objects.INDEX_ENV
        )

    def hand_over(self, launch: Launch, told: Submission, desk: Desk) -> Submission:
        wish = self._wish(launch)
        assert wish is not None, "a launch without one is refused"
        command = desk.command(self._program, python=self._settings.python)
        wanted = objects.things(launch, self._terms(), tag=told.tag, wish=wish, command=command)
        give_up_s = self._settings.timeout_s / 2
        for number, thing in enumerate(wanted):
            try:
                # Asked again after a silence: a second one would be a conflict.
                insist(partial(self._speaker.make, thing), give_up_s=give_up_s)
            except Declined as declined:
                if number:
                    raise PartlyDeclined(declined.message) from declined
                raise
        return replace(told, taken=True)

    def refusal(self, launch: Launch, told: Submission) -> str:
        spec, wish = launch.spec, self._wish(launch)
        why = self.unfit(launch, isolation=inventory.ISOLATION)
        if not why and spec.image:
            why = images.refusal(spec.image)
        if not why and spec.image.startswith(images.ARCHIVE):
            why = "Kubernetes pulls images from registries, and takes no archive of one"
        if not why and wish is None:
            wanted = spec.resources.accelerator
            what = (wanted.model if wanted else "") or "accelerators"
            why = f"no node that work may go to here has {what}"
        if not why and wish is not None and wish.device_class and not self._terms().dra:
            why = "the profile names a device class, and the cluster has no such (resource.k8s.io)"
        return why

    def _wish(self, launch: Launch) -> objects.Wish | None:
        return inventory.wish(launch.spec.resources.accelerator, self._view(), self._settings)

    def _terms(self) -> objects.Terms:
        return objects.Terms(
            settings=self._settings,
            island=self.mark,
            groups=self._view().groups,
            user=os.getuid(),
            group=os.getgid(),
            program=self._program,
        )
