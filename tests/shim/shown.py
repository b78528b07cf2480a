"""Jobs as the API shows them, for tests."""

from __future__ import annotations

from typing import Any


def view(**more: Any) -> dict[str, Any]:
    """Return a waiting job's view; `asked` is filled in, other fields are replaced."""
    asked = {
        "num_nodes": 1, "cpu_milli": 1000, "memory_bytes": 512 * 1024**2, "accelerators": 0,
        "time_limit_s": 0.0, "priority": 0, "where": "", "depends_on": [], "array_index": -1,
        "at_once": 0, **more.pop("asked", {}),
    }  # fmt: skip
    return {
        "id": "urn:cpi:causeway.local:job:01abc", "number": 12, "name": "wrap",
        "tenant": "default", "kind": "batch", "state": "queued", "headline": "", "reasons": [],
        "submitted_ms": 1_000_000, "queued_ms": 1_000_000, "started_ms": 0, "ended_ms": 0,
        "exit_code": None, "failure": None, "submitted_by": "me", "fence": 0, "island": "",
        "group": "", "group_number": 0, **more, "asked": asked,
    }  # fmt: skip


def reason(token: str, message: str = "", severity: str = "wait") -> dict[str, Any]:
    """Return a reason's view."""
    return {"token": token, "message": message, "severity": severity}
