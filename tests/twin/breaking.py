"""Breaks one guard of the system on purpose: the proof that a check of the simulation can fail.

A guard is a place in the source and what it is replaced with. The broken copy is made from the
source as it is today, so a guard that is rewritten makes its case fail loudly rather than pass for
nothing.
"""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

from causeway.twin.run import SETTINGS, Result, Scale, simulate

SMALL = Scale(submissions=12, hours=6, faults=40, patience_h=72)
DENSE = Scale(submissions=40, hours=8, faults=300, patience_h=72)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One guard, how it is broken, and what must be noticed."""

    name: str
    owner: ModuleType | type
    function: str
    was: str
    becomes: str
    caught: str
    """Name of the invariant that must be reported."""
    tick_ms: int = SETTINGS.tick_ms
    first: int = 1
    """First seed that is tried: one that notices it at once, as things are."""
    seeds: int = 25
    """Seeds within which it must be noticed, since the draws change with the code."""


@contextmanager
def broken(guard: Guard) -> Iterator[None]:
    """Run with the broken copy in place."""
    whole = inspect.getattr_static(guard.owner, guard.function)
    source = textwrap.dedent(inspect.getsource(whole))
    assert guard.was in source, f"{guard.name}: the guard is not where it was"
    module = sys.modules[whole.__module__]
    code = compile(
        source.replace(guard.was, guard.becomes),
        f"<broken: {guard.name}>",
        "exec",
        flags=__future__.annotations.compiler_flag,
        dont_inherit=True,
    )
    made: dict[str, object] = {}
    exec(code, vars(module), made)
    setattr(guard.owner, guard.function, made[whole.__name__])
    try:
        yield
    finally:
        setattr(guard.owner, guard.function, whole)


def caught(guard: Guard, scale: Scale = SMALL) -> list[Result]:
    """Run the guard's seeds with it broken, until one that reports the invariant."""
    results = []
    with broken(guard):
        for seed in range(guard.first, guard.first + guard.seeds):
            settings = replace(SETTINGS, tick_ms=guard.tick_ms)
            results.append(simulate(seed, scale, settings))
            if results[-1].violated == guard.caught:
                break
    return results
