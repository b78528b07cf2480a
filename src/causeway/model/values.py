"""Changed copies of frozen values, made quickly.

The control plane and the agents decide by replacing values, tens of times per message, and
`dataclasses.replace` sets each field of the copy through `object.__setattr__`: 7 microseconds for
an attempt, a sixth of what a message costs in all. Here the copy is filled as an instance of a
sibling class with the same slots that is not frozen, and is then given its real class; that takes a
tenth of the time. Nothing else holds the copy before it is frozen.

A class that this is not sound for (one that checks itself in `__post_init__`, has ancestors or no
slots) goes through `dataclasses.replace` as ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

_Copier = Callable[[Any, Mapping[str, Any]], Any]
_COPIERS: dict[type, _Copier] = {}
"""Class -> what copies its values; as many entries as there are classes."""

if TYPE_CHECKING:
    # Type checkers know which fields this name may be called with.
    from dataclasses import replace as replace
else:

    def replace(value: Any, /, **changes: Any) -> Any:
        """Return a copy of a dataclass value with some fields changed.

        >>> from causeway.model.resources import Capacity
        >>> replace(Capacity(cpu_milli=500), accelerators=1).cpu_milli
        500
        """
        copier = _COPIERS.get(value.__class__)
        if copier is None:
            copier = _COPIERS[value.__class__] = _copier_of(value.__class__)
        return copier(value, changes)


def _copier_of(cls: type) -> _Copier:
    fields = dataclasses.fields(cls)
    names = [field.name for field in fields]
    plain = (
        cls.__bases__ == (object,)
        and cls.__dict__.get("__slots__") == tuple(names)
        and all(field.init for field in fields)
        and not hasattr(cls, "__post_init__")
    )
    if not plain:
        return lambda value, changes: dataclasses.replace(value, **changes)
    sibling = type(cls.__name__, (), {"__slots__": tuple(names)})
    # Written out field by field, as `dataclasses` writes `__init__`: a loop takes thrice as long.
    lines = [
        "def copier(value, changes):",
        "    copy = sibling()",
        *(f"    copy.{name} = value.{name}" for name in names),
        "    for name, changed in changes.items():",
        "        if name not in names:",
        "            raise TypeError(f'{cls.__name__} has no field {name!r}')",
        "        setattr(copy, name, changed)",
        "    copy.__class__ = cls",
        "    return copy",
    ]
    scope: dict[str, Any] = {"cls": cls, "sibling": sibling, "names": frozenset(names)}
    exec("\n".join(lines), scope)
    copier: _Copier = scope["copier"]
    return copier
