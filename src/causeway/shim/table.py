"""Columns: the fields of a job or a partition, and the two languages in which people ask for them.

    squeue -o '%.18i %9P|'           letters: size cuts, a point aligns to the right
    squeue -O 'JobID:.10,Name'       names: 20 wide unless told otherwise
    sacct --format=JobID%20,State    names: aligned to the right, `-` to the left, `+` marks a cut

Formats were taken from Slurm 22.05's own output and manual pages.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from causeway.model.errors import InvalidInput

T = TypeVar("T")
MIB = 1024**2
LONG_WIDTH = 20
_LETTER = re.compile(r"%(\.)?([0-9]{1,3})?(all|[A-Za-z])")
_NAMED = re.compile(r"([A-Za-z_]+)(?::(\.)?([0-9]{0,4})(.*))?\Z")
_SACCT = re.compile(r"([A-Za-z_]+)(?:%(-?[0-9]{1,4}))?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[T]):
    """One field."""

    title: str
    read: Callable[[T, int], str]
    """(row, now in ms) -> text."""
    width: int = 10
    """In sacct's table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell(Generic[T]):
    """One column as it was asked for."""

    column: Column[T]
    width: int = 0
    """0: as wide as its text."""
    right: bool = False
    after: str = ""
    """What follows it on the line."""


def by_letters(text: str, columns: Mapping[str, Column[T]]) -> tuple[str, list[Cell[T]]]:
    """Read a `-o` format; return what stands before its first field, and its cells."""
    matches = list(_LETTER.finditer(text))
    if not matches:
        return text, []
    cells = []
    for at, match in enumerate(matches):
        end = matches[at + 1].start() if at + 1 < len(matches) else len(text)
        column = columns.get(match[3])
        if column is None:
            raise InvalidInput(f"Invalid job format specification: {match[3]}")
        cells.append(
            Cell(
                column=column,
                width=int(match[2] or 0),
                right=bool(match[1]),
                after=text[match.end() : end],
            )
        )
    return text[: matches[0].start()], cells


def by_names(text: str, columns: Mapping[str, Column[T]]) -> list[Cell[T]]:
    """Read a `-O` format."""
    cells = []
    for piece in text.split(","):
        match = _NAMED.match(piece.strip())
        column = columns.get(match[1].lower()) if match else None
        if match is None or column is None:
            raise InvalidInput(f"Invalid job format specification: {piece.strip()}")
        cells.append(
            Cell(
                column=column,
                width=int(match[3] or LONG_WIDTH),
                right=bool(match[2]),
                after=match[4] or "",
            )
        )
    return cells


def lines(
    before: str, cells: Sequence[Cell[T]], rows: Sequence[T], *, now_ms: int, header: bool
) -> list[str]:
    """Return squeue's and sinfo's lines."""
    titles = [_line(before, [(cell, cell.column.title) for cell in cells])] if header else []
    return titles + [
        _line(before, [(cell, cell.column.read(row, now_ms)) for cell in cells]) for row in rows
    ]


def _line(before: str, texts: Sequence[tuple[Cell[T], str]]) -> str:
    pieces = [before]
    for cell, text in texts:
        if cell.width:
            text = text[: cell.width]
            text = text.rjust(cell.width) if cell.right else text.ljust(cell.width)
        pieces.append(text + cell.after)
    return "".join(pieces)


def sacct_cells(text: str, columns: Mapping[str, Column[T]]) -> list[Cell[T]]:
    """Read sacct's `--format`. A name may be cut short where only one begins so."""
    cells = []
    for piece in filter(None, text.split(",")):
        match = _SACCT.match(piece.strip())
        column = columns.get(match[1].lower()) if match else None
        if match and column is None:
            begun = [name for name in columns if name.startswith(match[1].lower())]
            column = columns[begun[0]] if len(begun) == 1 else None
        if match is None or column is None:
            raise InvalidInput(f'Invalid field requested: "{piece.strip().partition("%")[0]}"')
        width = int(match[2]) if match[2] else column.width
        cells.append(Cell(column=column, width=abs(width), right=width > 0))
    return cells


def sacct_lines(cells: Sequence[Cell[T]], rows: Sequence[T], *, now_ms: int) -> list[str]:
    """Return sacct's table without its header."""
    return [_sacct_line([(c, c.column.read(row, now_ms)) for c in cells]) for row in rows]


def sacct_header(cells: Sequence[Cell[T]]) -> list[str]:
    """Return the two lines above sacct's table."""
    titles = _sacct_line([(cell, cell.column.title) for cell in cells])
    return [titles, _sacct_line([(cell, "-" * cell.width) for cell in cells])]


def _sacct_line(texts: Sequence[tuple[Cell[T], str]]) -> str:
    pieces = []
    for cell, text in texts:
        width = cell.width
        shown = text if len(text) <= width else text[: width - 1] + "+"
        pieces.append((shown.rjust(width) if cell.right else shown.ljust(width)) + " ")
    return "".join(pieces)


def span(seconds: int) -> str:
    """Write a time as squeue does: `1:05`, `1:00:05`, `2-01:00:05`.

    >>> span(65), span(3605), span(176405)
    ('1:05', '1:00:05', '2-01:00:05')
    """
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock(seconds: int) -> str:
    """Write a time as sacct and scontrol do: `00:01:05`, `2-01:00:05`."""
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{text}" if days else text


def instant(at_ms: int, otherwise: str = "N/A") -> str:
    """Write an instant in this machine's time zone."""
    if not at_ms:
        return otherwise
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at_ms / 1000))


def megabytes(count: int) -> str:
    """Write a size as squeue does: `4000M`, `4G`."""
    mebi = -(-count // MIB)
    return f"{mebi // 1024}G" if mebi and mebi % 1024 == 0 else f"{mebi}M"
