"""What was here when the engine answered last, for an agent that begins while it is silent.

An engine that goes on without the agent may not answer the next one, and the attempts that it holds
end with their leases unless that agent speaks for them at once. It then goes on from this file,
until the engine answers again.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from causeway.agent.identity import replace_file
from causeway.model.islands import Inventory

FILE = "inventory.json"
log = logging.getLogger("causeway.agent")


def save_inventory(root: Path, inventory: Inventory) -> None:
    """Keep what is here. A disk that refuses costs the next agent's first look, and no work."""
    try:
        replace_file(root / FILE, msgspec.json.encode(inventory))
    except OSError as error:
        log.warning("%s cannot be written: %s", root / FILE, error)


def load_inventory(root: Path) -> Inventory | None:
    """Return what was here; None where that is not known, or was written by another version."""
    try:
        return msgspec.json.decode((root / FILE).read_bytes(), type=Inventory)
    except (OSError, msgspec.MsgspecError):
        return None
