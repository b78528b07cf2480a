"""Hands attempts to an engine: the folder first, the record second, the engine last."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypedDict

from causeway.adapters.outside.attempts import S
from causeway.adapters.outside.keeping import Kept
from causeway.adapters.outside.speaking import Declined, PartlyDeclined, Silent
from causeway.adapters.runner import Desk, Plan
from causeway.adapters.runner.ends import Outcome, failed
from causeway.model.jobs import FailureClass
from causeway.ports.engine import Launch

TAG_BYTES = 8
TRIES = 3
TRY_WAIT_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Generic[S]):
    """What became of a submission."""

    told: S
    outcome: Outcome | None = None
    """How it ended at once, when nothing of it was taken."""
    doubt: Outcome | None = None
    """How it ends when the engine may have it, or a part of it."""
    silence: str = ""
    """What there was instead of an answer."""


class Common(TypedDict):
    """What every engine's submission says of a launch."""

    tag: str
    job: str
    fence: int
    ranks: int
    guard: bool
    memory_bytes: int
    accelerators: int
    time_limit_s: float


class Submitter(Generic[S]):
    """Has an engine take launches. Used by several threads at a time; each call blocks.

    An adapter says how: `submission`, `refusal`, `plan` and `hand_over`.
    """

    def __init__(self, *, engine: str, mark: str, kept: Kept[S]) -> None:
        self.engine = engine
        self.mark = mark
        self._kept = kept

    # -- what the adapter says ------------------------------------------------------------------

    def submission(self, launch: Launch) -> S:
        """Return what is to be written down of a launch."""
        raise NotImplementedError

    def refusal(self, launch: Launch, told: S) -> str:
        """Return why the engine is not even asked; empty: it is."""
        raise NotImplementedError

    def plan(self, launch: Launch) -> Plan:
        """Return what every runner is to do."""
        raise NotImplementedError

    def hand_over(self, launch: Launch, told: S, desk: Desk) -> S:
        """Have the engine take it; return the record with what the engine said.

        Raises `Declined`, `PartlyDeclined` or `Silent`.
        """
        raise NotImplementedError

    # -- the same for all -----------------------------------------------------------------------

    def submit(self, launch: Launch, told: S) -> Done[S]:
        """Submit one attempt. What an engine or a disk does to it is its outcome."""
        why = self.refusal(launch, told)
        if why:
            return Done(told=told, outcome=failed(FailureClass.REFUSED, why))
        desk = Desk(launch.folder, told.ranks)
        try:
            desk.prepare(launch, self.plan(launch))
            self._kept.write(launch.folder, told)
        except OSError as error:
            why = f"its folder could not be written: {error}"
            return Done(told=told, outcome=failed(FailureClass.ENGINE, why))
        try:
            known = self.hand_over(launch, told, desk)
        except Declined as declined:
            return Done(told=told, outcome=failed(FailureClass.REFUSED, declined.message))
        except PartlyDeclined as declined:
            return Done(told=told, doubt=failed(FailureClass.REFUSED, declined.message))
        except Silent as silent:
            why = f"it was not submitted: {silent.message}"
            doubt = failed(FailureClass.ENGINE, why)
            return Done(told=told, doubt=doubt, silence=silent.message)
        try:
            self._kept.write(launch.folder, known)
        except OSError as error:
            # The first record is enough to find it again, by its tag.
            why = f"it was not submitted: its record could not be written: {error}"
            return Done(told=told, doubt=failed(FailureClass.ENGINE, why))
        return Done(told=known)

    def common(self, launch: Launch) -> Common:
        """Return the fields of a submission that mean the same everywhere."""
        spec, need = launch.spec, launch.spec.resources
        return {
            "tag": secrets.token_hex(TAG_BYTES),
            "job": launch.job,
            "fence": launch.fence,
            "ranks": spec.num_nodes,
            "guard": launch.deadline_stop,
            "memory_bytes": need.memory_bytes,
            "accelerators": need.accelerator.count if need.accelerator else 0,
            "time_limit_s": spec.time_limit_s,
        }

    def unfit(self, launch: Launch, *, isolation: tuple[str, ...]) -> str:
        """Return why no engine outside the agent runs a launch; `isolation` is what works here."""
        spec = launch.spec
        if launch.terminal is not None:
            where = f"this island runs its work through {self.engine}"
            return f"{where}, where a terminal cannot be attached"
        if spec.isolation not in ("", *isolation):
            offers = ", ".join(isolation)
            return f"isolation {spec.isolation!r} does not work here; what does: {offers}"
        return ""

    def without_images(self, launch: Launch) -> str:
        """Return why an engine refuses a launch that names an image, where it runs none."""
        where = f"this island runs its work through {self.engine}"
        return f"{where}, without container images" if launch.spec.image else ""


def insist(act: Callable[[], None], *, give_up_s: float) -> None:
    """Try something a few times that may be done twice without harm, unless the engine took all the
    time to be silent."""
    give_up = time.monotonic() + give_up_s
    for _ in range(TRIES - 1):
        try:
            return act()
        except Silent:
            if time.monotonic() >= give_up:
                raise
            time.sleep(TRY_WAIT_S)
    return act()
