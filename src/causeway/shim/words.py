"""Command lines as getopt_long reads them: short options in clusters, long ones by their beginning.

A table says of each long option which letter it has and whether a value follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

FLAG, VALUE, MAYBE = "flag", "value", "maybe"
"""No value; always one; one only when written with `=`."""


class Usage(Exception):
    """A command line that cannot be understood."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True, kw_only=True)
class Given:
    """What a command line says."""

    options: dict[str, str] = field(default_factory=dict)
    """By long name; a flag's value is empty. Of an option that is repeated, values are joined by
    commas, as lists of jobs and states may be."""
    rest: list[str] = field(default_factory=list)

    def __contains__(self, option: str) -> bool:
        return option in self.options

    def text(self, option: str, default: str = "") -> str:
        """Return an option's value."""
        return self.options.get(option, default)

    def each(self, option: str) -> list[str]:
        """Return the members of a list."""
        return [one for one in self.options.get(option, "").split(",") if one]


def read(
    words: Sequence[str], table: Mapping[str, tuple[str, str]], *, stop: bool = False
) -> Given:
    """Read words. `table`: long name -> (letter or nothing, kind). `stop`: options end at the first
    word that is none."""
    letters = {letter: (name, kind) for name, (letter, kind) in table.items() if letter}
    given, left = Given(), list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            given.rest += left
            break
        if word.startswith("--"):
            written, has, value = word[2:].partition("=")
            name = _named(written, table)
            kind = table[name][1]
            if kind == VALUE and not has:
                value = _next(left, f"option '--{name}' requires an argument")
            _put(given, name, value)
        elif word.startswith("-") and len(word) > 1:
            _cluster(given, word[1:], letters, left)
        else:
            given.rest.append(word)
            if stop:
                given.rest += left
                break
    return given


def _cluster(
    given: Given, text: str, letters: Mapping[str, tuple[str, str]], left: list[str]
) -> None:
    while text:
        letter, text = text[0], text[1:]
        if letter not in letters:
            raise Usage(f"invalid option -- '{letter}'")
        name, kind = letters[letter]
        value = ""
        if kind == VALUE:
            value = text or _next(left, f"option requires an argument -- '{letter}'")
            text = ""
        elif kind == MAYBE:
            value, text = text, ""
        _put(given, name, value)


def _named(written: str, table: Mapping[str, tuple[str, str]]) -> str:
    if written in table:
        return written
    found = [name for name in table if written and name.startswith(written)]
    if len(found) != 1:
        what = "is ambiguous" if found else ""
        raise Usage(
            f"option '--{written}' {what}" if what else f"unrecognized option '--{written}'"
        )
    return found[0]


def _put(given: Given, name: str, value: str) -> None:
    before = given.options.get(name)
    given.options[name] = f"{before},{value}" if before and value else value


def _next(left: list[str], problem: str) -> str:
    if not left:
        raise Usage(problem)
    return left.pop(0)
