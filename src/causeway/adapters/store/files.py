"""Files that are whole or not there: written aside, flushed to the disk, then renamed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_PIECE_BYTES = 1024 * 1024


def settle(aside: Path, final: Path) -> None:
    """Make a written file durable and give it its name."""
    with aside.open("rb+") as file:
        os.fsync(file.fileno())
    aside.rename(final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256_of(path: Path) -> str:
    """Return the lower-case hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()
