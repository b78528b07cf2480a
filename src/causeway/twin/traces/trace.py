"""A trace: columns of jobs in the order of arrival, and an account of what was not taken.

Two things may be wrong with a row. What cannot be read at all (a truncated line, a word where a
number has to be) is an error with the file and the line: whatever comes after it cannot be trusted
either. What can be read but cannot have been a job that ran (it asks for no device, its length is
negative or unknown) is *set aside*: it is counted as submitted and as rejected, with the reason and
the first line that has it, so that no row is lost silently. Rows out of order are put in order, and
that is counted too. A job of length zero is a job.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causeway.model.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job of a history, as a loader read it."""

    line: int
    """Where it stands in its file, from 1; 0: it has no line."""
    arrival_s: float
    duration_s: float
    """How long it ran; NaN: it is not known."""
    devices: float
    tenant: str = ""
    pool: str = ""
    cpus: float = 0.0
    memory_mib: float = 0.0
    limit_s: float = math.nan
    """How long it asked to run; NaN: it did not say."""
    deadline_s: float = math.nan
    """By when it had to be done, on the clock of `arrival_s`; NaN: it did not say."""
    aside: str = ""
    """Why the loader does not take it for a job; empty: it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """Rows that cannot be replayed, for one reason."""

    reason: str
    count: int
    line: int
    """The first of them; 0: rows have no lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Jobs in the order of arrival; the first arrives at 0."""

    source: str
    """Which file or files, in words."""
    arrival_s: Floats
    duration_s: Floats
    devices: NDArray[np.int64]
    tenant: NDArray[Any]
    pool: NDArray[Any]
    cpus: Floats
    memory_mib: Floats
    limit_s: Floats
    deadline_s: Floats
    """On the clock of `arrival_s`."""
    aside: tuple[Aside, ...] = ()
    unordered: int = 0
    """Rows that stood before one of an earlier arrival."""
    notes: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def submitted(self) -> int:
        """All rows, those set aside among them."""
        return len(self) + sum(one.count for one in self.aside)

    def where(self, keep: NDArray[np.bool_], reason: str) -> Trace:
        """Return the trace without the jobs that are not kept; they are set aside."""
        left = int(len(keep) - keep.sum())
        more = (Aside(reason=reason, count=left, line=0),) if left else ()
        return self._taken(keep, aside=(*self.aside, *more))

    def window(self, keep: NDArray[np.bool_]) -> Trace:
        """Return a part of the trace as a trace of its own: what is outside was never submitted."""
        return self._taken(keep, aside=())

    def _taken(self, keep: NDArray[Any], *, aside: tuple[Aside, ...]) -> Trace:
        return Trace(
            source=self.source,
            arrival_s=self.arrival_s[keep],
            duration_s=self.duration_s[keep],
            devices=self.devices[keep],
            tenant=self.tenant[keep],
            pool=self.pool[keep],
            cpus=self.cpus[keep],
            memory_mib=self.memory_mib[keep],
            limit_s=self.limit_s[keep],
            deadline_s=self.deadline_s[keep],
            aside=aside,
            unordered=self.unordered,
            notes=self.notes,
        )


def collect(rows: Iterable[Row], *, source: str) -> Trace:
    """Return the trace of rows in any order.

    Raises:
        InvalidInput: a row has no arrival, or there is no row at all.
    """
    kept: list[Row] = []
    aside: dict[str, list[int]] = {}
    for row in rows:
        if not math.isfinite(row.arrival_s):
            raise InvalidInput(f"{source}: a job has no time of arrival", where=f"line {row.line}")
        reason = row.aside or _reason(row)
        if reason:
            aside.setdefault(reason, []).append(row.line)
        else:
            kept.append(row)
    if not kept and not aside:
        raise InvalidInput(f"{source} holds no job")
    arrivals = np.array([row.arrival_s for row in kept], dtype=np.float64)
    order = np.argsort(arrivals, kind="stable")
    highest = np.maximum.accumulate(arrivals) if len(arrivals) else arrivals
    zero = float(arrivals.min()) if len(arrivals) else 0.0
    ordered = [kept[i] for i in order]
    return Trace(
        source=source,
        arrival_s=arrivals[order] - zero,
        duration_s=_floats(row.duration_s for row in ordered),
        devices=np.array([int(row.devices) for row in ordered], dtype=np.int64),
        tenant=np.array([row.tenant for row in ordered], dtype=object),
        pool=np.array([row.pool for row in ordered], dtype=object),
        cpus=_floats(row.cpus for row in ordered),
        memory_mib=_floats(row.memory_mib for row in ordered),
        limit_s=_floats(row.limit_s for row in ordered),
        deadline_s=_floats(row.deadline_s - zero for row in ordered),
        aside=tuple(
            Aside(reason=reason, count=len(lines), line=min(lines))
            for reason, lines in sorted(aside.items())
        ),
        unordered=int((arrivals < highest).sum()),
    )


def _reason(row: Row) -> str:
    if not math.isfinite(row.duration_s):
        return "its length is not known"
    if row.duration_s < 0.0:
        return "it ends before it begins"
    if not math.isfinite(row.devices) or row.devices != int(row.devices):
        return "it asks for a part of a device"
    return "it asks for no device" if row.devices < 1 else ""


def _floats(values: Iterable[float]) -> Floats:
    return np.fromiter(values, dtype=np.float64)
