"""sacct: jobs that ended, and those that have not. Steps are not accounted for."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from causeway.model.errors import InvalidInput
from causeway.shim import spool
from causeway.shim.centre import Centre, View, wanted
from causeway.shim.columns import SACCT_LISTED, SACCT_NAMES
from causeway.shim.commands.squeue import rows_of
from causeway.shim.rows import COMPACT, Row
from causeway.shim.speech import show
from causeway.shim.table import Cell, sacct_cells, sacct_header, sacct_lines
from causeway.shim.words import FLAG, VALUE, Given, read

OPTIONS = {
    "jobs": ("j", VALUE), "job": ("", VALUE), "format": ("o", VALUE), "parsable": ("p", FLAG),
    "parsable2": ("P", FLAG), "noheader": ("n", FLAG), "allocations": ("X", FLAG),
    "starttime": ("S", VALUE), "endtime": ("E", VALUE), "state": ("s", VALUE),
    "user": ("u", VALUE), "uid": ("", VALUE), "allusers": ("a", FLAG), "name": ("", VALUE),
    "brief": ("b", FLAG), "delimiter": ("", VALUE), "helpformat": ("e", FLAG),
    "clusters": ("M", VALUE), "duplicates": ("D", FLAG), "units": ("", VALUE),
    "accounts": ("A", VALUE), "partition": ("r", VALUE), "array": ("", FLAG), "long": ("l", FLAG),
    "help": ("h", FLAG), "usage": ("", FLAG), "verbose": ("v", FLAG), "truncate": ("T", FLAG),
    "local": ("", FLAG), "noconvert": ("", FLAG),
}  # fmt: skip
DEFAULT = "JobID,JobName,Partition,Account,AllocCPUS,State,ExitCode"
BRIEF = "JobID,State,ExitCode"


def run(words: Sequence[str]) -> int:
    """Print the accounting."""
    given = read(words, OPTIONS)
    if "helpformat" in given:
        show(SACCT_LISTED)
        return 0
    wish = given.text("format") or os.environ.get("SACCT_FORMAT") or ""
    cells = sacct_cells(wish or (BRIEF if "brief" in given else DEFAULT), SACCT_NAMES)
    now_ms = time.time_ns() // 1_000_000
    centre = Centre()
    place = spool.spool_of(centre.settings.url, os.environ)
    spool.see_to_delivery(place)
    jobs = _jobs(given, centre, now_ms)
    rows = [one for one in rows_of(jobs, centre, place) if _meant(given, one, now_ms)]
    rows.sort(key=lambda one: (one.array, one.number))
    show(_written(given, cells, rows, now_ms))
    return 0


def _written(given: Given, cells: list[Cell[Row]], rows: list[Row], now_ms: int) -> list[str]:
    header = "noheader" not in given
    if "parsable" in given or "parsable2" in given:
        between = given.text("delimiter", "|")
        end = between if "parsable" in given else ""
        titles = [between.join(cell.column.title for cell in cells) + end] if header else []
        return titles + [
            between.join(cell.column.read(one, now_ms) for cell in cells) + end for one in rows
        ]
    return (sacct_header(cells) if header else []) + sacct_lines(cells, rows, now_ms=now_ms)


def _jobs(given: Given, centre: Centre, now_ms: int) -> list[View]:
    named = [*given.each("jobs"), *given.each("job")]
    if named:
        return centre.find([wanted(name) for name in named])[0]
    midnight = datetime.fromtimestamp(now_ms / 1000).astimezone().replace(
        hour=0, minute=0, second=0, microsecond=0
    )  # fmt: skip
    start = given.text("starttime")
    return centre.since(_instant_ms(start, now_ms) if start else round(midnight.timestamp() * 1000))


def _instant_ms(text: str, now_ms: int) -> int:
    """Read a time of `-S` or `-E` in this machine's zone."""
    now = datetime.fromtimestamp(now_ms / 1000).astimezone()
    if text.lower() == "now":
        return now_ms
    if text.lower() == "today":
        return round(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)
    if text.lower().startswith("now-"):
        count = "".join(c for c in text[4:] if c.isdigit())
        unit = text[4 + len(count) :].lower() or "seconds"
        for name in ("seconds", "minutes", "hours", "days", "weeks"):
            if count and name.startswith(unit):
                return round((now - timedelta(**{name: int(count)})).timestamp() * 1000)
    forms = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%m/%d/%y", "%H:%M:%S", "%H:%M")
    for form in forms:
        try:
            read_ = datetime.strptime(text, form)
        except ValueError:
            continue
        if form.startswith("%H"):
            read_ = read_.replace(year=now.year, month=now.month, day=now.day)
        return round(read_.astimezone().timestamp() * 1000)
    raise InvalidInput(f"Invalid time specification: {text}")


def _meant(given: Given, one: Row, now_ms: int) -> bool:
    states = _states(given)
    end = given.text("endtime")
    names, partitions = given.each("name"), given.each("partition")
    return (
        (not states or one.state in states)
        and (not end or one.submitted_ms <= _instant_ms(end, now_ms))
        and (not names or one.name in names)
        and (not partitions or bool(set(partitions) & set(one.partition.split(","))))
    )


def _states(given: Given) -> list[str]:
    short = {compact: state for state, compact in COMPACT.items()}
    return [short.get(word.upper(), word.upper()) for word in given.each("state")]
