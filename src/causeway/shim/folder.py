"""The working folder of a job: used in place where an island shares it, carried along where not.

A folder that jobs are submitted from gets a mark, `.causeway-folder`, with a random text that is
its own. A job that finds a folder with the same mark under the same path at its island knows that
it is the same one. Otherwise it works in the copy that came along, and what it changes comes back.

`CAUSEWAY_SLURM_FILES` says what is carried: `auto` (the working folder, within bounds), `shared`
(nothing: all islands that may run the job share it) or `none` (nothing, and nothing comes back).
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from causeway.model.errors import InvalidInput, TooLarge
from causeway.sdk.manifests import IGNORED_ALWAYS

MARK = ".causeway-folder"
FILES_MAX = 20_000
BYTES_MAX = 1024**3
WISHES = ("auto", "shared", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """A working folder as a submission sees it."""

    path: Path
    mark: str
    """Empty where none can be written."""
    carried: bool
    key: str = ""
    """Opens the door for late files; empty where none may come."""


def working(path: Path, env: Mapping[str, str]) -> Working:
    """Look at a working folder; leave a mark in it."""
    wish = env.get("CAUSEWAY_SLURM_FILES") or WISHES[0]
    if wish not in WISHES:
        raise InvalidInput(f"CAUSEWAY_SLURM_FILES is {wish!r}", hint=f"one of: {', '.join(WISHES)}")
    if not path.is_dir():
        raise InvalidInput(f"the working folder {path} is not there")
    mark = _mark(path) if wish != "none" else ""
    carried = wish == "auto" and path not in (Path("/"), Path.home(), Path("/tmp"))
    key = secrets.token_hex(16) if carried else ""
    return Working(path=path, mark=mark, carried=carried, key=key)


def _mark(folder: Path) -> str:
    place = folder / MARK
    try:
        return place.read_text().strip()
    except FileNotFoundError:
        pass
    fresh = folder / f"{MARK}.{os.getpid()}"
    try:
        fresh.write_text(secrets.token_hex(16) + "\n")
        try:
            # By a hard link, which fails where the name exists: of two that begin at once, both
            # then read the one that was first.
            place.hardlink_to(fresh)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return place.read_text().strip()
    except PermissionError:
        return ""


def files_of(folder: Path) -> tuple[list[str], int]:
    """Return the files that go along, below the folder, and how many links do not."""
    found: list[str] = []
    links = size = 0
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in IGNORED_ALWAYS]
        links += sum(Path(at, name).is_symlink() for name in folders)
        for name in names:
            path = f"{at}/{name}"
            entry = os.lstat(path)
            if not stat.S_ISREG(entry.st_mode):
                links += 1
                continue
            found.append(os.path.relpath(path, folder))
            size += entry.st_size
            if len(found) > FILES_MAX or size > BYTES_MAX:
                raise TooLarge(
                    f"{folder} holds more than {FILES_MAX:,} files or {BYTES_MAX // 1024**3} GiB, "
                    "which is the most that goes along with a job",
                    hint="submit from a smaller folder, or set CAUSEWAY_SLURM_FILES=shared",
                )
    return found, links
