"""What a case is: a name, one sentence that says what it shows, what it needs, and a function.

A case is registered where it is written and judged by itself. It is given a `Bench` and says what
it expects with `expect`; the first thing that is not so ends it. What an engine does not claim is
not asked of it where there is nothing else to ask; where there is (attempts that do not outlive the
agent must all be gone after it), the case asks for that, and is no case less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from causeway.model.errors import CausewayError

if TYPE_CHECKING:
    from causeway.conformance.bench import Bench


class Claim(StrEnum):
    """What an engine may lack, with a sentence why in its profile (`lacks`)."""

    GANGS = "gangs"
    """Several ranks of one attempt, all or none."""
    SETUP = "setup"
    """A script that runs once before the ranks."""
    GRACE = "grace"
    """A program that is stopped hears SIGTERM and has its grace."""
    TIME_LIMIT = "time_limit"
    """What runs longer than its limit is ended."""
    MEMORY_LIMIT = "memory_limit"
    """What uses more memory than it asked for is ended."""
    RESTARTS = "restarts"
    """A gang that saves checkpoints is started again in place when a rank is killed."""
    USAGE = "usage"
    """CPU time of each attempt."""
    STREAMS = "streams"
    """Standard output and standard error, each in its own log."""
    DAEMON = "daemon"
    """A daemon of its own, apart from the agent."""
    RECORDS = "records"
    """Records of jobs that others can see."""
    ENVIRONMENT = "environment"
    """Nothing but what the launch gives, and what the engine documents, reaches a job."""


class Hook(StrEnum):
    """What a case needs the profile to say; without it the case is not run."""

    RESTART_DAEMON = "restart_daemon"
    STOP_DAEMON = "stop_daemon"
    START_DAEMON = "start_daemon"
    RECORDS = "records"
    SMALL_FOLDER = "small_folder"


class Place(StrEnum):
    """Which engine a case works on."""

    SHARED = "shared"
    """The one that most cases share, several at the same time."""
    OWN = "own"
    """One on a root of its own: it is closed, killed or opened with another clock."""
    ALONE = "alone"
    """One on a root of its own, while nothing else is run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One registered case."""

    name: str
    shows: str
    check: Callable[[Bench], None]
    claims: tuple[Claim, ...] = ()
    hooks: tuple[Hook, ...] = ()
    place: Place = Place.SHARED


class Unmet(CausewayError):
    """The engine did not do what the port promises."""


_REGISTERED: dict[str, Case] = {}


def case(
    name: str,
    shows: str,
    *,
    claims: tuple[Claim, ...] = (),
    hooks: tuple[Hook, ...] = (),
    place: Place = Place.SHARED,
) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Register a function as a case."""

    def keep(check: Callable[[Bench], None]) -> Callable[[Bench], None]:
        assert name not in _REGISTERED, f"two cases are called {name}"
        _REGISTERED[name] = Case(
            name=name, shows=shows, check=check, claims=claims, hooks=hooks, place=place
        )
        return check

    return keep


def registered() -> Mapping[str, Case]:
    """Return every case by name, in the order in which they are written."""
    from causeway.conformance import cases

    cases.load()
    return dict(_REGISTERED)


def expect(true: object, otherwise: str) -> None:
    """Go on when it is so; else end the case with this sentence."""
    if not true:
        raise Unmet(otherwise)
