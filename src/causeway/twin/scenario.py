"""A scenario file, read and checked: what the twin is to be tried on, by which policies and seeds.

    title = "Packing of shared GPUs on openb"
    kind = "packing"                     # what sort of experiment; a module of `twin/kinds`
    policies = ["fgd", "causeway"]
    seeds = "42-51"                      # or a list
    [options]                            # the kind's own; a wrong name or unit is refused
    pods = "openb/openb_pod_list_default.csv.gz"
    [published.fgd]                      # what others report, by policy and metric
    allocation_share = 0.9539

Paths in `options` are relative to the folder of traces that the environment variable CAUSEWAY_DATA
names. Nothing here runs anything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causeway.model.errors import InvalidInput

SEEDS_MAX = 1_000
_KEYS = frozenset({"title", "kind", "policies", "seeds", "options", "published", "note"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One file. What `options` may hold, the kind says (`twin/kinds`)."""

    name: str
    """The file's name without its ending."""
    title: str
    kind: str
    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Policy -> metric -> what its authors report; units as in our metric of the same name."""
    note: str = ""
    """What a reader of the result has to know."""


def read(path: Path) -> Scenario:
    """Return the scenario of a file; InvalidInput names the line or the key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the scenario {path} cannot be read: {error}") from error
    return parse(text, name=path.stem)


def parse(text: str, *, name: str) -> Scenario:
    """Return the scenario that a text says.

    >>> parse('title = "t"\\nkind = "packing"\\npolicies = ["fgd"]\\nseeds = "4-6"', name="x").seeds
    (4, 5, 6)
    """
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the scenario {name} is not TOML: {error}") from error
    for key in said:
        if key not in _KEYS:
            raise _wrong(key, f"it is not known; known are {', '.join(sorted(_KEYS))}")
    policies = said.get("policies")
    if not isinstance(policies, list) or not policies or not all(map(_is_word, policies)):
        raise _wrong("policies", "it has to be a list of one or more names")
    if len(set(policies)) < len(policies):
        raise _wrong("policies", "each may be named once")
    options = said.get("options", {})
    if not isinstance(options, dict):
        raise _wrong("options", "it has to be a table")
    return Scenario(
        name=name,
        title=_text(said, "title"),
        kind=_text(said, "kind"),
        policies=tuple(policies),
        seeds=seeds_of(said.get("seeds", [0])),
        options=options,
        published=_published(said.get("published", {})),
        note=_text(said, "note") if "note" in said else "",
    )


def _wrong(key: str, why: str) -> InvalidInput:
    return InvalidInput(f"the scenario's `{key}` cannot be used: {why}", where=f"$.{key}")


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _text(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(key, "it has to be a text")
    return value


def seeds_of(said: object) -> tuple[int, ...]:
    """Return the seeds that a list or a range such as "42-51" says."""
    if isinstance(said, str):
        first, dash, last = said.partition("-")
        if not (dash and first.strip().isdigit() and last.strip().isdigit()):
            raise _wrong("seeds", 'a range is written as "42-51"')
        low, high = int(first), int(last)
        if not low <= high < low + SEEDS_MAX:
            raise _wrong("seeds", f"a range goes upwards and holds at most {SEEDS_MAX} seeds")
        return tuple(range(low, high + 1))
    if not isinstance(said, list) or not 0 < len(said) <= SEEDS_MAX:
        raise _wrong("seeds", f"it has to be a range or a list of 1 to {SEEDS_MAX} numbers")
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in said):
        raise _wrong("seeds", "seeds are whole numbers from 0")
    if len(set(said)) < len(said):
        raise _wrong("seeds", "each may be named once")
    return tuple(said)


def _published(said: object) -> dict[str, dict[str, float]]:
    if not isinstance(said, dict):
        raise _wrong("published", "it has to be a table of policies")
    found: dict[str, dict[str, float]] = {}
    for policy, figures in said.items():
        if not isinstance(figures, dict):
            raise _wrong(f"published.{policy}", "it has to be a table of metrics")
        for metric, value in figures.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise _wrong(f"published.{policy}.{metric}", "it has to be a number")
        found[policy] = {metric: float(value) for metric, value in figures.items()}
    return found
