"""Artefacts: content that moves between islands, named by what it is.

An artefact is a manifest (a list of files, each a list of chunks by SHA-256). Its id is the digest
of the manifest's canonical JSON, so equal content has equal names, a transfer can stop anywhere and
go on, and every byte is checked on arrival. Whoever made it signs the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CHUNK_BYTES = 4 * 1024**2
"""Largest chunk; the last one of a file may be smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One regular file: relative POSIX path, mode bits, and chunks in order."""

    path: str
    bytes: int
    mode: int
    chunks: tuple[str, ...]
    """Lower-case hex SHA-256 of each chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an artefact holds. Its canonical JSON is what is hashed and signed."""

    kind: str
    """`workdir`, `checkpoint`, `output`, `model`, `dataset`."""
    files: tuple[FileEntry, ...]
    meta: Mapping[str, str | int] = field(default_factory=dict)
    """E.g. `step` and `world_size` of a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An artefact that is whole at the centre, with its lineage."""

    id: str
    """`sha256:<hex>` of the manifest's canonical JSON."""
    tenant: str
    kind: str
    bytes: int
    files: int
    made_ms: int
    made_by: str = ""
    """Island (or token) that vouches for it."""
    signature: str = ""
    """Ed25519 over the manifest's canonical JSON, base64; empty for uploads by people."""
    job: str = ""
    fence: int = 0
    parents: tuple[str, ...] = ()
    """Artefacts it was made from: workdir, inputs, checkpoint."""
    name: str = ""
    """Name in the library (models, datasets), empty otherwise."""
    meta: Mapping[str, str | int] = field(default_factory=dict)
