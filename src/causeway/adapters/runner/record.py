"""What a runner wrote, as values. Pure: bytes in, values out."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from causeway.model.values import replace

LINE_BYTES = 96
"""Length of a line of a beat or a grant; `program.LINE_BYTES` is the same."""
RECORD_BYTES_MAX = 64 * 1024


class End(StrEnum):
    """What ended a rank."""

    EXIT = "exit"
    """Its own program."""
    STOP = "stop"
    """It was asked to stop."""
    LEASE = "lease"
    """Its lease was not granted further, or not at all."""
    LIMIT = "limit"
    """Its time limit."""
    SIGNAL = "signal"
    """A SIGTERM that came from the engine or from a person."""
    START = "start"
    """Its program could not be started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A sign of life, with what the rank uses."""

    number: int
    age_ms: int
    """Since its first process started; 0 before."""
    cpu_ms: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSeen:
    """What is known of one rank from its record."""

    host: str = ""
    waiting: bool = False
    """A runner has begun, and waits for its first grant."""
    again: bool = False
    """A second runner of it came, and went without doing anything."""
    started_ms: int = 0
    """When its first process started, by its node's wall clock; 0: not yet."""
    end: End | None = None
    part: str = ""
    """`setup` or `run`: what ended."""
    code: int | None = None
    """Exit code in the shell's convention; None when no program of it had started."""
    ran_ms: int = 0
    cpu_ms: int = 0
    memory_bytes: int = 0
    ended_ms: int = 0
    """By its node's wall clock."""
    message: str = ""
    """Why its program could not be started."""


def parse_record(data: bytes) -> RankSeen:
    """Return what a record says. A last line that is not whole yet is left out."""
    seen = RankSeen()
    for line in data.split(b"\n")[:-1]:
        try:
            said = json.loads(line)
        except ValueError:
            # Cut short by a power cut; what was appended after it counts.
            continue
        if isinstance(said, dict):
            seen = _after(seen, said)
    return seen


def _after(seen: RankSeen, said: dict[str, Any]) -> RankSeen:
    match said.get("event"):
        case "waiting":
            return replace(seen, waiting=True, host=str(said.get("host", "")))
        case "again":
            return replace(seen, again=True)
        case "started":
            return replace(seen, started_ms=int(said["at_ms"]))
        case "refused":
            return replace(seen, message=str(said.get("message", "")))
        case "ended":
            return replace(
                seen,
                end=End(said["end"]),
                part=str(said.get("part", "run")),
                code=said.get("code"),
                ran_ms=int(said.get("ran_ms", 0)),
                cpu_ms=int(said.get("cpu_ms", 0)),
                memory_bytes=int(said.get("memory_bytes", 0)),
                ended_ms=int(said["at_ms"]),
            )
    return seen


def parse_beat(line: bytes) -> Beat | None:
    """Return a beat; None while there is none, or half of one."""
    numbers = unseal(line)
    if numbers is None or len(numbers) != 4:
        return None
    number, age_ms, cpu_ms, memory_bytes = numbers
    return Beat(number=number, age_ms=age_ms, cpu_ms=cpu_ms, memory_bytes=memory_bytes)


def seal(*numbers: int) -> bytes:
    """Return numbers as one line of fixed length with their checksum.

    >>> seal(3, 2500, -1).strip()
    b'3 2500 -1 7b3bf498'
    """
    text = " ".join(map(str, numbers))
    return f"{text} {zlib.crc32(text.encode()):08x}".ljust(LINE_BYTES - 1).encode() + b"\n"


def unseal(line: bytes) -> list[int] | None:
    """Return the numbers of a line; None when it is empty or was caught half written.

    >>> unseal(seal(3, 2500, -1)), unseal(b"3 2600 -1 7b3bf498"), unseal(b"")
    ([3, 2500, -1], None, None)
    """
    text, _, checksum = line.decode("ascii", "replace").strip().rpartition(" ")
    if not text or checksum != f"{zlib.crc32(text.encode()):08x}":
        return None
    return [int(number) for number in text.split(" ")]
