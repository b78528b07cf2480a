"""What this machine owes to its jobs: log files to write, and files to bring back.

    $XDG_STATE_HOME/causeway/slurm/<control plane>/
        lock            held by the one process that delivers
        <number>.json   one submission, until everything of it is delivered
        failed/         those that could not be delivered, with why
        deliver.log     what went wrong

A record is written before anybody looks for a deliverer, and a deliverer looks for records once
more after it has let go of the lock; so none is forgotten.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from causeway.model.errors import InvalidInput

FAILED_KEPT = 200
PACKAGES = Path(__file__).parents[2]
"""Where this package lies."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one job's logs have been written."""

    fence: int = 0
    offsets: dict[str, int] = field(default_factory=dict)
    late: int = 0
    """How many of the late files its present attempt has."""
    refused: int = 0
    """How often late files were sent in vain."""
    done: bool = False


@dataclass(slots=True, kw_only=True)
class Debt:
    """One submission."""

    number: int
    urn: str
    """Of the job or the array."""
    name: str
    array: bool
    folder: str
    out: str
    """Pattern of the file for standard output, absolute."""
    err: str
    """Empty: standard error goes where standard output goes."""
    append: bool
    back: bool
    """Whether files come back."""
    nodes: int
    key: str = ""
    """Opens the door for late files; empty: none are sent."""
    began_ns: int = 0
    """When the folder was read to be carried along."""
    looked_ns: int = 0
    """When it was last looked through for late files."""
    late: list[str] = field(default_factory=list)
    """Files below the folder that were written since, in the order in which they were seen."""
    jobs: dict[str, Progress] = field(default_factory=dict)


def spool_of(url: str, env: Mapping[str, str]) -> Path:
    """Return the folder for a control plane."""
    root = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME", "/tmp")) / ".local" / "state")
    place = hashlib.sha256(url.encode()).hexdigest()[:16]
    return Path(root) / "causeway" / "slurm" / place


def write(spool: Path, debt: Debt) -> None:
    """Keep a record; it appears whole or not at all."""
    spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = spool / f".{debt.number}.{os.getpid()}"
    fresh.write_text(json.dumps(asdict(debt)))
    fresh.rename(spool / f"{debt.number}.json")


def read(path: Path) -> Debt:
    """Read a record, or raise `InvalidInput` when it is none of this version's."""
    text = path.read_text()
    try:
        found = json.loads(text)
        found["jobs"] = {job: Progress(**progress) for job, progress in found["jobs"].items()}
        return Debt(**found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(f"the record cannot be read: {error}", where=str(path)) from None


def records(spool: Path) -> list[Path]:
    """Return the records, oldest first."""
    return sorted(spool.glob("[0-9]*.json"), key=lambda path: int(path.stem))


def owed(spool: Path) -> dict[int, set[str]]:
    """Return the number of each submission that is not delivered -> jobs of it that are."""
    found = {}
    for path in records(spool):
        try:
            debt = read(path)
        except (FileNotFoundError, InvalidInput):
            # It was delivered just now, or will be put aside by who delivers.
            continue
        found[debt.number] = {job for job, progress in debt.jobs.items() if progress.done}
    return found


def give_up(spool: Path, path: Path, why: str) -> None:
    """Put a record aside that cannot be delivered."""
    aside = spool / "failed"
    aside.mkdir(exist_ok=True)
    path.rename(aside / path.name)
    (aside / path.name).with_suffix(".txt").write_text(why + "\n")
    for old in sorted(aside.iterdir(), key=lambda one: one.stat().st_mtime)[: -2 * FAILED_KEPT]:
        old.unlink()


@contextmanager
def lock(spool: Path) -> Iterator[bool]:
    """Try to become the one that delivers; say whether that worked."""
    spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (spool / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def see_to_delivery(spool: Path) -> None:
    """Start a deliverer where there is something to deliver and none runs."""
    if not records(spool):
        return
    with lock(spool) as free:
        if not free:
            return
    with (spool / "deliver.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "causeway.shim", "deliver", str(spool)],
            # The Python settings of whoever calls are for another Python, but this package is
            # found where it is found now.
            env={**os.environ, "PYTHONPATH": str(PACKAGES)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
