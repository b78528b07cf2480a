"""The quick copy is the slow one, for every dataclass of the model."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from typing import Any

import pytest

import causeway.agent
import causeway.control
import causeway.model
from causeway.model.resources import Capacity
from causeway.model.values import replace


def _classes() -> list[type[Any]]:
    found: dict[type[Any], None] = {}
    for package in (causeway.model, causeway.control, causeway.agent):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for one in vars(importlib.import_module(module.name)).values():
                if isinstance(one, type) and getattr(one, "__dataclass_fields__", None):
                    # One that makes itself (a command's overlay) is never replaced.
                    if not one.__dataclass_params__.init:
                        continue
                    found[one] = None
    return list(found)


@pytest.mark.parametrize("cls", _classes(), ids=lambda cls: cls.__qualname__)
def test_a_copy_is_what_dataclasses_would_make(cls: type[Any]) -> None:
    value = object.__new__(cls)
    for number, field in enumerate(dataclasses.fields(cls)):
        object.__setattr__(value, field.name, f"value {number}")
    name = dataclasses.fields(cls)[0].name
    copy = replace(value, **{name: "changed"})
    assert type(copy) is cls
    if all(field.init for field in dataclasses.fields(cls)):
        slow = dataclasses.replace(value, **{name: "changed"})
        for field in dataclasses.fields(cls):
            assert getattr(copy, field.name) == getattr(slow, field.name)
    assert getattr(value, name) == "value 0"


def test_a_copy_is_frozen_equal_and_hashes_alike() -> None:
    copy = replace(Capacity(cpu_milli=500), accelerators=1)
    assert copy == Capacity(cpu_milli=500, accelerators=1)
    assert hash(copy) == hash(Capacity(cpu_milli=500, accelerators=1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        copy.cpu_milli = 1  # type: ignore[misc]


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="no field"):
        replace(Capacity(), cpus=1)  # type: ignore[call-arg]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Refuses what is negative."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("negative")


def test_a_class_that_checks_itself_goes_on_doing_so() -> None:
    with pytest.raises(ValueError, match="negative"):
        replace(Checked(count=1), count=-1)
