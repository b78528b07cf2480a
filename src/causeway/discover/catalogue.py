"""The catalogue: many offers in columns, answered by vector comparisons.

Numbers are float64 columns with NaN for "not known"; text, flags and sets are dictionary-encoded
(sorted, so codes order as their values do). A search is one boolean mask, a partition to the limit
and a small sort, whatever the filter; no index has to be chosen or kept up to date. A catalogue is
immutable: it is built again when offers change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causeway.discover.filters import ORDER, Filter, passes
from causeway.discover.grammar import Expression, Group, Test
from causeway.discover.schema import SCHEMA, Type, Value
from causeway.model.errors import InvalidInput
from causeway.model.fleet import PoolView

LIMIT_MAX = 10_000
SORTABLE = tuple(name for name, term in SCHEMA.items() if term.type is not Type.SET)
"""Names that `sort` takes; a leading `-` turns the order round, commas add keys."""

OBJECTIVES = {
    "cheapest": "price_usd_per_device_h",
    "greenest": "carbon_g_per_kwh",
    "fastest": "-accelerator.ncu",
    "nearest": "rtt_ms",
    "steadiest": "interruptions_per_day",
}
"""What people ask for -> the name that it is measured by; `sort` takes both."""

Numbers = NDArray[np.float64]
Codes = NDArray[np.int32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coded:
    """A column of codes into sorted distinct values; the last code stands for "not known"."""

    codes: Codes
    values: tuple[Value, ...]


class Catalogue:
    """Offers in columns, in the order in which they were handed over."""

    def __init__(self, pools: Iterable[PoolView]) -> None:
        ordered = list(pools)
        self.offers: tuple[str, ...] = tuple(p.offer for p in ordered)
        self.pools: tuple[str, ...] = tuple(p.pool for p in ordered)
        by_offer = sorted(range(len(ordered)), key=self.offers.__getitem__)
        self._rank: NDArray[np.intp] = np.empty(len(ordered), dtype=np.intp)
        self._rank[by_offer] = np.arange(len(ordered))
        self._numbers: dict[str, Numbers] = {}
        self._coded: dict[str, _Coded] = {}
        for name, term in SCHEMA.items():
            values = [term.read(p) for p in ordered]
            if term.type is Type.NUMBER:
                self._numbers[name] = np.array(
                    [np.nan if v is None else v for v in values], dtype=np.float64
                )
            else:
                self._coded[name] = _encode(values)

    def __len__(self) -> int:
        return len(self.offers)

    def search(
        self, filter: Filter, *, sort: str = "price_usd_per_device_h", limit: int = 50
    ) -> list[int]:
        """Return the best rows that pass, as positions among the offers handed over.

        Ties go by offer identifier; what is not known in the sort key comes last.
        """
        if not 1 <= limit <= LIMIT_MAX:
            raise InvalidInput(f"limit {limit} must be 1 to {LIMIT_MAX:,}", where="limit")
        return [int(i) for i in self._best(self.mask(filter), sort, limit)]

    def row(self, index: int) -> dict[str, object]:
        """Return one row as plain data under the schema's names; what is not known is None."""
        row: dict[str, object] = {"offer": self.offers[index], "pool": self.pools[index]}
        for name in SCHEMA:
            if name in self._numbers:
                value = float(self._numbers[name][index])
                row[name] = None if value != value else value
            else:
                coded = self._coded[name]
                held = coded.values[int(coded.codes[index])]
                row[name] = list(held) if isinstance(held, tuple) else held
        return row

    def count(self, filter: Filter) -> int:
        """Return how many offers pass."""
        return int(np.count_nonzero(self.mask(filter)))

    def mask(self, filter: Filter) -> Mask:
        """Return one boolean per offer."""
        if filter.expression is None:
            return np.ones(len(self), dtype=np.bool_)
        return self._mask(filter.expression)

    def _mask(self, expression: Expression) -> Mask:
        if isinstance(expression, Group):
            first, *rest = (self._mask(part) for part in expression.parts)
            for other in rest:
                first = first & other if expression.every else first | other
            return first
        if expression.term.type is Type.NUMBER:
            return _compare(self._numbers[expression.term.name], expression)
        coded = self._coded[expression.term.name]
        table = np.array([passes(expression, v) for v in coded.values], dtype=np.bool_)
        found: Mask = table[coded.codes]
        return found

    def _best(self, mask: Mask, sort: str, limit: int) -> NDArray[np.intp]:
        rows = np.flatnonzero(mask)
        names = [OBJECTIVES.get(name.strip(), name.strip()) for name in sort.split(",")]
        keys = [self._key(name, rows) for name in names]
        first = keys[0]
        if len(rows) > limit:
            # Everything up to the limit-th value of the first key, ties included.
            edge = np.partition(first, limit - 1)[limit - 1]
            kept = np.flatnonzero(first <= edge) if edge == edge else np.arange(len(rows))
            rows, keys = rows[kept], [key[kept] for key in keys]
        order = np.lexsort((self._rank[rows], *reversed(keys)))
        best: NDArray[np.intp] = rows[order[:limit]]
        return best

    def _key(self, name: str, rows: NDArray[np.intp]) -> Numbers:
        plain = name.removeprefix("-")
        if plain not in SORTABLE:
            raise InvalidInput(
                f"{plain!r} cannot be sorted by",
                where="sort",
                hint=f"one of: {', '.join((*OBJECTIVES, *SORTABLE))}; "
                "a leading - turns the order of a name round",
            )
        if plain in self._numbers:
            column = self._numbers[plain][rows]
        else:
            coded = self._coded[plain]
            column = coded.codes[rows].astype(np.float64)
            column[column == len(coded.values) - 1] = np.nan
        return -column if name.startswith("-") else column


def _encode(values: list[Value]) -> _Coded:
    distinct = sorted({v for v in values if v is not None}, key=lambda v: (str(v).lower(), str(v)))
    codes: Mapping[Value, int] = {v: i for i, v in enumerate(distinct)}
    last = len(distinct)
    return _Coded(
        codes=np.array([last if v is None else codes[v] for v in values], dtype=np.int32),
        values=(*distinct, None),
    )


def _compare(column: Numbers, test: Test) -> Mask:
    if test.op in ("in", "not in"):
        found = np.isin(column, np.array(test.values, dtype=np.float64))
        return found if test.op == "in" else ~found & ~np.isnan(column)
    mask: Mask = np.asarray(ORDER[test.op](column, float(test.values[0])))  # type: ignore[arg-type]
    # NaN is unequal to everything, yet "not known" passes no test.
    return mask & ~np.isnan(column) if test.op == "!=" else mask
