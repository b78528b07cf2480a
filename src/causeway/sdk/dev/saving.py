"""The working folder as a checkpoint, and back.

    step-<n>/work/...     copies of the files
    step-<n>/shape.json   what files alone cannot hold: links, and folders that are empty
    step-<n>/COMPLETE     the marker of the checkpoint protocol (docs/checkpoints.md)

A copy is made of every file that changed since the last checkpoint; one that did not is a hard link
to the last copy, which nobody writes to. Files are copied one after another while people work, so
a checkpoint is what a power cut would leave, not one instant. What can be made again is left out.
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from causeway.model.errors import InvalidInput, TooLarge
from causeway.sdk.manifests import IGNORE_FILE, check_path

FILES_MAX = 50_000
BYTES_MAX = 4 * 1024**3
LEFT_OUT = (
    *(".cache", ".vscode-server", ".cursor-server", ".ipython", ".jupyter", ".local/share/jupyter"),
    *("__pycache__", ".venv", "node_modules", "*.pyc", ".partial", ".before"),
)
"""Made again by the tools that made them. `.causewayignore` adds to it."""
SHAPE = "shape.json"
Mark = tuple[int, int, int]
"""Inode, size and time of change: the same ones mean the same content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What a folder holds."""

    files: Mapping[str, Mark] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    """Those without anything in them."""
    left_out: int = 0
    """Names that no artefact can hold, sockets, devices."""


def look(folder: Path) -> Tree:
    """Return what is in the folder, or raise `TooLarge` when it is more than is kept."""
    files: dict[str, Mark] = {}
    links: dict[str, str] = {}
    folders: list[str] = []
    left_out = total = 0
    for path, found in _walk(folder, _rules(folder)):
        try:
            check_path(path)
        except InvalidInput:
            left_out += 1
            continue
        if found is None:
            folders.append(path)
        elif stat.S_ISLNK(found.st_mode):
            links[path] = os.readlink(folder / path)  # noqa: PTH115 - as text, as it is written
        elif stat.S_ISREG(found.st_mode):
            files[path] = (found.st_ino, found.st_size, found.st_mtime_ns)
            total += found.st_size
        else:
            left_out += 1
        if len(files) > FILES_MAX or total > BYTES_MAX:
            raise TooLarge(
                f"the working folder holds more than {FILES_MAX:,} files or "
                f"{BYTES_MAX // 1024**3} GiB; it is not saved",
                hint=f"name what need not be saved in {IGNORE_FILE}",
            )
    return Tree(files=files, links=links, folders=tuple(sorted(folders)), left_out=left_out)


def save(work: Path, checkpoints: Path, step: int, tree: Tree, *, before: int = -1) -> Path:
    """Write checkpoint `step` of what `look` found; `before` is the last one, -1 for none."""
    place, old = checkpoints / f"step-{step}", checkpoints / f"step-{before}" / "work"
    shutil.rmtree(place, ignore_errors=True)
    (place / "work").mkdir(parents=True)
    for path, mark in tree.files.items():
        target = place / "work" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if before < 0 or not _linked(old / path, target, mark):
            _copied(work / path, target, mark)
    shape = {"links": dict(tree.links), "folders": list(tree.folders)}
    _synced(place / SHAPE, json.dumps(shape))
    _synced(place / ".complete.tmp", json.dumps({"step": step}))
    (place / ".complete.tmp").rename(place / "COMPLETE")
    _sync_folder(place)
    return place


def restore(source: Path, work: Path) -> int:
    """Put a checkpoint's files into the working folder; return how many. What is there stays, and
    what the checkpoint holds wins."""
    count = 0
    for path, found in _walk(source / "work", ()):
        target = work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if found is not None and stat.S_ISREG(found.st_mode):
            _away(target)
            shutil.copy2(source / "work" / path, target)
            count += 1
    try:
        shape = json.loads((source / SHAPE).read_text())
    except FileNotFoundError:
        return count
    for path, target_text in shape["links"].items():
        place = work / check_path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        _away(place)
        place.symlink_to(target_text)
    for path in shape["folders"]:
        (work / check_path(path)).mkdir(parents=True, exist_ok=True)
    return count


def _rules(folder: Path) -> tuple[str, ...]:
    try:
        lines = (folder / IGNORE_FILE).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return LEFT_OUT
    own = [line.strip().rstrip("/") for line in lines]
    return (*LEFT_OUT, *(line for line in own if line and not line.startswith("#")))


def _walk(folder: Path, rules: tuple[str, ...]) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield (path, status) of everything below but folders; (path, None) of empty ones."""
    stack = [""]
    while stack:
        path = stack.pop()
        try:
            names = sorted(os.listdir(folder / path))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        if path and not names:
            yield path, None
        for name in names:
            below = f"{path}/{name}" if path else name
            if any(fnmatch.fnmatchcase(name, r) or fnmatch.fnmatchcase(below, r) for r in rules):
                continue
            try:
                found = (folder / below).lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(found.st_mode):
                stack.append(below)
            else:
                yield below, found


def _linked(old: Path, target: Path, mark: Mark) -> bool:
    """Link the last copy when it is of the same file, unchanged. Its own size and time are those of
    what it was copied from."""
    try:
        found = old.lstat()
        if (found.st_size, found.st_mtime_ns) != mark[1:]:
            return False
        target.hardlink_to(old)
    except OSError:
        return False
    return True


def _copied(source: Path, target: Path, mark: Mark) -> None:
    try:
        with source.open("rb") as read, target.open("wb") as write:
            shutil.copyfileobj(read, write, 1024**2)
            write.flush()
            os.fsync(write.fileno())
        mode = source.stat().st_mode
    except FileNotFoundError:
        # It was removed meanwhile.
        target.unlink(missing_ok=True)
        return
    except PermissionError:
        target.unlink(missing_ok=True)
        return
    target.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
    os.utime(target, ns=(mark[2], mark[2]))


def _away(place: Path) -> None:
    if place.is_symlink() or place.is_file():
        place.unlink()


def _synced(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
