"""Static files, read once into memory: a fixed table of names, so no path can point elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    body: bytes
    media_type: str
    version: str
    """Start of the content's SHA-256; a part of its address, so it may be cached for good."""


@cache
def static_files() -> dict[str, StaticFile]:
    """Return every file that pages may ask for, by name."""
    root = files("causeway.web") / "static"
    found = {entry.name: entry for entry in root.iterdir() if entry.is_file()}
    found["land.svg"] = files("causeway.draw") / "land.svg"
    found["htmx.min.js"] = root / "vendor" / "htmx.min.js"
    return {name: _read(entry) for name, entry in found.items() if _type(name)}


def _type(name: str) -> str:
    return _TYPES.get(name.rpartition(".")[2], "")


def _read(entry: Traversable) -> StaticFile:
    body = entry.read_bytes()
    return StaticFile(
        body=body,
        media_type=_type(entry.name),
        version=hashlib.sha256(body).hexdigest()[:12],
    )


def static_href(name: str) -> str:
    """Return the address of a file, with its version."""
    return f"/static/{name}?v={static_files()[name].version}"
