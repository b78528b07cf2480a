"""Slurm's own accounting, as `sacct --parsable2` prints it.

    sacct --allusers --allocations --parsable2 --starttime 2025-01-01 \\
      --format JobID,User,Account,Partition,Submit,Start,End,State,AllocTRES,ReqTRES,Timelimit

Devices are `gres/gpu` of what was allocated, or asked for where nothing was. Steps (`12.batch`)
belong to their job and are passed over; `--allocations` leaves them out anyway. A job that never
began or has not ended is set aside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from causeway.twin.traces.text import Line, lines
from causeway.twin.traces.trace import Row

NEEDS = ("JobID", "Submit", "Start", "End", "State")
_NEVER = frozenset({"", "Unknown", "None"})
_DAYS = re.compile(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?$")
_UNITS_MIB = {"K": 2.0**-10, "M": 1.0, "G": 2.0**10, "T": 2.0**20}


def accounting(path: Path) -> Iterator[Row]:
    """Yield the jobs of a file of `sacct --parsable2`."""
    for line in lines(path, delimiter="|", needs=NEEDS):
        if "." not in line.text_of("JobID"):
            yield _row(line)


def _row(line: Line) -> Row:
    asked = _tres(line.text_of("AllocTRES") or line.text_of("ReqTRES"))
    started = line.text_of("Start") not in _NEVER
    ended = line.text_of("End") not in _NEVER
    aside = ""
    if not started:
        aside = "it never began"
    elif not ended:
        aside = "it has not ended"
    duration_s = line.instant_s("End") - line.instant_s("Start") if not aside else math.nan
    return Row(
        line=line.number,
        arrival_s=line.instant_s("Submit"),
        duration_s=duration_s,
        devices=asked.get("gres/gpu", 0.0),
        tenant=line.text_of("Account") or line.text_of("User"),
        pool=line.text_of("Partition"),
        cpus=asked.get("cpu", 0.0),
        memory_mib=asked.get("mem", 0.0),
        limit_s=_limit_s(line),
        aside=aside,
    )


def _tres(text: str) -> dict[str, float]:
    """Return what a list of trackable resources says, memory in MiB.

    >>> _tres("billing=8,cpu=8,gres/gpu:a100=2,gres/gpu=2,mem=1.5G,node=1")["mem"]
    1536.0
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        unit = value[-1:].upper()
        number = value[:-1] if unit in _UNITS_MIB else value
        try:
            amount = float(number)
        except ValueError:
            continue
        found[name] = amount * _UNITS_MIB.get(unit, 1.0)
    if "gres/gpu" not in found:
        typed = [amount for name, amount in found.items() if name.startswith("gres/gpu:")]
        if typed:
            found["gres/gpu"] = sum(typed)
    return found


def _limit_s(line: Line) -> float:
    text = line.text_of("Timelimit")
    if text in {"", "UNLIMITED", "Partition_Limit", "INVALID"}:
        return math.nan
    parts = _DAYS.match(text)
    if parts is None:
        raise line.wrong("Timelimit", "and has to be [days-]hours:minutes[:seconds]")
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60.0 + seconds
