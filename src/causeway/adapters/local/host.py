"""What this host lets the engine do, found out once at start by really doing it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from causeway.adapters.local import cgroups, namespaces, rentable, sandbox
from causeway.adapters.local.images import Images

PROCESS, LIMITS, SANDBOX, CONTAINER = "process", "limits", "sandbox", "container"
LEVELS = (PROCESS, LIMITS, SANDBOX)
"""Isolation, weakest first. `sandbox` has the limits of `limits` too where groups can be made."""
RLIMITS = {"NOFILE": 65536, "CORE": 0}
RLIMITS_PROCESS = {**RLIMITS, "NPROC": 4096}
"""Without groups only the user's total of processes can be bounded, and root's cannot. There is no
limit of address space: torch reserves far more than it uses, so the resident size is watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The tools that work here."""

    groups: cgroups.ControlGroups | None
    bwrap: str
    """Path of a bubblewrap that works with this view; empty without one."""
    view: sandbox.View
    bash: str
    closed: tuple[Path, ...] = ()
    """What of the system the fork servers close off for all their children."""
    rents: tuple[str, ...] = ()
    """Products that it can hand over to whoever rents its room."""
    folders: tuple[str, ...] = ()
    """Where rentals find programs, besides the system's folders."""
    images: Images | None = None
    """What runs container images; set once a trial has really run one."""

    @property
    def isolation(self) -> tuple[str, ...]:
        """Return the levels that work here, weakest first."""
        works = {PROCESS: True, LIMITS: self.groups is not None, SANDBOX: bool(self.bwrap)}
        found = tuple(level for level in LEVELS if works[level])
        return (*found, CONTAINER) if self.images is not None else found

    def level(self, least: str, *, image: bool = False) -> str:
        """Return the strongest level, or nothing when the least that is asked does not work.

        Only a job that brings an image can run at `container`, and such a job runs at no other.
        """
        if image:
            return CONTAINER if self.images is not None else ""
        works = tuple(level for level in self.isolation if level != CONTAINER)
        if least and least not in works:
            return ""
        return works[-1]


def look(
    root: Path,
    hidden: Sequence[Path],
    visible: Sequence[Path] = (),
    *,
    shared: Sequence[Path] = (),
) -> Host:
    """Find out what works for an engine whose state is below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    closed = sandbox.secrets_of_the_system()
    # Root's fork servers close them off once for all their children, which saves each job's
    # sandbox a mount for every one of them.
    at_once = os.geteuid() == 0 and namespaces.closes()
    view = sandbox.view(root, hidden, visible, shared=shared, closed=() if at_once else closed)
    folders = rentable.folders(visible)
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    with tempfile.TemporaryDirectory(prefix="trial-", dir=root) as folder:
        bwrap = sandbox.find(view, Path(folder).resolve())
    return Host(
        groups=cgroups.find(f"causeway-{name}"),
        bwrap=bwrap,
        rents=rentable.products(more=folders) if bwrap else (),
        folders=folders,
        view=view,
        bash=shutil.which("bash") or "",
        closed=closed if at_once else (),
    )


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Say whether anything on this host listens on a TCP port, without connecting to it."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        rows = (line.split() for line in lines)
        if any(row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port for row in rows):
            return True
    return False
