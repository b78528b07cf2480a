"""What a decision on the next round has to know of a job, and how a round is filled.

Time is cut into rounds. In a round a job holds all the GPUs it asked for or none, and the only
question is who. A job's own speed may change while it runs, because it changes its batch size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


class Member(Protocol):
    """A job as a decision sees it."""

    @property
    def key(self) -> int:
        """Unique, and growing with submission: the last tie-break of every order."""

    @property
    def gpus(self) -> int: ...

    @property
    def submitted_s(self) -> float: ...

    @property
    def left_now_s(self) -> float:
        """Seconds of running to do at the present batch size: all that a policy knows that does
        not foresee changes of the batch."""

    @property
    def left_s(self) -> float:
        """Seconds of running to do, by the job's own plan of batch sizes."""

    @property
    def alone_s(self) -> float:
        """Seconds it would run in all with its GPUs to itself, by that plan."""

    @property
    def ran_s(self) -> float:
        """Seconds it has run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The GPUs of a round."""

    gpus: int
    round_s: float = 120.0


class Choose(Protocol):
    """One policy: who runs in the round that begins now, in order of choice."""

    def __call__(self, now_s: float, members: Sequence[Member], pool: Pool) -> list[int]: ...


def fill(ordered: Iterable[Member], pool: Pool) -> list[int]:
    """Return the keys of those that fit, in order; who does not fit is passed over."""
    free, chosen = pool.gpus, []
    for member in ordered:
        if member.gpus <= free:
            chosen.append(member.key)
            free -= member.gpus
            if free == 0:
                break
    return chosen


def rho(member: Member, now_s: float, contention: float) -> float:
    """Return the finish-time fairness if it ran from now on; above 1 a fair part were better.

    The time from submission to such an end, over the time alone times the contention (Mahajan et
    al., NSDI 2020; the fixed contention of Zheng et al., NSDI 2023).
    """
    return (now_s - member.submitted_s + member.left_s) / (member.alone_s * contention)
