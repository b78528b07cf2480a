"""The sorts of experiment that a scenario may name; each is one module, imported when it is named.

A kind reads its traces, drives the rooms over them and returns an `Outcome`. What is decided is
decided in the rooms, by the same functions as in the control plane; a kind is the clock, the
arrivals and the fleet around them. A peer's published policy that we only measure against lives
in the room too, beside ours.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from causeway.model.errors import InvalidInput
from causeway.twin.outcome import Outcome
from causeway.twin.scenario import Scenario

MODULES: Mapping[str, str] = {
    "carbon": "carbon",
    "carbon_places": "carbon_places",
    "deadline": "deadline",
    "domains": "domains",
    "elastic": "elastic",
    "packing": "packing",
    "queue": "queue",
    "rounds": "rounds",
    "spot": "spot",
    "stages": "stages",
    "tidal": "tidal",
}
"""Kind -> module of this package that has it as `KIND`."""

O = TypeVar("O")  # noqa: E741 - the options of a kind

Progress = Callable[[float], None]
"""Told the share of the run that is done, 0..1, now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[O]):
    """One sort of experiment."""

    options: type[O]
    """A msgspec Struct with `forbid_unknown_fields`; its defaults are the kind's."""
    policies: tuple[str, ...]
    run: Callable[[O, str, int, Path, Progress], Outcome]
    """Called with options, policy, seed, folder of traces and progress. Deterministic: an equal
    call gives an equal outcome, whatever ran before in the process."""


def kind_of(scenario: Scenario) -> tuple[Kind[Any], Any]:
    """Return a scenario's kind and its checked options.

    Raises:
        InvalidInput: no such kind or policy, or an option that the kind does not have.
    """
    kind = kind_named(scenario.kind)
    for policy in scenario.policies:
        if policy not in kind.policies:
            raise InvalidInput(
                f"`{scenario.kind}` has no policy `{policy}`; it has {', '.join(kind.policies)}",
                where="$.policies",
            )
    try:
        options = msgspec.convert(dict(scenario.options), kind.options)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the scenario's options: {error}", where="$.options") from error
    return kind, options


def kind_named(name: str) -> Kind[Any]:
    """Return the kind of a name; InvalidInput says which there are."""
    module = MODULES.get(name)
    if module is None:
        known = ", ".join(sorted(MODULES)) or "none"
        raise InvalidInput(
            f"there is no kind `{name}` of scenario; there are {known}", where="$.kind"
        )
    kind: Kind[Any] = importlib.import_module(f"{__name__}.{module}").KIND
    return kind
