"""The filter language's grammar, read by recursive descent with every position kept.

    filter     := and { "or" and }
    and        := not { "and" not }
    not        := "not" not | "(" filter ")" | test
    test       := flag                                   a name of type flag, alone
                | name ("==" | "!=" | "<" | "<=" | ">" | ">=") value
                | name ["not"] "in" (set | "[" value { "," value } "]")
                | name "has" value                       for names of type set
    value      := number | "text" | 'text' | word | true | false

Negation is pushed into the tests while reading, so an expression is a tree of tests under `and` and
`or` only, and a figure that is not known can fail both a test and its negation.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from causeway.discover.schema import SCHEMA, Term, Type
from causeway.model.errors import InvalidInput, TooLarge

CHARS_MAX = 4_096
TOKENS_MAX = 1_000
DEPTH_MAX = 40

_EU = (
    "AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IE", "IT",
    "LV", "LT", "LU", "MT", "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE",
)  # fmt: skip
SETS: dict[str, frozenset[str]] = {
    "EU": frozenset(_EU),
    "EEA": frozenset([*_EU, "IS", "LI", "NO"]),
    "EFTA": frozenset(["CH", "IS", "LI", "NO"]),
    "NORDICS": frozenset(["DK", "FI", "IS", "NO", "SE"]),
    "BENELUX": frozenset(["BE", "LU", "NL"]),
    "G7": frozenset(["CA", "DE", "FR", "GB", "IT", "JP", "US"]),
    "ASEAN": frozenset(["BN", "ID", "KH", "LA", "MM", "MY", "PH", "SG", "TH", "TL", "VN"]),
}
"""Named sets of countries (ISO 3166-1 alpha-2) for `in`."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![A-Za-z0-9_.]))
    | (?P<text>"[^"]*"|'[^']*')
    | (?P<word>[A-Za-z0-9_][A-Za-z0-9_.\-]*)
    | (?P<op>==|!=|<=|>=|<|>|=|\(|\)|\[|\]|,)
    )""",
    re.VERBOSE,
)
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "in": "not in",
            "not in": "in", "has": "has not", "has not": "has"}  # fmt: skip
_RESERVED = ("and", "or", "not", "in", "has")


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test of one name. `values` are folded to lower case where they are text."""

    term: Term
    op: str
    values: tuple[float | str | bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Expressions that all hold (`and`), or of which one holds (`or`)."""

    every: bool
    parts: tuple[Expression, ...]


Expression = Test | Group


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def read(text: str) -> Expression:
    """Read a filter, or raise `InvalidInput` with the position of the mistake."""
    if len(text) > CHARS_MAX:
        raise TooLarge(f"a filter has at most {CHARS_MAX:,} characters", where="where")
    return _Parser(_tokens(text), len(text)).whole()


def _wrong(message: str, at: int, hint: str = "") -> InvalidInput:
    return InvalidInput(message, where=f"where, character {at + 1}", hint=hint)


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            rest = text[at:].lstrip()
            place = end - len(rest.rstrip())
            if rest[0] in "\"'":
                raise _wrong("this text has no closing quote", place)
            raise _wrong(f"{rest[0]!r} is not part of the language", place)
        kind = match.lastgroup
        found.append(_Token(kind, match[kind], match.start(kind)))
        if len(found) > TOKENS_MAX:
            raise TooLarge(f"a filter has at most {TOKENS_MAX:,} words", where="where")
        at = match.end()
    return found


class _Parser:
    def __init__(self, tokens: Sequence[_Token], end: int) -> None:
        self.tokens = tokens
        self.at = 0
        self.end = _Token("end", "", end)
        self.depth = 0

    def peek(self) -> _Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else self.end

    def take(self) -> _Token:
        token = self.peek()
        self.at += 1
        return token

    def skip(self, word: str) -> bool:
        token = self.peek()
        if token.kind in ("word", "op") and token.text.lower() == word:
            self.at += 1
            return True
        return False

    def whole(self) -> Expression:
        if not self.tokens:
            raise _wrong("the filter is empty", 0, "e.g. accelerator.memory_gib >= 80")
        found = self.either(negated=False)
        left = self.peek()
        if left.kind != "end":
            raise _wrong(
                f"{left.text!r} comes after the end", left.at, "join tests with `and` or `or`"
            )
        return found

    def either(self, *, negated: bool) -> Expression:
        return self.joined("or", negated=negated)

    def joined(self, word: str, *, negated: bool) -> Expression:
        parts = [self.below(word, negated=negated)]
        while self.skip(word):
            parts.append(self.below(word, negated=negated))
        if len(parts) == 1:
            return parts[0]
        return Group(every=(word == "and") != negated, parts=tuple(parts))

    def below(self, word: str, *, negated: bool) -> Expression:
        return self.joined("and", negated=negated) if word == "or" else self.single(negated=negated)

    def single(self, *, negated: bool) -> Expression:
        start = self.peek()
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise _wrong(f"nested more than {DEPTH_MAX} deep", start.at)
        if self.skip("not"):
            found = self.single(negated=not negated)
        elif self.skip("("):
            found = self.either(negated=negated)
            if not self.skip(")"):
                raise _wrong("a closing parenthesis is missing", self.peek().at, "add )")
        else:
            found = self.test(negated=negated)
        self.depth -= 1
        return found

    def test(self, *, negated: bool) -> Test:
        term = self.name()
        token = self.peek()
        word = token.text.lower()
        if term.type is Type.FLAG and word not in ("==", "!=", "="):
            return Test(term=term, op="==", values=(not negated,))
        self.at += 1
        if word == "not" and self.skip("in"):
            op, values = "not in", self.members(term)
        elif word == "in":
            op, values = "in", self.members(term)
        elif word == "has":
            op, values = "has", (self.value(term),)
        elif token.kind == "op" and token.text in ("==", "!=", "<", "<=", ">", ">="):
            op, values = token.text, (self.value(term),)
        else:
            hint = "write ==" if token.text == "=" else "one of == != < <= > >= in has"
            shown = repr(token.text) if token.text else "the end"
            raise _wrong(f"{shown} cannot follow {term.name}", token.at, hint)
        _check(term, op, token.at)
        return Test(term=term, op=_NEGATED[op] if negated else op, values=values)

    def name(self) -> Term:
        token = self.take()
        if token.kind == "word" and token.text in SCHEMA:
            return SCHEMA[token.text]
        if token.kind != "word" or token.text.lower() in _RESERVED:
            shown = repr(token.text) if token.text else "the end"
            raise _wrong(
                f"a name is expected here, not {shown}", token.at, "e.g. site.jurisdiction"
            )
        raise _unknown(token.text, tuple(SCHEMA), token.at, what="name")

    def members(self, term: Term) -> tuple[float | str | bool, ...]:
        token = self.peek()
        if not self.skip("["):
            self.at += 1
            if token.kind == "word" and token.text.upper() in SETS and term.type is Type.TEXT:
                return tuple(sorted(m.lower() for m in SETS[token.text.upper()]))
            if token.kind != "word":
                raise _wrong(
                    "a list or a named set is expected after in", token.at, "e.g. [DE, FR]"
                )
            raise _unknown(token.text, tuple(SETS), token.at, what="set")
        found = [self.value(term)]
        while self.skip(","):
            found.append(self.value(term))
        if not self.skip("]"):
            raise _wrong("a closing bracket is missing", self.peek().at, "add ]")
        return tuple(found)

    def value(self, term: Term) -> float | str | bool:
        token = self.take()
        if token.kind == "end" or token.kind == "op":
            raise _wrong(f"a value is expected for {term.name}", token.at)
        if term.type is Type.NUMBER:
            return _number(term, token)
        if term.type is Type.FLAG:
            if token.kind != "word" or token.text.lower() not in ("true", "false"):
                raise _wrong(f"{term.name} is true or false, not {token.text}", token.at)
            return token.text.lower() == "true"
        if token.kind == "text":
            return token.text[1:-1].lower()
        if token.kind == "word" and token.text in SCHEMA:
            raise _wrong(
                f"{token.text!r} is a name; names are compared with values",
                token.at,
                "put it into quotes if it is a value",
            )
        return token.text.lower()


def _number(term: Term, token: _Token) -> float:
    unit = f" in {term.unit}" if term.unit else ""
    if token.kind != "number":
        hint = f"write a plain number{unit}"
        raise _wrong(f"{term.name} is a number{unit}, not {token.text}", token.at, hint)
    found = float(token.text)
    if found in (float("inf"), float("-inf")):
        raise _wrong("the number is too large", token.at)
    return found


def _check(term: Term, op: str, at: int) -> None:
    """Refuse an operator that the type does not have."""
    allowed = {
        Type.NUMBER: ("==", "!=", "<", "<=", ">", ">=", "in", "not in"),
        Type.TEXT: ("==", "!=", "in", "not in"),
        Type.FLAG: ("==", "!="),
        Type.SET: ("has",),
    }[term.type]
    if op not in allowed:
        raise _wrong(
            f"{term.name} is a {term.type.value}; {op} does not apply to it",
            at,
            f"use one of {' '.join(allowed)}",
        )


def _unknown(name: str, known: Sequence[str], at: int, *, what: str) -> InvalidInput:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    tails = [k for k in known if k.rsplit(".", 1)[-1] == name]
    best = (tails or near)[:1]
    hint = f"did you mean {best[0]}?" if best else f"one of: {', '.join(known)}"
    return _wrong(f"{what} {name!r} is not known", at, hint)
