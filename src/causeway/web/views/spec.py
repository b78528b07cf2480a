"""A job's specification as YAML: what was asked for, without what was left at its default."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import Enum

import yaml

from causeway.model.jobs import JobSpec


class _Dumper(yaml.SafeDumper):
    """Writes scripts as blocks, as a person would."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def spec_yaml(spec: JobSpec) -> str:
    """Return the specification as YAML."""
    return yaml.dump(_changed(spec), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96)


def _changed(value: object) -> object:
    """Turn a value into plain data, leaving out fields that equal their default."""
    if is_dataclass(value) and not isinstance(value, type):
        plain = {}
        for entry in fields(value):
            held = getattr(value, entry.name)
            default = entry.default
            if entry.default_factory is not MISSING:
                default = entry.default_factory()
            if default is MISSING or held != default:
                plain[entry.name] = _changed(held)
        return plain
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, tuple | list):
        return [_changed(item) for item in value]
    if hasattr(value, "items"):
        return {str(k): _changed(v) for k, v in value.items()}
    return value
