"""Removing what a rental left at its island, and looking whether it is gone. Linux.

A rental runs in the engine's sandbox: its own processes, /tmp, /dev/shm, /run, home and IPC, all of
which end with it. What is left is its folder, and what should not be: a process. Both are looked
for here from outside, by what nobody inside can change: a process of the sandbox has the rental's
folder among its mounts. Nothing that the renter named is trusted: no link is followed, no depth of
folders is too deep, and permissions that were taken away are taken back.

Blocks of the disk are freed, not overwritten.
"""

from __future__ import annotations

import os
import secrets
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from causeway.model.protocol import Wiped

PROC = Path("/proc")
GONE_S = 5.0
"""How long killed processes may take to be gone."""
LOOK_S = 0.02
SENTENCES_MAX = 16
READ_BYTES_MAX = 4 * 1024 * 1024


def wipe(folder: Path, job: str, fence: int, *, proc: Path = PROC) -> Wiped:
    """Remove an attempt's folder and end what is left of its processes. Blocking."""
    top = folder.absolute()
    killed = _end_processes(top, job, fence, proc)
    found = Found()
    if top.is_symlink() or top.exists():
        _empty(top, found)
    inside = list(processes(top, job, fence, proc=proc))
    left = [f"process {pid} still runs" for pid in inside] + found.problems
    if not left and (top.is_symlink() or top.exists()):
        left.append(f"{top} is still there")
    return Wiped(
        files=found.files,
        bytes=found.bytes,
        processes=killed,
        left=tuple(left[:SENTENCES_MAX]),
    )


# --- processes -----------------------------------------------------------------------------------


def processes(folder: Path, job: str, fence: int, *, proc: Path = PROC) -> Iterator[int]:
    """Yield the processes of an attempt, this one apart: those that see its folder mounted, and
    those that say so in their environment."""
    marks = (f"CAUSEWAY_JOB_ID={job}".encode(), f"CAUSEWAY_ATTEMPT={fence}".encode())
    mounted = f" {_escaped(os.path.realpath(folder))} ".encode()
    for entry in proc.iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        environment = _read(entry / "environ").split(b"\0")
        said = all(mark in environment for mark in marks)
        if (said or mounted in _read(entry / "mountinfo")) and not _is_zombie(entry):
            yield int(entry.name)


def _escaped(path: str) -> str:
    """Return a path as the kernel writes it in tables.

    >>> _escaped("/a b")
    '/a\\\\040b'
    """
    for character in "\\ \t\n":
        path = path.replace(character, f"\\{ord(character):03o}")
    return path


def _end_processes(folder: Path, job: str, fence: int, proc: Path) -> int:
    killed: set[int] = set()
    give_up_s = time.monotonic() + GONE_S
    while found := list(processes(folder, job, fence, proc=proc)):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                # It ended by itself, or the look that follows tells that it is still there.
                continue
            killed.add(pid)
        if time.monotonic() > give_up_s:
            break
        time.sleep(LOOK_S)
    return len(killed)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(READ_BYTES_MAX)
    except OSError:
        # It ended meanwhile, or it is another user's, which no process of a job of ours can become.
        return b""


def _is_zombie(entry: Path) -> bool:
    return _read(entry / "stat").rpartition(b")")[2][1:2] in (b"Z", b"X")


# --- files ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Found:
    """What was removed so far, and what could not be."""

    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def problem(self, error: OSError) -> None:
        """Keep why something is still there."""
        if len(self.problems) < SENTENCES_MAX:
            self.problems.append(str(error))


def _empty(top: Path, found: Found) -> None:
    """Remove a folder with all that is in it. Folders in folders are moved up beside their parents,
    one level at a time, so that neither depth nor length of a path matters."""
    try:
        if not stat.S_ISDIR(top.lstat().st_mode):
            top.unlink()
            return
        word, number = secrets.token_hex(8), 0
        waiting = _files_removed(top, found)
        while waiting:
            folder = waiting.pop()
            for inner in _files_removed(folder, found):
                number += 1
                waiting.append(inner.rename(top / f"{word}-{number}"))
            folder.rmdir()
        top.rmdir()
    except OSError as error:
        found.problem(error)


def _files_removed(folder: Path, found: Found) -> list[Path]:
    """Remove what is not a folder of a folder; return the folders that are in it."""
    folder.chmod(0o700)
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                # A folder that is moved is written to: the way up is in it.
                Path(entry.path).chmod(0o700)
                folders.append(Path(entry.path))
                continue
            size = entry.stat(follow_symlinks=False).st_size
            try:
                Path(entry.path).unlink()
            except OSError as error:
                found.problem(error)
                continue
            found.files += 1
            found.bytes += size
    return folders
