"""What is tried: an engine by its profile, and what the profile says for the suite.

The table `[engine.conformance]` of a profile is for the suite alone; no engine sees it:

    [engine.conformance]
    patience_s = 120
    many = 20
    restart_daemon = "systemctl restart slurmctld"
    [engine.conformance.lacks]
    restarts = "Slurm's own requeue does this"
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from causeway.conformance.case import Claim
from causeway.model.errors import InvalidInput
from causeway.ports import Clock
from causeway.ports.engine import Engine

OPENER = "causeway.wiring:open_engine"


class Opener(Protocol):
    """Opens an engine for one island's root."""

    def __call__(self, profile: Path, *, root: Path, clock: Clock) -> Engine: ...


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a profile's `[engine.conformance]` says."""

    patience_s: float = 60.0
    """How long anything may take before it counts as never."""
    at_once: int = 4
    """Cases at the same time; the engine should have room for twice as many ranks."""
    many: int = 40
    """Jobs at the same time in the cases about load."""
    cpu_milli: int = 1000
    """What each rank of a case asks for, in thousandths of a core."""
    memory_mib: int = 256
    """What each rank of a case asks for."""
    restart_daemon: str = ""
    """Shell command that restarts the engine's daemon and returns when it is up again."""
    stop_daemon: str = ""
    """Shell command that takes the daemon away, while its jobs may run on."""
    start_daemon: str = ""
    """Shell command that brings the daemon back."""
    records: str = ""
    """Shell command that prints all that the engine shows others about jobs."""
    small_folder: str = ""
    """Folder on a file system of a few MiB that the engine's nodes see too."""
    variables: tuple[str, ...] = ()
    """How variables begin that the engine itself is known to give to every job."""
    lacks: Mapping[Claim, str] = {}
    """What the engine does not claim, and why."""


class OffsetClock:
    """The machine's clocks, the wall clock so far off."""

    def __init__(self, offset_ms: int = 0) -> None:
        self.offset_ms = offset_ms

    def now_ms(self) -> int:
        """Wall clock."""
        return time.time_ns() // 1_000_000 + self.offset_ms

    def monotonic_ms(self) -> int:
        """Monotonic clock."""
        return time.monotonic_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An engine that is tried."""

    profile: Path
    opener: str = OPENER
    """`module:function`, or the default, which reads the table `[engine]`."""
    settings: Settings = field(default_factory=Settings)

    def open(self, root: Path, clock: Clock) -> Engine:
        """Open it on a root; whatever is wrong with the profile is raised here."""
        return resolve(self.opener)(self.profile, root=root, clock=clock)


def resolve(opener: str) -> Opener:
    """Return the function behind `module:function`."""
    module, _, name = opener.partition(":")
    try:
        return cast(Opener, getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(
            f"the engine {opener!r} cannot be opened: {error}",
            hint="name it as module:function(profile, *, root, clock)",
        ) from None


def read(profile: Path, *, opener: str = OPENER) -> Subject:
    """Return what a profile names, or raise `InvalidInput` that says which setting is wrong."""
    import tomllib

    try:
        plain: Any = tomllib.loads(profile.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"the profile cannot be read: {error}", where=str(profile)) from None
    engine = plain.get("engine", {})
    table = engine.get("conformance", {}) if isinstance(engine, dict) else {}
    try:
        settings = msgspec.convert(table, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            str(error),
            where="$.engine.conformance",
            hint=f"lacks may name: {', '.join(Claim)}",
        ) from None
    return Subject(profile=profile.absolute(), opener=opener, settings=settings)


def child_environment() -> dict[str, str]:
    """Return what a child interpreter needs to import what this one can."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
