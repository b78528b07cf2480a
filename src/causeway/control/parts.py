"""Everything that a running control plane consists of, chosen by wiring and used by the doors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from causeway.control.granting import Granting
from causeway.control.plane import Plane
from causeway.control.service import Service
from causeway.control.settings import Settings
from causeway.control.upkeep import Upkeep
from causeway.control.webhooks import Webhooks
from causeway.model.fleet import Snapshot
from causeway.ports import Clock
from causeway.ports.artifacts import ChunkStore
from causeway.ports.logs import Logs
from causeway.ports.store import Store
from causeway.recover import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One control plane's parts."""

    plane: Plane
    service: Service
    store: Store
    logs: Logs
    chunks: ChunkStore
    clock: Clock
    settings: Settings
    seal: Callable[[bytes], bytes]
    """Encrypts a secret for the store."""
    unseal: Callable[[bytes], bytes]
    forecast: Callable[[Snapshot, str], Awaitable[object]]
    """When a waiting job would start and end; the answer is a value that encodes as JSON."""
    faults: tuple[Fault, ...] = ()
    """What a program's last words may show; empty: its exit code alone decides."""
    scratch: Path | None = None
    """Folder of a disk for what needs not outlive this process; None: the system's own."""
    upkeep: Upkeep | None = None
    """The daily task; None where nothing is kept on a disk."""
    grants: Granting | None = None
    """Signs what lets one island fetch from another; None: all goes by way of the centre."""
    webhooks: Webhooks | None = None
    """Sends job events to the projects' addresses; None where nothing may be called."""
