"""Accelerators in the unit of export rules: total processing performance.

TPP = 2 x MacTOPS x bit length, dense, in the best format; one dense TFLOP/s at 16 bits is 16 of it.
It serves compliance only, never billing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from causeway.law.rules import Rules
from causeway.model.islands import Device

TPP_PER_NCU = 16
"""One NCU is one dense BF16 TFLOP/s."""


def tpp_of(devices: Iterable[Device], rules: Rules) -> tuple[str, int]:
    """Return (model, TPP) of the strongest device; ("", 0) without any.

    The table of the rules goes before nameplate figures, which are at 16 bits only and so too low
    for parts that do better at 8. A device that is neither listed nor rated counts as 0.
    """
    best = ("", 0)
    for model, ncu in {(device.model, device.nameplate_ncu) for device in devices}:
        found = (model, _listed(model, rules) or round(ncu * TPP_PER_NCU))
        best = max(best, found, key=lambda one: (one[1], one[0]))
    return best


def _listed(model: str, rules: Rules) -> int:
    """Return the listed TPP of a name such as `NVIDIA H100 80GB HBM3`; 0 when it is not listed."""
    name = model.upper()
    return max(
        (
            tpp
            for listed, tpp in rules.tpp.items()
            if re.search(rf"(?<![A-Z0-9]){re.escape(listed)}(?![A-Z0-9])", name)
        ),
        default=0,
    )
