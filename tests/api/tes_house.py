"""What tests of the TES door share: a house with open folders, an island that ends tasks."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.api.house import GIB, Agent, House

from causeway.model.artifacts import FileEntry, Manifest
from causeway.sdk import manifests

TES = "/ga4gh/tes/v1"
INVENTORY = {
    "hostname": "alba",
    "os": "linux",
    "architecture": "x86_64",
    "cpu_model": "any",
    "capacity": {"cpu_milli": 8_000, "memory_bytes": 16 * GIB, "disk_bytes": 16 * GIB},
    "isolation": ["process", "limits", "sandbox"],
}


@contextmanager
def opened(top: Path) -> Iterator[House]:
    """Open a house in which each project has a folder below `top`/open."""
    for tenant in ("acme", "rival"):
        (top / "open" / tenant).mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSEWAY_TES_FOLDERS", str(top / "open" / "{tenant}"))
        with House.open(top / "state") as house:
            yield house


def create(house: House, who: str = "acme/member", **task: Any) -> str:
    reply = attempt(house, who, **task)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["id"])


def attempt(house: House, who: str = "acme/member", **task: Any) -> Any:
    executors = [{"image": "causeway:island", "command": ["true"]}]
    return house.ask("POST", f"{TES}/tasks", who=who, json={"executors": executors, **task})


def get(house: House, task: str, view: str = "FULL", who: str = "acme/member") -> Any:
    return house.get(f"{TES}/tasks/{task}?view={view}", who=who)


def bring(island: Agent, start: dict[str, Any], files: dict[str, bytes]) -> str:
    """Bring an output of an attempt; return its artefact."""
    entries = []
    for path, data in sorted(files.items()):
        chunk = hashlib.sha256(data).hexdigest()
        island.house.ask("PUT", f"/v1/artifacts/chunks/{chunk}", who=island.token, content=data)
        entries.append(FileEntry(path=path, bytes=len(data), mode=0o644, chunks=(chunk,)))
    raw = manifests.manifest_bytes(Manifest(kind="output", files=tuple(entries)))
    body = {
        "manifest": json.loads(raw),
        "signature": island.sign(raw),
        "job": start["job"],
        "fence": start["fence"],
    }
    reply = island.house.ask("POST", "/v1/artifacts", who=island.token, json=body)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def end(island: Agent, start: dict[str, Any], outputs: dict[str, dict[str, bytes]]) -> None:
    """Let an attempt succeed with outputs, each a folder of files."""
    kept = {path: bring(island, start, files) for path, files in outputs.items()}
    island.say(start, "succeeded", exit_code=0, final=True, outputs=kept)


def taken(island: Agent, task: str) -> dict[str, Any]:
    """Let the island say that it can keep tasks apart, and take this one."""
    for _ in range(500):
        for start in island.sync(inventory=INVENTORY)["start"]:
            if start["job"].endswith(task):
                return dict(start)
        time.sleep(0.01)
    raise AssertionError("it was not placed within 5 s")
