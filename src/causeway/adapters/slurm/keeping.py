"""What the engine keeps on disk: its mark, and one record of each submission.

A record is on the disk, whole, before Slurm hears of the job, and once more with the job's number
after that. It lies in the attempt's own folder and goes with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from causeway.adapters.runner.desk import FOLDER
from causeway.adapters.slurm.attempts import Submission
from causeway.agent.identity import replace_file

RECORD = "submission.json"
DEAD = "slurm-over"


def own_mark(root: Path) -> str:
    """Return the mark of this island's jobs in Slurm; made once, and kept in the agent's folder."""
    path = root / "slurm-mark"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        mark = secrets.token_hex(6)
        replace_file(path, f"{mark}\n".encode())
        return mark


def write(folder: Path, told: Submission) -> None:
    """Make a record durable. `OSError` when the disk refuses."""
    replace_file(folder / FOLDER / RECORD, msgspec.json.encode(told))


def submitted(folder: Path, told: Submission, number: int) -> Submission:
    """Add Slurm's number to a record."""
    known = replace(told, number=number)
    write(folder, known)
    return known


def remove(folder: Path) -> None:
    """Forget a submission. The folder itself may be gone already, or be about to go."""
    (folder / FOLDER / RECORD).unlink(missing_ok=True)


def write_dead(root: Path, tags: Sequence[str]) -> None:
    """Keep the tags of submissions that are over."""
    replace_file(root / DEAD, msgspec.json.encode(tags))


def read_dead(root: Path) -> list[str]:
    """Return the tags of submissions that were over when the last agent let go."""
    try:
        return msgspec.json.decode((root / DEAD).read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        # There was none, or it was killed: then a job that is still there is shown as a stray.
        return []


def read_all(root: Path) -> list[tuple[Path, Submission]]:
    """Return what was handed to Slurm and not forgotten, with the folders."""
    found = []
    for path in sorted((root / "attempts").glob(f"*/{FOLDER}/{RECORD}")):
        try:
            told = msgspec.json.decode(path.read_bytes(), type=Submission)
        except (OSError, msgspec.MsgspecError):
            # Its folder is being removed, or it was never written whole: Slurm has not heard of it.
            continue
        found.append((path.parent.parent, told))
    return found
