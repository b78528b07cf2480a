"""What the engine keeps on disk: its mark, and one record of each submission.

A record is on the disk, whole, before Ray hears of the job, with the name that Ray will know it by,
and once more when Ray has said that it has it. It lies in the attempt's folder and goes with it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from causeway.adapters.ray.attempts import Submission
from causeway.adapters.runner.desk import FOLDER
from causeway.agent.identity import replace_file

RECORD = "submission.json"
MARK = "ray-mark"
DEAD = "ray-over"
ENTRYPOINT = Path(__file__).with_name("entrypoint.py")


def own_mark(root: Path) -> str:
    """Return the mark of this island's jobs in Ray; made once, and kept in the agent's folder."""
    path = root / MARK
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        mark = secrets.token_hex(6)
        replace_file(path, f"{mark}\n".encode())
        return mark


def install(root: Path) -> Path:
    """Put the entrypoint where the nodes see it, under a name of its content."""
    content = ENTRYPOINT.read_bytes()
    place = root / "runner" / f"ray-{hashlib.sha256(content).hexdigest()[:16]}.py"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        fresh.write_bytes(content)
        fresh.replace(place)
    return place


def write(folder: Path, told: Submission) -> None:
    """Make a record durable. `OSError` when the disk refuses."""
    replace_file(folder / FOLDER / RECORD, msgspec.json.encode(told))


def taken(folder: Path, told: Submission) -> Submission:
    """Write down that Ray has it."""
    known = replace(told, taken=True)
    write(folder, known)
    return known


def remove(folder: Path) -> None:
    """Forget a submission. The folder itself may be gone already, or be about to go."""
    (folder / FOLDER / RECORD).unlink(missing_ok=True)


def write_dead(root: Path, ids: Sequence[str]) -> None:
    """Keep the names of submissions that are over."""
    replace_file(root / DEAD, msgspec.json.encode(ids))


def read_dead(root: Path) -> list[str]:
    """Return the names of submissions that were over when the last agent let go."""
    try:
        return msgspec.json.decode((root / DEAD).read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        # There was none, or it was killed: then a job that is still there is shown as a stray.
        return []


def read_all(root: Path) -> list[tuple[Path, Submission]]:
    """Return what was handed to Ray and not forgotten, with the folders."""
    found = []
    for path in sorted((root / "attempts").glob(f"*/{FOLDER}/{RECORD}")):
        try:
            told = msgspec.json.decode(path.read_bytes(), type=Submission)
        except (OSError, msgspec.MsgspecError):
            # Its folder is being removed, or it was never written whole: Ray has not heard of it.
            continue
        found.append((path.parent.parent, told))
    return found
