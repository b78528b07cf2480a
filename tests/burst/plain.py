"""Values that the tests of this room begin with."""

from __future__ import annotations

from typing import Any

from causeway.burst import Offer, Policy, Rental, Stage, Waiting
from causeway.model.money import Purchase
from causeway.model.reasons import Reason, Severity, Token
from causeway.model.resources import AcceleratorRequest, Capacity, Resources

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
NOW_MS = 1_800_000_000_000
GIB = 1024**3


def offer(name: str = "norway", price_usd_per_h: float = 2.0, **changes: Any) -> Offer:
    given: dict[str, Any] = {
        "id": f"cloud/{name}/h100x1/on_demand",
        "infra": f"cloud/{name}",
        "instance_type": "h100x1",
        "price_micros_per_h": round(price_usd_per_h * 1e6),
        "purchase": Purchase.ON_DEMAND,
        "capacity": Capacity(
            cpu_milli=26_000, memory_bytes=108 * GIB, disk_bytes=200 * GIB, accelerators=1
        ),
        "accelerator": "H100",
        "device_memory_bytes": 80 * GIB,
    }
    return Offer(**{**given, **changes})


def policy(**changes: Any) -> Policy:
    given: dict[str, Any] = {
        "budget_micros": 100_000_000,
        "machines_max": 3,
        "lease_ms": 4 * HOUR_MS,
        "grace_ms": 30 * MINUTE_MS,
        "idle_ms": 10 * MINUTE_MS,
        "patience_ms": 5 * MINUTE_MS,
        "launch_ms": 30 * MINUTE_MS,
        "join_ms": 15 * MINUTE_MS,
        "drain_ms": 5 * MINUTE_MS,
        "cooldown_ms": 15 * MINUTE_MS,
        "margin_percent": 10,
    }
    return Policy(**{**given, **changes})


def rental(name: str = "burst-1", **changes: Any) -> Rental:
    intended_ms = changes.get("intended_ms", NOW_MS - HOUR_MS)
    given: dict[str, Any] = {
        "name": name,
        "offer": offer(),
        "intended_ms": intended_ms,
        "until_ms": intended_ms + 4 * HOUR_MS,
    }
    return Rental(**{**given, **changes})


def standing(name: str = "burst-1", **changes: Any) -> Rental:
    """Return a machine that stands, has joined and has work."""
    up = {
        "stage": Stage.UP,
        "seen": True,
        "up_ms": NOW_MS - 50 * MINUTE_MS,
        "joined_ms": NOW_MS - 45 * MINUTE_MS,
        "island": f"urn:cpi:test:island:{name}",
    }
    return rental(name, **{**up, **changes})


def need(accelerators: int = 1, cpus: int = 4) -> Resources:
    wanted = AcceleratorRequest(count=accelerators) if accelerators else None
    return Resources(cpu_milli=cpus * 1000, memory_bytes=8 * GIB, accelerator=wanted)


def why(token: Token = Token.CAPACITY, *, helps: bool = True) -> Reason:
    severity = Severity.WAIT if helps else Severity.BLOCK
    return Reason(
        token=token, severity=severity, message=f"It is {token.value}.", waiting_helps=helps
    )


def waiting(name: str = "train", waited_ms: int = HOUR_MS, **changes: Any) -> Waiting:
    given: dict[str, Any] = {
        "id": f"urn:cpi:test:job:{name}",
        "name": name,
        "need": need(),
        "since_ms": NOW_MS - waited_ms,
        "reasons": (why(),),
        "offers": (offer().id,),
    }
    return Waiting(**{**given, **changes})
