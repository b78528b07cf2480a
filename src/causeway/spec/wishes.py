"""What a user would rather have, may spend, and must have: the fields of a job that steer where it
is placed rather than what it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from causeway.model.errors import InvalidInput
from causeway.model.jobs import DataLabel, Objective
from causeway.spec.fields import Fields, Read, bound, kind_of, text_within, unknown, whole_within
from causeway.spec.units import instant_ms, micros, money, shown

CHEAPEST = Objective(usd_per_h_waited=0.02, usd_per_kg_co2e=0.0, usd_per_loss=0.1)
FASTEST = Objective(usd_per_h_waited=100.0, usd_per_kg_co2e=0.0, usd_per_loss=10.0)
GREENEST = Objective(usd_per_h_waited=0.02, usd_per_kg_co2e=20.0, usd_per_loss=0.1)
OBJECTIVES = {"cheapest": CHEAPEST, "fastest": FASTEST, "greenest": GREENEST}
"""Exchange rates by the word that asks for them."""

_LIBRARY = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}\Z")


def is_library(reference: str) -> bool:
    """Say whether a reference is a name in the library."""
    return bool(_LIBRARY.match(reference))


def _data(f: Fields, field: str, _: tuple[DataLabel, ...]) -> tuple[DataLabel, ...]:
    value = f.take(field)
    if not isinstance(value, list):
        raise InvalidInput(f"must be a list of labels, not {kind_of(value)}", where=f.at(field))
    bound(value, f.at(field), 100)
    labels = []
    for i, item in enumerate(value):
        d = Fields(item, f"{f.at('data')}[{i}]")
        label = DataLabel(
            data_class=d.text("class"),
            subject_region=d.text("subject_region"),
            mechanisms=d.texts("mechanisms"),
        )
        d.done()
        if not label.data_class:
            raise InvalidInput("a label needs a class", where=d.at("class"), hint="class: personal")
        labels.append(label)
    return tuple(labels)


def _objective(f: Fields, field: str, default: Objective) -> Objective:
    value = f.take(field)
    if isinstance(value, str):
        if value not in OBJECTIVES:
            raise unknown(value, list(OBJECTIVES), f.at(field), what="objective")
        return OBJECTIVES[value]
    o = Fields(value, f.at(field), what="cheapest, fastest, greenest or a mapping of rates")
    found = Objective(
        usd_per_h_waited=o.rate("usd_per_h_waited", default.usd_per_h_waited),
        usd_per_kg_co2e=o.rate("usd_per_kg_co2e", default.usd_per_kg_co2e),
        usd_per_loss=o.rate("usd_per_loss", default.usd_per_loss),
    )
    o.done()
    return found


def _model(f: Fields, field: str, _: str) -> str:
    value = f.take(field)
    if isinstance(value, str):
        found, place = value, f.at(field)
    else:
        m = Fields(value, f.at(field), what="a name or a mapping")
        found, place = m.text("name"), m.at("name")
        m.done()
    if not is_library(found):
        raise InvalidInput(
            f"{shown(found)} is not a model's name",
            where=place,
            hint="1-80 of a-z, 0-9, '.', '_' and '-'",
        )
    return found


def _quantity(read: Callable[[object, str], Any]) -> Read:
    return lambda f, field, _: read(f.take(field), f.at(field))


WISHES: dict[str, tuple[str, Read]] = {
    "priority": ("priority", whole_within(-100, 100)),
    "deadline": ("deadline_ms", _quantity(instant_ms)),
    "price_cap_per_device_h": ("price_cap_per_device_h", _quantity(money)),
    "budget": ("budget_micros", _quantity(micros)),
    "spot": ("spot", Fields.flag),
    "where": ("where", text_within(4_096)),
    "data": ("data", _data),
    "objective": ("objective", _objective),
    "image": ("image", text_within(512)),
    "warm": ("warm", text_within(64)),
    "model": ("model_name", _model),
}
"""What the user would rather have, may spend, and must have."""
