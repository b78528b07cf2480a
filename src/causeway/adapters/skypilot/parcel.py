"""What a rented machine is given: our own wheel, its island's profile, its limits, the authority.

A zip that SkyPilot's API server carries to the machine. Nothing secret is in it: the join token
travels as a secret of the task. Everything else that the wheel needs comes from the machine's own
package index: SkyPilot's bootstrap needs the internet there anyway.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from causeway.adapters.skypilot.fits import profile_of
from causeway.adapters.skypilot.profile import BurstProfile, place_of
from causeway.adapters.skypilot.task import FOLDER
from causeway.adapters.ssh.wheelhouse import EPOCH, OwnWheel, own_wheel
from causeway.burst import Limits, Rental

WATCH_MORE_MS = 5 * 60_000
"""The machine leaves an idle lease so much later than its controller would give it back."""


def parcel(rental: Rental, profile: BurstProfile, *, url: str, ca: str = "") -> bytes:
    """Return the zip for one machine; equal content makes an equal zip."""
    place = place_of(profile, rental.offer.infra)
    declared = profile_of(rental.offer, place, name=rental.name)
    wheel = _wheel()
    files = {
        wheel.name: wheel.data,
        "island.toml": toml({**place.island, **_priced(declared)}).encode(),
        "lease.json": json.dumps(
            {
                "url": url,
                "name": rental.name,
                "poweroff": list(profile.poweroff),
                "limits": asdict(limits(rental, profile)),
            }
        ).encode(),
    }
    if ca:
        files["ca.pem"] = ca.encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(f"{FOLDER}/{name}", EPOCH), data)
    return held.getvalue()


def limits(rental: Rental, profile: BurstProfile) -> Limits:
    """Return when the machine is to leave by itself."""
    policy = profile.policy
    return Limits(
        until_ms=rental.until_ms,
        lease_ms=policy.lease_ms,
        drain_ms=min(policy.drain_ms, policy.lease_ms // 2),
        idle_ms=policy.idle_ms + WATCH_MORE_MS,
        unreachable_ms=profile.unreachable_ms,
    )


def toml(fields: Mapping[str, Any]) -> str:
    """Write plain fields as TOML: texts, numbers, flags, lists of texts, and one level of tables.

    >>> print(toml({"name": "a", "policy": {"tenants": ["x"]}, "pue": 1.2}), end="")
    name = "a"
    pue = 1.2
    [policy]
    tenants = ["x"]
    """
    lines = [f"{k} = {json.dumps(v)}" for k, v in fields.items() if not isinstance(v, Mapping)]
    for name, table in fields.items():
        if isinstance(table, Mapping):
            lines += [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def _priced(declared: Any) -> Mapping[str, Any]:
    return {
        "name": declared.name,
        "provider": declared.provider,
        "purchase": declared.purchase.value,
        "price_per_device_h": str(declared.price_per_device_h),
        "currency": declared.currency,
    }


@lru_cache(maxsize=1)
def _wheel() -> OwnWheel:
    return own_wheel()
