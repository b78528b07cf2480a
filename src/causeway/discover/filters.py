"""`Filter`: a compiled expression that can be asked about one offer, or about whole columns.

The meaning of a test is written once (`passes`), over one known value. Numbers in columns have a
vector form of the same comparison; everything else in columns is dictionary-encoded, so `passes` is
asked once per distinct value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from causeway.discover.grammar import Expression, Group, Test, read
from causeway.discover.schema import Value
from causeway.model.errors import InvalidInput
from causeway.model.fleet import PoolView

ORDER: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A filter that has been read and typed."""

    text: str
    expression: Expression | None
    """None lets everything through."""

    def matches(self, pool: PoolView) -> bool:
        """Say whether one offer passes."""
        return self.expression is None or _holds(self.expression, pool)


EVERYTHING = Filter(text="", expression=None)


@lru_cache(maxsize=1024)
def compile(text: str) -> Filter:
    """Read a filter; raise `InvalidInput` that names the position. Blank text passes everything."""
    if not text.strip():
        return EVERYTHING
    return Filter(text=text, expression=read(text))


def compile_filter(text: str, *, where: str = "where") -> Filter:
    """Read a filter that stands at a named place of a larger input (`$.where`)."""
    try:
        return compile(text)
    except InvalidInput as error:
        # The error's own place begins with "where".
        place = error.where.replace("where", where, 1)
        raise type(error)(error.message, hint=error.hint, where=place) from None


def passes(test: Test, value: Value) -> bool:
    """Say whether a value passes; one that is not known never does."""
    if value is None or value != value:
        return False
    if isinstance(value, tuple):
        return (test.values[0] in {v.lower() for v in value}) == (test.op == "has")
    if isinstance(value, str):
        folded = value.lower()
        if test.op in ("in", "not in"):
            return (folded in test.values) == (test.op == "in")
        return (folded == test.values[0]) == (test.op == "==")
    if test.op in ("in", "not in"):
        return (value in test.values) == (test.op == "in")
    return ORDER[test.op](value, float(test.values[0]))


def _holds(expression: Expression, pool: PoolView) -> bool:
    if isinstance(expression, Group):
        ask = all if expression.every else any
        return ask(_holds(part, pool) for part in expression.parts)
    return passes(expression, expression.term.read(pool))
