"""What the engine keeps on disk: its mark, and one record of each submission.

A record is on the disk, whole, before Kubernetes hears of anything, and once more when it has taken
it. It lies in the attempt's own folder and goes with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from causeway.adapters.kubernetes.attempts import Submission
from causeway.adapters.runner.desk import FOLDER
from causeway.agent.identity import replace_file

RECORD = "kubernetes.json"
DEAD = "kubernetes-over"


def own_mark(root: Path) -> str:
    """Return the mark of this island's objects; made once, and kept in the agent's folder."""
    path = root / "kubernetes-mark"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        mark = secrets.token_hex(6)
        replace_file(path, f"{mark}\n".encode())
        return mark


def write(folder: Path, told: Submission) -> None:
    """Make a record durable. `OSError` when the disk refuses."""
    replace_file(folder / FOLDER / RECORD, msgspec.json.encode(told))


def remove(folder: Path) -> None:
    """Forget a submission. The folder itself may be gone already, or be about to go."""
    (folder / FOLDER / RECORD).unlink(missing_ok=True)


def read_all(root: Path) -> list[tuple[Path, Submission]]:
    """Return what was handed over and not forgotten, with the folders."""
    found = []
    for path in sorted((root / "attempts").glob(f"*/{FOLDER}/{RECORD}")):
        try:
            told = msgspec.json.decode(path.read_bytes(), type=Submission)
        except (OSError, msgspec.MsgspecError):
            # Its folder is being removed, or it was never written whole: nothing was handed over.
            continue
        found.append((path.parent.parent, told))
    return found


def write_dead(root: Path, tags: Sequence[str]) -> None:
    """Keep the tags of submissions that are over."""
    replace_file(root / DEAD, msgspec.json.encode(tags))


def read_dead(root: Path) -> list[str]:
    """Return the tags of submissions that were over when the last agent let go."""
    try:
        return msgspec.json.decode((root / DEAD).read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        # There was none, or it was killed: what is still there is then shown as a stray.
        return []
