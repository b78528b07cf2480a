"""The `resources` field: what one node asks for.

Accelerators come as `H100:8`, `{H100: 8}`, `80GB+:2` (any model with that much memory),
`A100:40GB:2`, or spelled out as `{model, count, memory}`. A memory amount is always read as "at
least": a device with more will do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from causeway.model.errors import InvalidInput
from causeway.model.resources import AcceleratorRequest, Resources
from causeway.spec.fields import Fields, kind_of, text, whole
from causeway.spec.units import cpu_milli, shown, size_bytes

ACCELERATORS_MAX = 1_024
_MODEL = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]{0,63}\Z")
_MEMORY = re.compile(r"[0-9.]+\s*[A-Za-z]+\+?\Z")


def resources(f: Fields, field: str, default: Resources) -> Resources:
    """Read `resources` of a job."""
    r = Fields(f.take(field), f.at(field))
    cpus, memory, disk = r.take("cpus"), r.take("memory"), r.take("disk")
    asked = r.take("accelerators")
    found = Resources(
        cpu_milli=default.cpu_milli if cpus is None else cpu_milli(cpus, r.at("cpus")),
        memory_bytes=default.memory_bytes if memory is None else _some(memory, r.at("memory")),
        disk_bytes=default.disk_bytes if disk is None else size_bytes(disk, r.at("disk")),
        accelerator=default.accelerator
        if asked is None
        else accelerator(asked, r.at("accelerators")),
    )
    r.done()
    return found


def _some(value: object, where: str) -> int:
    found = size_bytes(value, where)
    if found < 1:
        raise InvalidInput(f"{shown(value)} is no memory at all", where=where, hint="e.g. 2GiB")
    return found


def accelerator(value: object, where: str) -> AcceleratorRequest:
    """Read one request for accelerators in any of its forms.

    >>> accelerator("80GB+:2", "$").memory_bytes_min
    80000000000
    """
    if isinstance(value, str):
        return _written(value, where)
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"must be e.g. H100:8, not {kind_of(value)}", where=where, hint="accelerators: H100:8"
        )
    if {"model", "count", "memory"} & set(value):
        f = Fields(value, where)
        model, memory = f.text("model"), f.take("memory")
        if model:
            _check_model(model, f.at("model"))
        found = AcceleratorRequest(
            count=f.whole("count", 1, low=1, high=ACCELERATORS_MAX),
            model=model,
            memory_bytes_min=0 if memory is None else _least(memory, f.at("memory")),
        )
        f.done()
        return found
    if len(value) != 1:
        raise InvalidInput(
            f"names {len(value)} models; one job takes one",
            where=where,
            hint="accept several with where: accelerator.model in [H100, H200]",
        )
    ((model_key, count),) = value.items()
    base = _written(str(model_key), where)
    if count is None:
        # `{H100:8}` without a space is YAML for a key that holds the colon.
        return base
    return replace(base, count=whole(count, f"{where}.{model_key}", low=1, high=ACCELERATORS_MAX))


def _written(written: str, where: str) -> AcceleratorRequest:
    model, memory, count = "", 0, 1
    for piece in text(written, where, chars_max=128).split(":"):
        part = piece.strip()
        if re.fullmatch(r"-?[0-9]+", part):
            count = whole(int(part[:20]), where, low=1, high=ACCELERATORS_MAX)
        elif _MEMORY.match(part):
            memory = _least(part, where)
        elif not model:
            model = _check_model(part, where)
        else:
            raise InvalidInput(
                f"{shown(written)} is not a request for accelerators",
                where=where,
                hint="e.g. H100:8, A100:80GB:2 or 80GB+:2",
            )
    return AcceleratorRequest(count=count, model=model, memory_bytes_min=memory)


def _least(value: object, where: str) -> int:
    return size_bytes(value.strip().removesuffix("+") if isinstance(value, str) else value, where)


def _check_model(model: str, where: str) -> str:
    if not _MODEL.match(model):
        raise InvalidInput(
            f"{shown(model)} is not an accelerator model",
            where=where,
            hint="e.g. H100:8, A100:80GB:2 or 80GB+:2",
        )
    return model
