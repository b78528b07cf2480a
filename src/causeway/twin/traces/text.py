"""Lines with columns by name, and lists in JSON: what is wrong is said with its line."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from causeway.model.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Line:
    """One line's cells by the name of their column."""

    path: Path
    number: int
    cells: Mapping[str, str]

    def wrong(self, column: str, why: str) -> InvalidInput:
        """Return the error that says what is wrong with a cell."""
        return InvalidInput(
            f"{self.path.name}: `{column}` is {self.cells.get(column, '')!r}, {why}",
            where=f"{self.path}, line {self.number}",
        )

    def number_of(self, column: str, default: float = math.nan) -> float:
        """Return a cell as a number; the default where it is empty or the column is not there."""
        text = self.cells.get(column, "").strip()
        if not text:
            return default
        try:
            return float(text)
        except ValueError:
            raise self.wrong(column, "and has to be a number") from None

    def text_of(self, column: str) -> str:
        """Return a cell as it is, or nothing."""
        return self.cells.get(column, "").strip()

    def instant_s(self, column: str) -> float:
        """Return a cell as seconds: a number, or a date and time; NaN where it is empty."""
        text = self.text_of(column)
        if not text:
            return math.nan
        try:
            return float(text)
        except ValueError:
            pass
        found = instant(text)
        if found is None:
            raise self.wrong(column, "and has to be seconds, or a date and time (ISO 8601)")
        return found


def instant(text: str) -> float | None:
    """Return a date and time as seconds since 1970; without a zone it is taken for UTC.

    >>> instant("1970-01-01T00:01:00"), instant("1970-01-01 01:00:00+01:00"), instant("soon")
    (60.0, 0.0, None)
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def lines(path: Path, *, delimiter: str = ",", needs: tuple[str, ...] = ()) -> Iterator[Line]:
    """Yield the lines of a file whose first line names the columns.

    Raises:
        InvalidInput: it cannot be read, lacks a column, or a line has another number of cells.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    # sacct quotes nothing, so a lone quotation mark in a name is only a character there.
    bare: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "|" else csv.QUOTE_MINIMAL
    try:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, quoting=bare, strict=True)
            head = [name.strip() for name in next(reader, [])]
            missing = [name for name in needs if name not in head]
            if missing:
                raise InvalidInput(
                    f"{path.name} has no column {', '.join(f'`{name}`' for name in missing)}",
                    where=f"{path}, line 1",
                )
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(head):
                    raise InvalidInput(
                        f"{path.name} has {len(cells)} cells in a line, and {len(head)} columns: "
                        "it is cut off there or of another format",
                        where=f"{path}, line {reader.line_num}",
                    )
                yield Line(path, reader.line_num, dict(zip(head, cells, strict=True)))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read to its end: {error}") from error


def listed(path: Path, key: str) -> list[Any]:
    """Return the list that a JSON file is, or has under a key.

    Raises:
        InvalidInput: it is not JSON to its end, or has no such list.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"{path.name} is not JSON to its end: {error.msg}", where=f"{path}, line {error.lineno}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from error
    found = said.get(key) if isinstance(said, dict) else said
    if not isinstance(found, list):
        raise InvalidInput(f"{path.name} has no list of `{key}`")
    return found
