"""Which of an attempt's own processes listens on a port, from /proc. Linux, standard library only.

The network of an island is shared by its jobs, so a port alone does not say whose it is. A person
may reach what their own job listens to, and nothing else that happens to listen on the host: the
listening socket must be held by a process of the attempt.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTENS = "0A"
PROCESSES_MAX = 10_000
FILES_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One listening socket."""

    inode: str
    address: str
    """Where to connect to from this host."""


def address_of(pids: Iterable[int], port: int, *, proc: Path = PROC) -> str:
    """Return the address at which one of these processes, or a descendant of theirs, listens on
    the port; nothing when none does."""
    found = {one.inode: one.address for one in listeners(port, proc=proc)}
    if not found:
        return ""
    seen = 0
    for pid in family(pids, proc=proc):
        for entry in _files(pid, proc):
            seen += 1
            if seen > FILES_MAX:
                return ""
            address = found.get(_socket_inode(entry))
            if address is not None:
                return address
    return ""


def listeners(port: int, *, proc: Path = PROC) -> list[Listener]:
    """Return every TCP socket of this host that listens on the port."""
    found = []
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in (line.split() for line in lines):
            host, _, number = row[1].rpartition(":")
            if row[3] == LISTENS and int(number, 16) == port:
                found.append(Listener(inode=row[9], address=_reachable(host)))
    return found


def family(pids: Iterable[int], *, proc: Path = PROC) -> list[int]:
    """Return the processes and all their descendants."""
    found = list(dict.fromkeys(pids))
    for pid in found:
        if len(found) >= PROCESSES_MAX:
            break
        for task in _entries(proc / str(pid) / "task"):
            try:
                children = (task / "children").read_text()
            except OSError:
                # It ended meanwhile.
                continue
            found.extend(int(child) for child in children.split())
    return found


def _reachable(host: str) -> str:
    """Return the address of a row (words of the host's byte order); any address is loopback."""
    words = [bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8)]
    address = ipaddress.ip_address(b"".join(words))
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"
    return str(address)


def _files(pid: int, proc: Path) -> list[Path]:
    return _entries(proc / str(pid) / "fd")


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        # The process ended meanwhile, or is not ours to look into.
        return []


def _socket_inode(entry: Path) -> str:
    try:
        target = str(entry.readlink())
    except OSError:
        return ""
    return target[8:-1] if target.startswith("socket:[") else ""
