"""The table `[engine]` of a profile whose work a Ray cluster runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from causeway.adapters.outside.devices import DeviceSettings
from causeway.model.errors import InvalidInput

STRATEGIES = ("", "STRICT_SPREAD", "SPREAD", "PACK", "STRICT_PACK")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach the cluster, and what work there asks for."""

    url: str
    """Address of the dashboard (`http://head:8265`), which serves the Jobs API."""
    token_file: str = ""
    """File with the cluster's token, read anew for every question; sent as `Bearer`."""
    headers: Mapping[str, str] = {}
    """Further headers of every question, for a proxy in front of the dashboard."""
    verify: str = ""
    """File with the certificates to trust behind https; empty: those of the system."""
    python: str = "python3"
    """Python with Ray, on the nodes; a job of one node only needs 3.6 or newer."""
    resources: Mapping[str, float] = {}
    """Custom resources that every rank asks for; only nodes that have them are offered."""
    strategy: str = ""
    """How a gang's placement group spreads; empty: each rank on a node of its own where there are
    so many, else `SPREAD`."""
    devices: Mapping[str, DeviceSettings] = {}
    """Accelerator type, or `GPU` where nodes tell none -> what it is; types that are data-sheet
    names need no entry."""
    grows: bool = False
    """Whether an autoscaler adds nodes: then what no node holds now waits, and is not refused."""
    poll_s: float = 1.0
    """How often Ray is asked about jobs while something waits there."""
    timeout_s: float = 30.0
    """How long Ray may take to answer before it counts as silent."""
    wait_s_max: float = 0.0
    """After so long in Ray's queue an attempt is withdrawn and goes elsewhere; 0: never (Ray itself
    gives a job up after 15 minutes)."""


def parse(plain: Mapping[str, Any]) -> Settings:
    """Return the settings, or raise `InvalidInput` that names the place."""
    known = Settings.__struct_fields__
    for name in plain:
        if name not in known:
            raise InvalidInput(
                f"unknown field {name!r}",
                where=f"$.engine.{name}",
                hint=f"one of: {', '.join(sorted(known))}",
            )
    try:
        settings = msgspec.convert(dict(plain), Settings, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error), where="$.engine") from None
    for where, fault in _faults(settings):
        raise InvalidInput(fault, where=f"$.engine.{where}")
    return settings


def _faults(settings: Settings) -> list[tuple[str, str]]:
    """Return what is wrong with each setting."""
    found = []
    if not settings.url.startswith(("http://", "https://")):
        found.append(("url", f"{settings.url!r} is no address of a dashboard (http://head:8265)"))
    if settings.verify and not Path(settings.verify).is_file():
        found.append(("verify", f"there is no file {settings.verify}"))
    if settings.strategy not in STRATEGIES:
        found.append(("strategy", f"one of: {', '.join(filter(None, STRATEGIES))}"))
    for name, amount in settings.resources.items():
        if amount <= 0 or name in ("CPU", "GPU", "memory", "object_store_memory"):
            found.append((f"resources.{name}", "more than 0 of a custom resource"))
    if not 0.1 <= settings.poll_s <= 600:
        found.append(("poll_s", "a time between 0.1 and 600 s"))
    if not 1 <= settings.timeout_s <= 600:
        found.append(("timeout_s", "a time between 1 and 600 s"))
    if not 0 <= settings.wait_s_max <= 1e9:
        found.append(("wait_s_max", "0, or a time in seconds"))
    return found
