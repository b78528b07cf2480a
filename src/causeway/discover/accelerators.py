"""Data sheet figures of common accelerators, and the short name behind a reported one.

`accelerators.toml` lies beside this module and holds facts with their source; it is part of the
program's text, as a table in code would be. NCU (normalised compute unit) is one dense BF16 TFLOP/s
by data sheet. A figure that its source lacks is 0: unknown, never guessed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from causeway.model.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One model's nameplate. 0: not in the source."""

    key: str
    """Name in the table, e.g. `H100-SXM`."""
    model: str
    """Short name that people ask for, e.g. `H100`."""
    vendor: str = ""
    memory_gib: float = 0.0
    """As marketed; vendors write GB where they mean 2**30 bytes."""
    ncu: float = 0.0
    """Dense BF16 TFLOP/s."""
    tdp_w: float = 0.0
    tpp: int = 0
    """Total processing performance: most dense TOPS times bits over all formats."""
    confidence: str = ""
    source: str = ""


UNKNOWN = Accelerator(key="", model="")


def parse(text: str) -> tuple[Accelerator, ...]:
    """Read the table; refuse repeats and figures that cannot be."""
    try:
        rows = tomllib.loads(text)["accelerator"]
        found = tuple(Accelerator(**row) for row in rows)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InvalidInput(f"the accelerator table cannot be read: {error}") from None
    seen: set[str] = set()
    for row in found:
        if row.key in seen:
            raise InvalidInput(f"accelerator {row.key!r} is there twice", where=row.key)
        if min(row.memory_gib, row.ncu, row.tdp_w, row.tpp) < 0:
            raise InvalidInput(f"accelerator {row.key!r} has a negative figure", where=row.key)
        seen.add(row.key)
    return found


@lru_cache(maxsize=1)
def table() -> Mapping[str, Accelerator]:
    """Return the shipped table by key."""
    file = resources.files("causeway.discover") / "accelerators.toml"
    return {row.key: row for row in parse(file.read_text("utf-8"))}


def _words(name: str) -> tuple[str, ...]:
    return tuple(w for w in re.split(r"[^A-Z0-9]+", name.upper()) if w)


@lru_cache(maxsize=1)
def _by_words() -> tuple[tuple[tuple[str, ...], str], ...]:
    names = {_words(row.model): row.model for row in table().values()}
    return tuple(sorted(names.items(), key=lambda item: -len(item[0])))


@lru_cache(maxsize=4096)
def short_name(reported: str) -> str:
    """Return the short name in what a driver reports; the reported name where none is known.

    >>> short_name("NVIDIA H100 80GB HBM3"), short_name("NVIDIA GeForce RTX 4090")
    ('H100', 'RTX-4090')
    >>> short_name("Frobnicator 9")
    'Frobnicator 9'
    """
    words = _words(reported)
    for known, model in _by_words():
        for start in range(len(words) - len(known) + 1):
            if words[start : start + len(known)] == known:
                return model
    return reported


@lru_cache(maxsize=4096)
def nameplate(reported: str) -> Accelerator:
    """Return the row that fits a reported name: by key, else the variant whose words fit best."""
    words = set(_words(reported))
    known = table()
    if reported in known:
        return known[reported]
    model = short_name(reported)
    rows = [row for row in known.values() if row.model == model]
    if not rows:
        return UNKNOWN
    if "PCIE" not in words:
        # Drivers say PCIe where a card is one, and nothing where it is the socketed variant.
        rows = [row for row in rows if "PCIE" not in _words(row.key)] or rows
    return max(rows, key=lambda row: len(words & set(_words(f"{row.key} {row.memory_gib:g}GB"))))
