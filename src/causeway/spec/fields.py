"""A cursor over one mapping of the tree: typed reads, and every error names its place.

Asking for a field makes its name known; `done` refuses whatever was not asked for and suggests the
nearest known name. So the list of fields is written once: where they are read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, TypeVar

from causeway.model.errors import InvalidInput, TooLarge
from causeway.spec.units import decimal, shown

SCRIPT_CHARS_MAX = 256 * 1024
LIST_MAX = 1_000
PATH_CHARS_MAX = 1_024

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
E = TypeVar("E", bound=StrEnum)


class Fields:
    """One mapping at one place."""

    def __init__(self, tree: object, where: str, *, what: str = "a mapping of fields") -> None:
        if not isinstance(tree, dict):
            raise InvalidInput(f"must be {what}, not {kind_of(tree)}", where=where)
        self.tree: Mapping[str, object] = tree
        self.where = where
        self.known: dict[str, None] = {}

    def at(self, name: str) -> str:
        """Return the place of a field."""
        return f"{self.where}.{name}"

    def take(self, name: str) -> object:
        """Return the raw value; None when absent or null."""
        self.known[name] = None
        return self.tree.get(name)

    def has(self, name: str) -> bool:
        """Say whether the field is there and not null."""
        return self.take(name) is not None

    def written(self, names: Iterable[str]) -> list[str]:
        """Make many names known; return those that are there and not null, in the names' order."""
        self.known.update(dict.fromkeys(names))
        there = self.tree.get
        return [name for name in names if there(name) is not None]

    def done(self) -> None:
        """Refuse fields that nobody asked for."""
        for name in self.tree:
            if name not in self.known:
                raise unknown(str(name), list(self.known), self.at(str(name)), what="field")

    def text(self, name: str, default: str = "", *, chars_max: int = 1_024) -> str:
        """Read a string."""
        value = self.take(name)
        if value is None:
            return default
        return text(value, self.at(name), chars_max=chars_max)

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        """Read an integer within bounds."""
        value = self.take(name)
        return default if value is None else whole(value, self.at(name), low=low, high=high)

    def rate(self, name: str, default: float) -> float:
        """Read a finite number that is not negative."""
        value = self.take(name)
        if value is None:
            return default
        found = decimal(value, self.at(name))
        if found < 0:
            raise InvalidInput(f"{shown(value)} is negative", where=self.at(name))
        if found > 10**12:
            raise InvalidInput(f"{shown(value)} is too large", where=self.at(name))
        return float(found)

    def flag(self, name: str, default: bool) -> bool:
        """Read true or false."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise InvalidInput(
                f"{shown(value)} is not true or false",
                where=self.at(name),
                hint="write true or false",
            )
        return value

    def choice(self, name: str, default: E, *, without: Sequence[E] = ()) -> E:
        """Read a member of the default's enum."""
        value = self.take(name)
        if value is None:
            return default
        members = [m.value for m in type(default) if m not in without]
        if value not in members:
            raise unknown(str(value), members, self.at(name), what="value")
        return type(default)(str(value))

    def texts(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Read a list of strings without repeats; a lone string is a list of one."""
        value = self.take(name)
        if value is None:
            return default
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list):
            raise InvalidInput(f"must be a list, not {kind_of(value)}", where=self.at(name))
        bound(items, self.at(name))
        found = tuple(text(item, f"{self.at(name)}[{i}]") for i, item in enumerate(items))
        for i, item in enumerate(found):
            if item in found[:i]:
                raise InvalidInput(f"{shown(item)} is listed twice", where=f"{self.at(name)}[{i}]")
        return found


Read = Callable[[Fields, str, Any], Any]
"""Reads one field that is there: (fields, the field's name, default) -> its value."""


def whole_within(low: int, high: int) -> Read:
    """Return what reads an integer within bounds."""
    return lambda f, field, default: f.whole(field, default, low=low, high=high)


def text_within(chars_max: int) -> Read:
    """Return what reads a string up to a length."""
    return lambda f, field, default: f.text(field, default, chars_max=chars_max)


def kind_of(value: object) -> str:
    """Name the kind of a value as a person would."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"{str(value).lower()}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return shown(value)


def unknown(name: str, known: Sequence[str], where: str, *, what: str) -> InvalidInput:
    """Return the error for a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, known, 1, 0.6)
    listed = ", ".join(sorted(known))
    hint = f"did you mean {near[0]!r}?" if near else f"one of: {listed}"
    return InvalidInput(f"{what} {shown(name)} is not known here", where=where, hint=hint)


def text(value: object, where: str, *, chars_max: int = 1_024) -> str:
    """Check a string and its length."""
    if not isinstance(value, str):
        raise InvalidInput(
            f"must be text, not {kind_of(value)}", where=where, hint="put it into quotes"
        )
    if len(value) > chars_max:
        raise TooLarge(f"has {len(value):,} characters; the most is {chars_max:,}", where=where)
    return value


def whole(value: object, where: str, *, low: int, high: int) -> int:
    """Check an integer and its bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, float) and value.is_integer():
            return whole(int(value), where, low=low, high=high)
        raise InvalidInput(f"must be a whole number, not {kind_of(value)}", where=where)
    if value < 0 <= low:
        raise InvalidInput(f"{value} is negative; it must be {low} to {high:,}", where=where)
    if not low <= value <= high:
        raise InvalidInput(f"{value} is out of bounds; it must be {low:,} to {high:,}", where=where)
    return value


def bound(items: Sequence[object], where: str, most: int = LIST_MAX) -> None:
    """Refuse a list that is too long."""
    if len(items) > most:
        raise TooLarge(f"has {len(items):,} entries; the most is {most:,}", where=where)


def inner_path(path: str, where: str) -> str:
    """Check that a path stays below the working folder, and normalise it.

    >>> inner_path("./out//model", "$")
    'out/model'
    """
    hint = "a path relative to the working folder, e.g. out/model.safetensors"
    if len(path) > PATH_CHARS_MAX:
        raise TooLarge(f"path has {len(path):,} characters", where=where)
    if path.startswith(("/", "~")) or re.match(r"[A-Za-z]:[\\/]", path):
        raise InvalidInput(f"{shown(path)} is outside the working folder", where=where, hint=hint)
    parts = PurePosixPath(path).parts
    if ".." in parts or "\\" in path:
        raise InvalidInput(
            f"{shown(path)} may lead outside the working folder", where=where, hint=hint
        )
    if not parts:
        raise InvalidInput(f"{shown(path)} names no path", where=where, hint=hint)
    return "/".join(parts)


def name(value: str, where: str) -> str:
    """Check a job's or stage's name."""
    if not NAME.match(value):
        raise InvalidInput(
            f"{shown(value)} is not a name",
            where=where,
            hint="1-63 of letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    return value
