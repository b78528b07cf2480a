"""What an engine's adapter keeps on disk: its mark, and one record of each submission.

A record is on the disk, whole, before the engine hears of the attempt, and once more when the
engine has taken it. It lies in the attempt's own folder and goes with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from causeway.adapters.outside.attempts import Submission
from causeway.adapters.runner.desk import FOLDER
from causeway.agent.identity import replace_file

S = TypeVar("S", bound=Submission)
MARK_BYTES = 6


class Kept(Generic[S]):
    """The records of one engine below an agent's folder."""

    def __init__(self, root: Path, kind: type[S], *, engine: str) -> None:
        """`engine` is its name in file names."""
        self._root = root
        self._kind = kind
        self._mark = root / f"{engine}-mark"
        self._dead = root / f"{engine}-over"
        self._record = f"{engine}.json"

    def mark(self) -> str:
        """Return the mark of this island's jobs; made once, and kept in the agent's folder."""
        try:
            return self._mark.read_text().strip()
        except FileNotFoundError:
            mark = secrets.token_hex(MARK_BYTES)
            replace_file(self._mark, f"{mark}\n".encode())
            return mark

    def write(self, folder: Path, told: S) -> None:
        """Make a record durable. `OSError` when the disk refuses."""
        replace_file(folder / FOLDER / self._record, msgspec.json.encode(told))

    def remove(self, folder: Path) -> None:
        """Forget a submission. The folder itself may be gone already, or be about to go."""
        (folder / FOLDER / self._record).unlink(missing_ok=True)

    def all(self) -> list[tuple[Path, S]]:
        """Return what was handed over and not forgotten, with the folders."""
        found = []
        for path in sorted((self._root / "attempts").glob(f"*/{FOLDER}/{self._record}")):
            try:
                told = msgspec.json.decode(path.read_bytes(), type=self._kind)
            except (OSError, msgspec.MsgspecError):
                # Its folder is being removed, or it was never written whole: nothing was handed
                # over.
                continue
            found.append((path.parent.parent, told))
        return found

    def write_dead(self, names: Sequence[str]) -> None:
        """Keep the names of submissions that are over."""
        replace_file(self._dead, msgspec.json.encode(names))

    def dead(self) -> list[str]:
        """Return the names of submissions that were over when the last agent let go."""
        try:
            return msgspec.json.decode(self._dead.read_bytes(), type=list[str])
        except (OSError, msgspec.MsgspecError):
            # There was none, or it was killed: what is still there is then shown as a stray.
            return []
