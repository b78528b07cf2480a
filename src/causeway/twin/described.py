"""What a kind's options are, as rows for `causeway twin kinds` and for the docs."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec


def described(options: type[Any]) -> list[dict[str, str]]:
    """Return each option's name, type and default, in the order in which the kind declares them.

    >>> class O(msgspec.Struct):
    ...     nodes: int
    ...     spread: bool = False
    >>> described(O)[1]
    {'name': 'spread', 'type': 'bool', 'default': 'false'}
    """
    hints = typing.get_type_hints(options)
    rows = []
    for one in msgspec.structs.fields(options):
        if one.default is not msgspec.NODEFAULT:
            default = _said(one.default)
        elif one.default_factory is not msgspec.NODEFAULT:
            default = _said(one.default_factory())
        else:
            default = "required"
        kind = hints.get(one.name, one.type)
        rows.append({"name": one.encode_name, "type": _type(kind), "default": default})
    return rows


def _said(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except TypeError:
        return str(value)


def _type(kind: Any) -> str:
    if isinstance(kind, type) and not isinstance(kind, types.GenericAlias):
        return kind.__name__
    return str(kind).replace("typing.", "")
