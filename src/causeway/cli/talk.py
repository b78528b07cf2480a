"""How the command line speaks: data to stdout, talk to stderr, colour only where it is welcome.

Colour never carries meaning alone: each state has a sign and a word too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any

from causeway.model.errors import CausewayError, InvalidInput

_COLOURS = {"red": "31", "green": "32", "amber": "33", "blue": "34", "grey": "90", "bold": "1"}


def coloured(stream: IO[str], env: Mapping[str, str] | None = None) -> bool:
    """Say whether a stream takes colour: a terminal, not `dumb`, and no `NO_COLOR`."""
    env = os.environ if env is None else env
    return not env.get("NO_COLOR") and env.get("TERM") != "dumb" and stream.isatty()


def paint(text: str, colour: str, stream: IO[str] | None = None) -> str:
    """Return the text in a colour where the stream takes it."""
    if colour not in _COLOURS or not coloured(stream or sys.stdout):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def out(text: str) -> None:
    """Write data."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """Write talk."""
    sys.stderr.write(text + "\n")


def show(data: Any, lines: Callable[[Any], Iterable[str]], *, as_json: bool) -> None:
    """Write data as JSON, or as lines for people."""
    if as_json:
        out(json.dumps(data, indent=2, ensure_ascii=False))
        return
    for line in lines(data):
        out(line)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()
) -> list[str]:
    """Lay out a table. Nothing is cut: identifiers and reasons stay whole.

    >>> table(["a", "n"], [["x", "1"], ["yy", "10"]], right=[1])
    ['a    n', 'x    1', 'yy  10']
    """
    every = [list(head), *[[clean(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    lines = []
    for row in every:
        cells = [
            cell.rjust(widths[i]) if i in right else cell.ljust(widths[i])
            for i, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def clean(text: str) -> str:
    """Return text that cannot steer the terminal: what others wrote is shown, not obeyed."""
    return "".join(c if c.isprintable() else " " for c in text)


def complain(error: CausewayError) -> None:
    """Say what happened, where, and what to try."""
    say(paint("error", "red", sys.stderr) + f": {clean(error.message)}")
    if error.where:
        say(f"  at   {clean(error.where)}")
    if error.hint:
        say(f"  try  {clean(error.hint)}")


def ask(question: str) -> bool:
    """Ask for yes or no; refuse to guess where nobody can answer."""
    if not sys.stdin.isatty():
        raise InvalidInput("nobody can answer here", hint="add -y to go on without asking")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
