"""What SkyPilot's API server answered -> values and sentences. Pure.

An answer carries pickles beside its plain text (`error.object`, `entrypoint`, `request_body`); only
the plain text is ever read. Shapes are those of API version 62 (SkyPilot 0.14); a field that is
missing is an answer that we do not understand, and is said so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from causeway.adapters.skypilot.profile import BurstProfile
from causeway.burst import Launch, Machine, Offer
from causeway.model.errors import Unavailable
from causeway.model.money import Purchase
from causeway.model.resources import Capacity

OFFERS_MAX = 48
"""Cheapest first; the scheduler's table of excluded offers holds 64."""
GIB = 1024**3
MEMORY_SHARE = 0.9
"""Of the catalogue's memory; the rest is the system's."""
SENTENCE_CHARS = 300
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_KNOWN: Mapping[str, str] = {
    "ConnectionError": "the cloud cannot be reached from SkyPilot's API server",
    "ResourcesUnavailableError": "the cloud has none to give now",
    "NoCloudAccessError": "SkyPilot has no working credentials for it",
    "NotSupportedError": "the cloud does not support what was asked",
    "ClusterDoesNotExist": "there is no such machine",
    "RequestCancelled": "the request was cancelled",
}
"""What kinds of failure mean, as far as we know them."""
_HOST = re.compile(r"host='([^']+)'")
_UNDER_WAY = frozenset({"PENDING", "WAITING", "RUNNING"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, as the API server lists it."""

    id: str
    name: str
    """`sky.launch`, `sky.down`, ..."""
    state: Launch
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One machine, as SkyPilot lists it."""

    name: str
    machine: Machine
    message: str = ""


def offers(value: Any, profile: BurstProfile) -> tuple[Offer, ...]:
    """Read the answer of `/list_accelerators`: offers that the profile allows, cheapest first."""
    if not isinstance(value, dict):
        raise unclear("/list_accelerators", value)
    places = {(place.cloud, place.infra.partition("/")[2]) for place in profile.places}
    models = {name.casefold() for name in profile.accelerators}
    found = []
    for name, rows in value.items():
        if models and str(name).casefold() not in models:
            continue
        for row in rows if isinstance(rows, list) else ():
            if not isinstance(row, list) or len(row) < 10:
                raise unclear("/list_accelerators", row)
            if (str(row[0]).lower(), row[9]) in places and row[1]:
                found += _offers_of(row, profile)
    kept = {one.id: one for one in sorted(found, key=lambda o: (-o.price_micros_per_h, o.id))}
    return tuple(sorted(kept.values(), key=lambda o: (o.price_micros_per_h, o.id))[:OFFERS_MAX])


def _offers_of(row: Sequence[Any], profile: BurstProfile) -> list[Offer]:
    """Return the one or two offers of a row: cloud, instance type, accelerator, count, vCPUs,
    device memory (GiB), memory (GiB), price, spot price, region."""
    cloud, region, made = str(row[0]).lower(), str(row[9]), []
    count = row[3] or 0
    if count != int(count) or not row[4] or not row[6]:
        # Parts of an accelerator, and machines of unknown size, are not rented.
        return []
    capacity = Capacity(
        cpu_milli=int(row[4] * 1000),
        memory_bytes=int(row[6] * GIB * MEMORY_SHARE),
        disk_bytes=int(profile.disk_gib * GIB * MEMORY_SHARE),
        accelerators=int(count),
    )
    kinds = ((Purchase.ON_DEMAND, row[7], profile.on_demand), (Purchase.SPOT, row[8], profile.spot))
    for purchase, price, wanted in kinds:
        if wanted and isinstance(price, int | float) and price > 0:
            made.append(
                Offer(
                    id=f"{cloud}/{region}/{row[1]}/{purchase.value}",
                    infra=f"{cloud}/{region}",
                    instance_type=str(row[1]),
                    price_micros_per_h=-(-round(price * 1e9) // 1000),
                    purchase=purchase,
                    capacity=capacity,
                    accelerator=str(row[2]),
                    device_memory_bytes=int((row[5] or 0) * GIB),
                )
            )
    return made


def enabled(value: Any) -> frozenset[str]:
    """Read the answer of `/check`: clouds that machines can be rented from."""
    if not isinstance(value, dict):
        raise unclear("/check", value)
    return frozenset(
        str(cloud).lower()
        for clouds in value.values()
        for cloud, abilities in clouds.items()
        if "compute" in abilities
    )


def clusters(value: Any) -> dict[str, Cluster]:
    """Read the answer of `/status`."""
    if not isinstance(value, list):
        raise unclear("/status", value)
    found = {}
    for row in value:
        if not isinstance(row, dict) or not row.get("name") or not row.get("status"):
            raise unclear("/status", row)
        found[str(row["name"])] = _cluster(row)
    return found


def _cluster(row: Mapping[str, Any]) -> Cluster:
    status, name = str(row["status"]).rpartition(".")[2].upper(), str(row["name"])
    if status == "UP":
        return Cluster(name=name, machine=Machine.STANDS)
    if status == "INIT" and row.get("init_kind") != "unhealthy":
        return Cluster(name=name, machine=Machine.COMING)
    why = row.get("init_status_reason") or f"SkyPilot says that it is {status}"
    return Cluster(name=name, machine=Machine.BROKEN, message=one_line(str(why)))


def asked(value: Any) -> tuple[Asked, ...]:
    """Read the answer of `/api/status`, oldest first."""
    if not isinstance(value, list):
        raise unclear("/api/status", value)
    found = []
    for row in value:
        if not isinstance(row, dict) or not row.get("request_id"):
            raise unclear("/api/status", row)
        status = str(row.get("status", "")).upper()
        state = Launch.UNDER_WAY if status in _UNDER_WAY else Launch.FAILED
        found.append(
            Asked(
                id=str(row["request_id"]),
                name=str(row.get("name", "")),
                state=Launch.DONE if status == "SUCCEEDED" else state,
                created=float(row.get("created_at") or 0),
            )
        )
    return tuple(sorted(found, key=lambda one: (one.created, one.id)))


def launch_of(requests: Iterable[Asked]) -> Asked | None:
    """Return the launch that counts: one under way, else the newest."""
    launches = [one for one in requests if one.name == "sky.launch"]
    under_way = [one for one in launches if one.state is Launch.UNDER_WAY]
    newest = under_way or launches
    return newest[-1] if newest else None


def failure(detail: Any) -> str:
    """Return why a request failed, in one sentence; empty when it did not."""
    try:
        error = json.loads(detail["error"]) if detail.get("error") else None
    except (TypeError, ValueError, AttributeError):
        return one_line(str(detail))
    if not isinstance(error, dict):
        return "" if detail.get("status") == "SUCCEEDED" else f"it is {detail.get('status')}"
    kind, message = str(error.get("type", "")), one_line(str(error.get("message", "")))
    known = _KNOWN.get(kind)
    if kind == "ConnectionError" and (host := _HOST.search(message)):
        message = host[1]
    return f"{known} ({message})" if known else f"{kind}: {message}"


def one_line(text: str) -> str:
    """Return a text without colours and line ends, of bounded length."""
    return " ".join(_ANSI.sub("", text).split())[:SENTENCE_CHARS]


def unclear(path: str, value: object) -> Unavailable:
    """Return the error about an answer of a shape that we do not know."""
    return Unavailable(
        f"SkyPilot's {path} answered in a form that is not understood: {one_line(repr(value))}",
        hint="this was made for SkyPilot 0.14",
    )
