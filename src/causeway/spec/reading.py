"""Text to a plain tree of dicts, lists and scalars, with every amount bounded.

YAML is read as a stream of events by libyaml, and the tree is built here on a stack of our own:
nesting, nodes and aliases are counted as they come, so neither a "billion laughs" file nor a
megabyte of brackets costs more than its bound. Scalars follow the YAML 1.2 core schema rather than
1.1: `NO` is Norway and `1:30:00` is a duration, not a boolean and a sexagesimal number.

JSON is read by the standard parser and then held to the same bounds.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from causeway.model.errors import InvalidInput, TooLarge

TEXT_BYTES_MAX = 1024**2
NODES_MAX = 50_000
"""Values in the tree, those that aliases repeat included."""
DEPTH_MAX = 32
DOCUMENTS_MAX = 200
DIGITS_MAX = 30

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
_NUMERIC = frozenset("+-.0123456789")
"""What a number begins with."""
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, object] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    ".nan": float("nan"),
    ".inf": float("inf"),
    "-.inf": float("-inf"),
}
_TAGS = {
    "tag:yaml.org,2002:str",
    "tag:yaml.org,2002:map",
    "tag:yaml.org,2002:seq",
    "!",
}


def decode(data: bytes) -> str:
    """Decode UTF-8 within the size bound, or say at which byte it breaks."""
    if len(data) > TEXT_BYTES_MAX:
        raise _too_long(len(data))
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the text is not UTF-8: byte {error.start} (0x{data[error.start]:02x}) does not fit",
            where=f"byte {error.start}",
            hint="save the file as UTF-8",
        ) from None


def check_text(text: str) -> None:
    """Refuse what is too long, holds NUL, or cannot be written as UTF-8."""
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"character {error.start} is half of a surrogate pair, which no text may hold",
            where=f"character {error.start}",
        ) from None
    if size > TEXT_BYTES_MAX:
        raise _too_long(size)
    if "\0" in text:
        raise InvalidInput(
            "the text holds a NUL character",
            where=f"line {text[: text.index(chr(0))].count(chr(10)) + 1}",
            hint="is this a binary file? send YAML, JSON or a #SBATCH script",
        )


def documents(text: str) -> list[object]:
    """Return the documents of a checked text (JSON: exactly one) as plain trees."""
    # Nothing but an escape can bring in what `check_text` refuses.
    escapes = "\\" in text
    if text.lstrip()[:1] == "{":
        found, tree = _json(text)
        if found:
            if escapes:
                _check_strings(tree, "$")
            return [tree]
    try:
        docs = _yaml(text)
    except yaml.YAMLError as error:
        raise _syntax(error) from None
    if escapes:
        for doc in docs:
            _check_strings(doc, "$")
    return docs


def _too_long(size: int) -> TooLarge:
    return TooLarge(
        f"the text has {size:,} bytes; the most is {TEXT_BYTES_MAX:,}",
        where="$",
        hint="put data into the workdir or an artefact, not into the file",
    )


def _syntax(error: yaml.YAMLError) -> InvalidInput:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "$"
    return InvalidInput(
        f"the text is not YAML: {problem}",
        where=where,
        hint="check indentation, quotes and colons there; tabs may not indent YAML",
    )


def _json(text: str) -> tuple[bool, object]:
    """Read JSON. (False, None) means that it is not JSON and may still be YAML."""
    try:
        tree = _JSON.decode(text)
    except json.JSONDecodeError:
        return False, None
    except RecursionError:
        raise _too_deep("$") from None
    _bound(tree)
    return True, tree


def _json_int(digits: str) -> int:
    _check_digits(digits, "$")
    return int(digits)


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _duplicate(key, "$")
            seen.add(key)
    return tree


_JSON = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=float, parse_int=_json_int)


def _bound(tree: object) -> None:
    level: list[object] = [tree]
    nodes = 0
    for depth in range(DEPTH_MAX + 2):
        nodes += len(level)
        if nodes > NODES_MAX:
            raise _too_many("$")
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if not below:
            return
        if depth > DEPTH_MAX:
            raise _too_deep("$")
        level = below
    raise _too_deep("$")


def _too_deep(where: str) -> InvalidInput:
    return InvalidInput(f"nested more than {DEPTH_MAX} levels deep", where=where)


def _too_many(where: str) -> TooLarge:
    return TooLarge(
        f"holds more than {NODES_MAX:,} values, those repeated by aliases included",
        where=where,
        hint="use `array:` for many equal jobs",
    )


def _duplicate(key: str, where: str) -> InvalidInput:
    return InvalidInput(
        f"field {key!r} is written twice in the same place; which one is meant is not clear",
        where=where,
        hint="remove one of the two",
    )


def _check_digits(digits: str, where: str) -> None:
    if len(digits) > DIGITS_MAX:
        raise InvalidInput(f"a number of {len(digits)} digits is too large", where=where)


class _Open:
    """A mapping or list that is still being read, with how many values it holds so far."""

    __slots__ = ("anchor", "key", "merged", "tree", "values")

    def __init__(self, tree: dict[str, object] | list[object], anchor: str | None) -> None:
        self.tree = tree
        self.anchor = anchor
        self.key: str | None = None
        self.merged: set[str] = set()
        self.values = 1


class _Builder:
    """Builds one document from events."""

    def __init__(self) -> None:
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[object, int]] = {}
        self.nodes = 0
        self.root: object = None

    def begin(self, tree: dict[str, object] | list[object], event: Any) -> None:
        _check_tag(event)
        if len(self.stack) >= DEPTH_MAX:
            raise _too_deep(_line(event))
        if self.stack and isinstance(self.stack[-1].tree, dict) and self.stack[-1].key is None:
            raise InvalidInput(
                "a field name must be text, not a list or mapping", where=_line(event)
            )
        self.stack.append(_Open(tree, event.anchor))

    def end(self, event: Any) -> None:
        done = self.stack.pop()
        if done.anchor:
            self.anchors[done.anchor] = (done.tree, done.values)
        self.place(done.tree, done.values, event)

    def alias(self, event: Any) -> None:
        if any(o.anchor == event.anchor for o in self.stack):
            raise InvalidInput(f"alias *{event.anchor} holds itself", where=_line(event))
        if event.anchor not in self.anchors:
            raise InvalidInput(f"alias *{event.anchor} has no anchor before it", where=_line(event))
        value, count = self.anchors[event.anchor]
        self.place(value, count, event)

    def scalar(self, event: Any) -> None:
        if event.tag is not None:
            _check_tag(event)
        top = self.stack[-1] if self.stack else None
        if top is not None and top.key is None and isinstance(top.tree, dict):
            key: str = event.value
            if key in top.tree and key not in top.merged:
                raise _duplicate(key, _line(event))
            top.key = key
            return
        value = _resolve(event) if event.implicit[0] else event.value
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)
        self.place(value, 1, event)

    def place(self, value: object, count: int, event: Any) -> None:
        self.nodes += count
        if self.nodes > NODES_MAX:
            raise _too_many(_line(event))
        if not self.stack:
            self.root = value
            return
        top = self.stack[-1]
        top.values += count
        if isinstance(top.tree, list):
            top.tree.append(value)
        elif top.key is None:
            raise InvalidInput("a field name may not be an alias", where=_line(event))
        elif top.key == "<<":
            self.merge(top, value, event)
        else:
            # A field that a merge brought in before is overridden by what is written out.
            top.merged.discard(top.key)
            top.tree[top.key] = value
            top.key = None

    def merge(self, top: _Open, value: object, event: Any) -> None:
        sources = value if isinstance(value, list) else [value]
        assert isinstance(top.tree, dict)
        for source in sources:
            if not isinstance(source, dict):
                raise InvalidInput("`<<` merges mappings only", where=_line(event))
            for key, item in source.items():
                if key not in top.tree:
                    top.merged.add(key)
                    top.tree[key] = item
        top.key = None


def _yaml(text: str) -> list[object]:
    found: list[object] = []
    builder = _Builder()
    events = _LOADER(text)
    try:
        while (event := events.get_event()) is not None:
            kind = event.__class__
            if kind is yaml.ScalarEvent:
                builder.scalar(event)
            elif kind is yaml.MappingStartEvent:
                builder.begin({}, event)
            elif kind is yaml.SequenceStartEvent:
                builder.begin([], event)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                builder.end(event)
            elif kind is yaml.AliasEvent:
                builder.alias(event)
            elif kind is yaml.DocumentStartEvent:
                builder = _Builder()
                if len(found) == DOCUMENTS_MAX:
                    raise TooLarge(f"holds more than {DOCUMENTS_MAX} documents", where="$")
            elif kind is yaml.DocumentEndEvent:
                found.append(builder.root)
    finally:
        events.dispose()
    return found


def _line(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"


def _check_tag(event: Any) -> None:
    if event.tag is not None and event.tag not in _TAGS:
        raise InvalidInput(
            f"tag {event.tag!r} is not allowed: a job file is plain data",
            where=_line(event),
            hint="write the value without a tag",
        )


def _resolve(event: Any) -> object:
    text: str = event.value
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _INT.match(text):
        _check_digits(text, _line(event))
        return int(text)
    if _FLOAT.match(text) and not text.lstrip("+-").startswith("0" * 2):
        return float(text) if "." in text or "e" in text or "E" in text else text
    return text


def _check_strings(tree: object, where: str) -> None:
    """Refuse NUL and lone surrogates that escapes brought in."""
    if isinstance(tree, str):
        try:
            tree.encode()
        except UnicodeEncodeError:
            raise InvalidInput("holds half of a surrogate pair", where=where) from None
        if "\0" in tree:
            raise InvalidInput("holds a NUL character", where=where)
    elif isinstance(tree, dict):
        for key, item in tree.items():
            _check_strings(key, where)
            _check_strings(item, f"{where}.{key}")
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            _check_strings(item, f"{where}[{index}]")
