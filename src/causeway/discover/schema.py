"""The table of names: what a filter can ask about an offer.

Each `Term` says its type, unit, a sentence, and how it is read from a `PoolView`; the reference
table in the docs is generated from here. `None` means "not known".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from causeway.discover.accelerators import nameplate, short_name
from causeway.model.fleet import PoolView
from causeway.model.islands import Device

GIB = 1024**3
Value = float | str | bool | tuple[str, ...] | None


class Type(StrEnum):
    NUMBER = "number"
    TEXT = "text"
    """Compared without regard to case."""
    FLAG = "flag"
    SET = "set"
    """Several words at once; asked with `has`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One name of the language."""

    name: str
    type: Type
    unit: str
    text: str
    """One sentence for people."""
    read: Callable[[PoolView], Value]


def _least(pool: PoolView, figure: Callable[[Device], float]) -> float | None:
    """Return the figure of the weakest device, so that a filter holds for all of them."""
    if not pool.devices:
        return None
    return min(figure(d) for d in pool.devices) or None


def _ncu(device: Device) -> float:
    return device.measured_ncu or device.nameplate_ncu or nameplate(device.model).ncu


def _price_usd(pool: PoolView) -> float | None:
    # A price in another currency is not comparable without a rate, so it counts as not known.
    return float(pool.price.amount_per_device_h) if pool.price.currency == "USD" else None


def _measured(value: float) -> float | None:
    return value if value > 0 else None


_N, _T, _F, _S = Type.NUMBER, Type.TEXT, Type.FLAG, Type.SET
_ROWS: tuple[tuple[str, Type, str, str, Callable[[PoolView], Value]], ...] = (
    ("accelerator.model", _T, "", "Short name of the accelerator, e.g. H100.",
     lambda p: short_name(p.devices[0].model) if p.devices else None),
    ("accelerator.vendor", _T, "", "Who makes it, e.g. nvidia.",
     lambda p: p.devices[0].vendor if p.devices else None),
    ("accelerator.memory_gib", _N, "GiB",
     "Memory of each device, rounded up: drivers keep some back.",
     lambda p: _least(p, lambda d: math.ceil(d.memory_bytes / GIB))),
    ("accelerator.ncu", _N, "TFLOP/s", "Dense BF16 rate of each device: measured, else data sheet.",
     lambda p: _least(p, _ncu)),
    ("accelerator.tdp_w", _N, "W", "Thermal design power of each device.",
     lambda p: _least(p, lambda d: d.tdp_w or nameplate(d.model).tdp_w)),
    ("accelerator.count", _N, "devices", "Accelerators in the pool.",
     lambda p: p.capacity.accelerators),
    ("accelerator.free", _N, "devices", "Accelerators that are free now.",
     lambda p: p.free.accelerators),
    ("cpus", _N, "cores", "Cores in the pool.", lambda p: p.capacity.cpu_milli / 1000),
    ("free_cpus", _N, "cores", "Cores that are free now.", lambda p: p.free.cpu_milli / 1000),
    ("memory_gib", _N, "GiB", "Main memory of the pool.", lambda p: p.capacity.memory_bytes / GIB),
    ("free_memory_gib", _N, "GiB", "Main memory that is free now.",
     lambda p: p.free.memory_bytes / GIB),
    ("disk_gib", _N, "GiB", "Scratch space of the pool.", lambda p: p.capacity.disk_bytes / GIB),
    ("free_disk_gib", _N, "GiB", "Scratch space that is free now.",
     lambda p: p.free.disk_bytes / GIB),
    ("site.jurisdiction", _T, "", "Country of the site (ISO 3166-1 alpha-2).",
     lambda p: p.jurisdiction or None),
    ("site.region", _T, "", "Region as the owner names it.", lambda p: p.region or None),
    ("site.grid_zone", _T, "", "Electricity grid zone.", lambda p: p.grid_zone or None),
    ("operator.country", _T, "", "Country of the operator's ultimate parent.",
     lambda p: p.operator_country or p.jurisdiction or None),
    ("provider", _T, "", "Party that is paid.", lambda p: p.provider or None),
    ("island", _T, "", "Name of the island.", lambda p: p.name or None),
    ("price_usd_per_device_h", _N, "USD/device·h", "Price of one device for an hour.", _price_usd),
    ("purchase", _T, "", "on_demand, spot or reserved.", lambda p: p.purchase.value),
    ("pue", _N, "", "Power usage effectiveness: facility energy over IT energy.", lambda p: p.pue),
    ("carbon_g_per_kwh", _N, "gCO2e/kWh", "Carbon intensity of the grid there.",
     lambda p: p.carbon_g_per_kwh),
    ("power_w_per_device", _N, "W", "Estimated IT power of one busy device.",
     lambda p: p.power_w_per_device),
    ("interruptions_per_day", _N, "1/day", "Expected losses of the whole island.",
     lambda p: p.interruptions_per_day),
    ("rtt_ms", _N, "ms", "Measured round trip from island to centre.",
     lambda p: _measured(p.rtt_ms)),
    ("bandwidth_mbit_s", _N, "Mbit/s", "Measured bandwidth from island to centre.",
     lambda p: _measured(p.bandwidth_mbit_s)),
    ("queue_wait_s", _N, "s", "Expected wait before a device is free.", lambda p: p.queue_wait_s),
    ("age_s", _N, "s", "Since the island was last heard from.", lambda p: p.age_ms / 1000),
    ("fresh", _F, "", "Whether its figures are recent enough to place work.", lambda p: p.fresh),
    ("healthy", _F, "", "Whether nothing is known to be wrong.", lambda p: p.healthy),
    ("cordoned", _F, "", "Whether new work is kept away.", lambda p: p.cordoned),
    ("images", _F, "", "Whether it runs container images.", lambda p: p.images),
    ("simulated", _F, "", "Whether any declared figure is made up for a demonstration.",
     lambda p: bool(p.simulated)),
    ("engine", _T, "", "What runs the jobs: local, slurm, ...", lambda p: p.engine or None),
    ("isolation", _S, "", "Isolation levels that work: process, limits, sandbox, container.",
     lambda p: p.isolation),
    ("warm", _S, "", "Warm environments that are ready.", lambda p: p.warm),
    ("rents", _S, "", "What it hands over to whoever rents its room: shell, slurm, ray.",
     lambda p: p.rents),
)  # fmt: skip

SCHEMA: dict[str, Term] = {
    name: Term(name=name, type=type_, unit=unit, text=text, read=read)
    for name, type_, unit, text, read in _ROWS
}
"""Every name, in the order of the documentation."""


def describe(pool: PoolView) -> dict[str, object]:
    """Return one offer as plain data under the schema's names; what is not known is None."""
    values: dict[str, object] = {"offer": pool.offer, "pool": pool.pool}
    for name, term in SCHEMA.items():
        value = term.read(pool)
        values[name] = list(value) if isinstance(value, tuple) else value
    return values
