"""Accelerators that an engine only knows by a name: what they are, by the data sheets. Pure."""

from __future__ import annotations

import msgspec

from causeway.model.islands import Device

GIB = 1024**3
UNNAMED = "gpu"
"""Model of accelerators of which nobody says what they are."""


class DeviceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an accelerator of this cluster is, by the profile."""

    model: str
    vendor: str = ""
    memory_gib: float = 0.0


def model(reported: str) -> str:
    """Return the name that people ask for, from an engine's name of a type.

    >>> model("h100"), model("nvidia_a100-sxm4-80gb"), model("")
    ('H100', 'A100', 'gpu')
    """
    if not reported:
        return UNNAMED
    # The catalogue brings NumPy along, which no other kind of island has a use for.
    from causeway.discover.accelerators import short_name

    short = short_name(reported.replace("_", " ").replace("-", " "))
    return short.upper() if short == short.lower() else short


def device(index: int, told: DeviceSettings, *, vendor: str = "") -> Device:
    """Return one accelerator; `vendor` is what the engine says, where the profile does not."""
    from causeway.discover.accelerators import nameplate

    sheet = nameplate(told.model)
    return Device(
        index=index,
        vendor=told.vendor or vendor or sheet.vendor or "other",
        model=told.model,
        memory_bytes=round((told.memory_gib or sheet.memory_gib) * GIB),
        nameplate_ncu=sheet.ncu,
        tdp_w=sheet.tdp_w,
    )


def rated_w(wanted: str) -> float:
    """Return the rated power of a model, by its data sheet; 0: unknown."""
    from causeway.discover.accelerators import nameplate

    return nameplate(wanted).tdp_w if wanted else 0.0
