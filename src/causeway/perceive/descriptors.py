"""What an identifier stands for: the attributes of everything that an island is made of.

A name says nothing about the thing, and stays when the thing changes. Its attributes are in a
descriptor: plain data of strings, integers, lists and objects, so that equal descriptors have equal
canonical bytes and can be cited by their digest (`model.identifiers.digest`). A descriptor holds
what changes seldom; what is measured again and again (load, speed, free capacity) is not in it.

Classes follow GLUE 2.0 (site, service, share) and the device attributes of Kubernetes DRA:

    island -> site, provider, pool -> node, device; pool -> offer -> price

An island without partitioned accelerators has no slices, and none is described.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from decimal import Decimal
from enum import Enum
from typing import Any

from causeway.model.identifiers import Kind, Urn
from causeway.model.islands import Inventory, Island
from causeway.perceive.views import offer_id, pool_id, price_of

Descriptor = Mapping[str, object]
MEASURED = frozenset({"measured_ncu", "healthy"})
_OTHERS = re.compile(r"[^a-z0-9._-]+")


def plain(value: Any) -> Any:
    """Return a value as canonical plain data: fractions become decimal text.

    >>> plain({"pue": 1.25, "spot": True, "names": ("a",)})
    {'pue': '1.25', 'spot': True, 'names': ['a']}
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float | Decimal):
        exact = Decimal(repr(value)) if isinstance(value, float) else value
        return f"{exact.normalize():f}"
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def provider_id(issuer: str, name: str) -> str:
    """Return the identifier of a provider from the name that profiles give."""
    slug = _OTHERS.sub("-", name.lower()).strip("-._")[:80]
    return str(Urn(issuer, Kind.PROVIDER, slug or "unnamed"))


def of_island(island: Island) -> Iterator[tuple[str, Descriptor]]:
    """Yield (identifier, descriptor) of the island and all its parts."""
    profile, issuer = island.profile, Urn.parse(island.id).issuer
    site = str(Urn(issuer, Kind.SITE, profile.name))
    provider = provider_id(issuer, profile.provider)
    pool = pool_id(island.id, profile.name)
    offer = offer_id(island.id, profile.name, profile.purchase)
    declared = plain(asdict(profile))
    place = ("jurisdiction", "region", "latitude_deg", "longitude_deg", "grid_zone")
    yield (
        island.id,
        {
            "name": profile.name,
            "site": site,
            "provider": provider,
            "pools": [pool],
            "operator_country": profile.operator_country or profile.jurisdiction,
            "public_key": island.public_key,
            "interruptions_per_day": declared["interruptions_per_day"],
            "declared": True,
            "simulated": declared["simulated"],
        },
    )
    figures = (*place, "pue", "carbon_g_per_kwh")
    yield site, {name: declared[name] for name in figures} | {"declared": True}
    yield provider, {"name": profile.provider}
    price = price_of(
        island.id,
        name=profile.name,
        purchase=profile.purchase,
        amount=profile.price_per_device_h,
        currency=profile.currency,
    )
    terms = {"purchase": profile.purchase.value, "price": price.id, "policy": declared["policy"]}
    yield offer, {"pool": pool, **terms}
    yield (
        price.id,
        {
            "amount_per_device_h": plain(price.amount_per_device_h),
            "currency": price.currency,
        },
    )
    if island.inventory is not None:
        yield from _of_inventory(island, island.inventory, pool)


def _of_inventory(
    island: Island, inventory: Inventory, pool: str
) -> Iterator[tuple[str, Descriptor]]:
    name, issuer = island.profile.name, Urn.parse(island.id).issuer
    found = plain(asdict(inventory))
    node = str(Urn(issuer, Kind.NODE, f"{name}.main.0"))
    devices = [
        str(Urn(issuer, Kind.DEVICE, f"{name}.main.0.{device.index}"))
        for device in inventory.devices
    ]
    held = ("capacity", "isolation", "images", "engine", "warm", "power_source", "power_quality")
    yield (
        pool,
        {
            "island": island.id,
            "nodes": [node],
            "devices": devices,
            **{key: found[key] for key in held},
        },
    )
    built = ("hostname", "os", "architecture", "cpu_model", "agent_version")
    yield node, {"pool": pool, **{key: found[key] for key in built}}
    for urn, device in zip(devices, found["devices"], strict=True):
        lasting = {key: value for key, value in device.items() if key not in MEASURED}
        yield urn, {"node": node, **lasting}
