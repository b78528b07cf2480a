"""The fault library: last words -> cause -> action, as data; and classes of exit codes.

The table is `faults.toml` next to this file, edited without touching code. The room only parses its
text; reading the file is the shell's. A text may show several signals of one incident: causes go
before symptoms, in the order of the table, and one incident is one failure however many signals it
left.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from causeway.model.errors import InvalidInput
from causeway.model.jobs import FailureClass

FAULTS_FILE = "faults.toml"
"""Name of the table within this package."""
LOOKED_AT_CHARS = 16_384
"""Only the end of a message is searched; the cause stands near the end."""


class Action(StrEnum):
    """What to do, from the lightest to the heaviest."""

    IGNORE = "ignore"
    WATCH = "watch"
    RESTART_PROCESS = "restart_process"
    """Start the dead rank again in place."""
    RESTART_JOB = "restart_job"
    """A new attempt from the newest checkpoint, anywhere."""
    RESET_DEVICE = "reset_device"
    PRE_SEPARATE = "pre_separate"
    """No new work on the device."""
    SEPARATE = "separate"
    """Take the node out; run elsewhere."""
    REBOOT_NODE = "reboot_node"
    STOP_JOB = "stop_job"
    """The job's own fault: no retry cures it."""


class FaultKind(StrEnum):
    CAUSE = "cause"
    """It explains what happened."""
    SYMPTOM = "symptom"
    """It only says that something did; never counted as a cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One entry of the library."""

    code: str
    pattern: re.Pattern[str]
    kind: FaultKind
    layer: str
    """device, host, net, storage, user, sdc."""
    vendor: str
    failure: FailureClass
    action: Action
    cause: str
    """A sentence for a person."""
    hint: str
    """What that person may try; empty where it is not theirs to mend."""
    source: str


def parse(text: str) -> tuple[Fault, ...]:
    """Parse the table; `InvalidInput` names the entry that is wrong."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise InvalidInput(f"the fault library is no TOML: {problem}") from problem
    entries = table.get("fault", [])
    faults = tuple(_fault(entry, where=f"fault[{i}]") for i, entry in enumerate(entries))
    if len({fault.code for fault in faults}) != len(faults):
        raise InvalidInput("the fault library has a code twice", where="fault")
    return faults


def _fault(entry: dict[str, str], *, where: str) -> Fault:
    try:
        return Fault(
            code=entry["code"],
            pattern=re.compile(entry["pattern"], re.IGNORECASE),
            kind=FaultKind(entry["kind"]),
            layer=entry["layer"],
            vendor=entry.get("vendor", ""),
            failure=FailureClass(entry["failure"]),
            action=Action(entry["action"]),
            cause=entry["cause"],
            hint=entry.get("hint", ""),
            source=entry["source"],
        )
    except (KeyError, TypeError, ValueError, re.error) as problem:
        raise InvalidInput(f"this fault cannot be used ({problem!r})", where=where) from problem


def diagnose(message: str, faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults that the text shows, causes before symptoms, else in table order."""
    end = message[-LOOKED_AT_CHARS:]
    found = [fault for fault in faults if fault.pattern.search(end)]
    return tuple(sorted(found, key=lambda fault: fault.kind is FaultKind.SYMPTOM))


EXIT_CLASSES: dict[int, FailureClass] = {
    124: FailureClass.LIMIT,
    130: FailureClass.USER,
    137: FailureClass.NODE,
    143: FailureClass.NODE,
}
"""Exit codes that say more than "the program failed": 124 is `timeout`'s, 130 is Ctrl-C. A SIGKILL
(137) or SIGTERM (143) that nobody here sent comes from the machine: its memory ran out, or it is
shutting down. Every other code is the program's own."""


def classify(exit_code: int | None, message: str, faults: Iterable[Fault] = ()) -> FailureClass:
    """Return the class of a bad end: by what the text shows, else by the exit code.

    No exit code at all means that the engine lost sight of the program. Negative codes are signals,
    as `subprocess` gives them.

    >>> classify(1, "").value, classify(-9, "").value, classify(None, "").value
    ('user', 'node', 'engine')
    """
    found = diagnose(message, faults)
    if found:
        return found[0].failure
    if exit_code is None:
        return FailureClass.ENGINE
    code = 128 - exit_code if exit_code < 0 else exit_code
    return EXIT_CLASSES.get(code, FailureClass.USER)
